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
