import type { AuthorityName, LeafProfile } from "@keelson/pki";
import { type ComponentName, componentGroups } from "./wire.ts";

/** One certificate that a component is given. */
export interface ComponentCertificate {
  /** File name without ending. */
  file: string;
  authority: AuthorityName;
  profile: (request: { name: string; names: readonly string[] }) => LeafProfile;
}

/** The certificate with which each component calls registration. */
export const registrationClientFile = "client-registration";

const forRegistration = (component: ComponentName): ComponentCertificate => ({
  file: registrationClientFile,
  authority: "client",
  profile: ({ name }) => ({
    commonName: `keelson:${component}:${name}`,
    organizations: [componentGroups[component]],
    purposes: ["client"],
  }),
});

/**
 * What each component needs when it runs apart: the least that lets it do its job, signed for a key that it keeps. The
 * gateway proves identities to the API (front proxy) and reaches nodes for nobody but itself; the API reaches kubelets and
 * the datastore; the datastore only serves.
 */
export const componentCertificates: Readonly<Record<ComponentName, readonly ComponentCertificate[]>> = {
  gateway: [
    forRegistration("gateway"),
    {
      file: "client-auth-proxy",
      authority: "request-header",
      profile: () => ({ commonName: "system:auth-proxy", purposes: ["client"] }),
    },
  ],
  "kube-api": [
    forRegistration("kube-api"),
    {
      file: "serving-kube-apiserver",
      authority: "server",
      profile: ({ names }) => ({ commonName: "kube-apiserver", purposes: ["server"], names }),
    },
    {
      file: "client-kube-apiserver",
      authority: "client",
      profile: () => ({ commonName: "system:apiserver", organizations: ["system:masters"], purposes: ["client"] }),
    },
    {
      file: "etcd-client",
      authority: "etcd-server",
      profile: () => ({ commonName: "etcd-client", purposes: ["client"] }),
    },
  ],
  datastore: [
    forRegistration("datastore"),
    {
      file: "etcd-server",
      authority: "etcd-server",
      profile: ({ names }) => ({ commonName: "etcd-server", purposes: ["server", "client"], names }),
    },
  ],
};

/** CA bundles that a component verifies its peers with. */
export const componentBundles: readonly { file: string; authority: AuthorityName }[] = [
  { file: "server-ca", authority: "server" },
  { file: "client-ca", authority: "client" },
  { file: "request-header-ca", authority: "request-header" },
  { file: "etcd-server-ca", authority: "etcd-server" },
];
