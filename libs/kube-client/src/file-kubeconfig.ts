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
