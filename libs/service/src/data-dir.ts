/**
 * The option `--data-dir`, the same for servers, agents and every command that works on what they keep: K3s's folder, so that
 * either finds the other's. A relative one counts from where the program was started.
 */
export const dataDirOption = {
  type: "string",
  isPath: true,
  short: "d",
  default: "/var/lib/rancher/k3s",
  env: ["KEELSON_DATA_DIR", "K3S_DATA_DIR"],
  placeholder: "dir",
} as const;
