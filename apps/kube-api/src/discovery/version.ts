/** The Kubernetes release whose API is served: what clients compare themselves with. */
export const kubernetesVersion = {
  major: "1",
  minor: "32",
  gitVersion: "v1.32.4+keelson",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "1970-01-01T00:00:00Z",
  goVersion: "",
  compiler: "node",
  platform: `${process.platform}/${process.arch === "x64" ? "amd64" : process.arch}`,
};
