/** A kubeconfig that names its files, in the form that K3s writes for its components. */
export function fileKubeconfig(options: { server: string; caFile: string; certFile: string; keyFile: string }): string {
  return `apiVersion: v1
clusters:
- cluster:
    server: ${options.server}
    certificate-authority: ${options.caFile}
  name: local
contexts:
- context:
    cluster: local
    namespace: default
    user: user
  name: Default
current-context: Default
kind: Config
preferences: {}
users:
- name: user
  user:
    client-certificate: ${options.certFile}
    client-key: ${options.keyFile}
`;
}

/** The kubeconfig for people (`k3s.yaml`): everything embedded, one entry named `default`. */
export function embeddedKubeconfig(options: {
  server: string;
  caPem: string;
  certPem: string;
  keyPem: string;
}): string {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  return `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: ${base64(options.caPem)}
    server: ${options.server}
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
preferences: {}
users:
- name: default
  user:
    client-certificate-data: ${base64(options.certPem)}
    client-key-data: ${base64(options.keyPem)}
`;
}
