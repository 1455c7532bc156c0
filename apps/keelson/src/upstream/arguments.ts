/** Flags by name; written as `--name=value` in the order of their names. */
export type Flags = Readonly<Record<string, string>>;

/** What the flags of the upstream programs are made of. */
export interface UpstreamFacts {
  /** Path of a certificate or key below `server/tls`, by file name. */
  tls(file: string): string;
  /** Path of a component's kubeconfig. */
  kubeconfig(name: string): string;
  port: number;
  advertiseAddress: string;
  /** Endpoints of the datastore and, for TLS, its files. */
  etcd: { endpoints: readonly string[]; caFile?: string; certFile?: string; keyFile?: string };
  serviceCidrs: readonly string[];
  clusterCidrs: readonly string[];
  nodePortRange: string;
  clusterDomain: string;
  /** Egress selector configuration, or undefined for direct connections to nodes. */
  egressConfigFile: string | undefined;
}

/** kube-apiserver behind our gateway. Source: the flags k3s gives it (pkg/daemons/control/server.go). */
export function apiserverFlags(facts: UpstreamFacts): Flags {
  const { tls, etcd, egressConfigFile } = facts;
  const issuer = `https://kubernetes.default.svc.${facts.clusterDomain}`;
  return {
    "advertise-address": facts.advertiseAddress,
    "allow-privileged": "true",
    "anonymous-auth": "false",
    "api-audiences": `${issuer},k3s`,
    "authorization-mode": "Node,RBAC",
    "bind-address": "127.0.0.1",
    "client-ca-file": tls("client-ca.crt"),
    "enable-admission-plugins": "NodeRestriction",
    "enable-bootstrap-token-auth": "true",
    // It would publish its own loopback port; the gateway's address is published by us.
    "endpoint-reconciler-type": "none",
    "etcd-servers": etcd.endpoints.join(","),
    ...(etcd.caFile === undefined ? {} : { "etcd-cafile": etcd.caFile }),
    ...(etcd.certFile === undefined ? {} : { "etcd-certfile": etcd.certFile }),
    ...(etcd.keyFile === undefined ? {} : { "etcd-keyfile": etcd.keyFile }),
    "kubelet-certificate-authority": tls("server-ca.crt"),
    "kubelet-client-certificate": tls("client-kube-apiserver.crt"),
    "kubelet-client-key": tls("client-kube-apiserver.key"),
    "kubelet-preferred-address-types": "InternalIP,ExternalIP,Hostname",
    profiling: "false",
    "proxy-client-cert-file": tls("client-auth-proxy.crt"),
    "proxy-client-key-file": tls("client-auth-proxy.key"),
    "requestheader-allowed-names": "system:auth-proxy",
    "requestheader-client-ca-file": tls("request-header-ca.crt"),
    "requestheader-extra-headers-prefix": "X-Remote-Extra-",
    "requestheader-group-headers": "X-Remote-Group",
    "requestheader-username-headers": "X-Remote-User",
    "secure-port": String(facts.port),
    "service-account-issuer": issuer,
    "service-account-key-file": tls("service.key"),
    "service-account-signing-key-file": tls("service.current.key"),
    "service-cluster-ip-range": facts.serviceCidrs.join(","),
    "service-node-port-range": facts.nodePortRange,
    "storage-backend": "etcd3",
    // Objects stay readable for the embedded API, which takes over the same data.
    "storage-media-type": "application/json",
    "tls-cert-file": tls("serving-kube-apiserver.crt"),
    "tls-private-key-file": tls("serving-kube-apiserver.key"),
    ...(egressConfigFile === undefined
      ? {}
      : { "egress-selector-config-file": egressConfigFile, "enable-aggregator-routing": "true" }),
  };
}

export function controllerManagerFlags(facts: UpstreamFacts): Flags {
  const { tls, kubeconfig } = facts;
  const signing = (signer: string, authority: string): Flags => ({
    [`cluster-signing-${signer}-cert-file`]: tls(`${authority}.nochain.crt`),
    [`cluster-signing-${signer}-key-file`]: tls(`${authority}.key`),
  });
  return {
    "allocate-node-cidrs": "true",
    "authentication-kubeconfig": kubeconfig("controller"),
    "authorization-kubeconfig": kubeconfig("controller"),
    "bind-address": "127.0.0.1",
    "cluster-cidr": facts.clusterCidrs.join(","),
    ...signing("kube-apiserver-client", "client-ca"),
    ...signing("kubelet-client", "client-ca"),
    ...signing("kubelet-serving", "server-ca"),
    ...signing("legacy-unknown", "server-ca"),
    controllers: "*,tokencleaner",
    kubeconfig: kubeconfig("controller"),
    profiling: "false",
    "root-ca-file": tls("server-ca.crt"),
    "secure-port": "10257",
    "service-account-private-key-file": tls("service.current.key"),
    "service-cluster-ip-range": facts.serviceCidrs.join(","),
    "use-service-account-credentials": "true",
  };
}

export function schedulerFlags({ kubeconfig }: UpstreamFacts): Flags {
  return {
    "authentication-kubeconfig": kubeconfig("scheduler"),
    "authorization-kubeconfig": kubeconfig("scheduler"),
    "bind-address": "127.0.0.1",
    kubeconfig: kubeconfig("scheduler"),
    profiling: "false",
    "secure-port": "10259",
  };
}

/** The egress selector configuration that sends connections to nodes through the gateway's CONNECT. */
export function egressSelectorConfig(facts: Pick<UpstreamFacts, "tls">, gatewayUrl: string): string {
  const tlsConfig = {
    caBundle: facts.tls("server-ca.crt"),
    clientCert: facts.tls("client-kube-apiserver.crt"),
    clientKey: facts.tls("client-kube-apiserver.key"),
  };
  const transport = { tcp: { url: gatewayUrl, tlsConfig } };
  const connection = { proxyProtocol: "HTTPConnect", transport };
  return `${JSON.stringify(
    {
      apiVersion: "apiserver.k8s.io/v1beta1",
      kind: "EgressSelectorConfiguration",
      egressSelections: [{ name: "cluster", connection }],
    },
    undefined,
    2,
  )}\n`;
}
