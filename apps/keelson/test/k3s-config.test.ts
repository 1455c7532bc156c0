import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger, resolveOptions } from "@keelson/service";
import { expect, it, onTestFinished } from "vitest";
import { agentCommand } from "../src/agent/command.ts";
import { readConfigFiles } from "../src/cli/config-file.ts";
import { idleServerOptions, warnOfIdleOptions } from "../src/cli/k3s-options.ts";
import { clusterSettings } from "../src/server/cluster-settings.ts";
import { serverCommand } from "../src/server/command.ts";
import { serverConfig } from "../src/server/config.ts";
import { serverOptions } from "../src/server/options.ts";

const serverYaml = `
write-kubeconfig-mode: "0644"
tls-san: [k3s.example.test]
disable: [traefik, servicelb]
disable-network-policy: true
disable-kube-proxy: true
flannel-backend: wireguard-native
flannel-ipv6-masq: true
secrets-encryption: false
node-label: [zone=a]
kubelet-arg: [max-pods=200]
kube-proxy-arg: []
selinux: true
snapshotter: overlayfs
etcd-s3-endpoint-ca: /ca.pem
etcd-s3-skip-ssl-verify: false
etcd-s3-retention: 3
etcd-s3-session-token: secret
etcd-s3-config-secret: k3s-etcd-snapshot-s3-config
etcd-s3-proxy: http://192.0.2.1:3128
`;

async function parsed(yaml: string, specs: typeof serverOptions) {
  const folder = await mkdtemp(join(tmpdir(), "keelson-k3s-config-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, "config.yaml");
  await writeFile(file, yaml);
  return resolveOptions(specs, [{ from: file, values: await readConfigFiles(file, { mustExist: true }) }]);
}

const allServerOptions = serverCommand.options as typeof serverOptions;

it("a config.yaml of K3s is taken: what servers share is told to agents, and a warning names what does nothing", async () => {
  const values = await parsed(serverYaml, allServerOptions);
  expect(clusterSettings((await serverConfig(values)).values)).toMatchObject({
    disableNetworkPolicy: true,
    disableKubeProxy: true,
    disableCloudController: true,
    flannelBackend: "wireguard-native",
    flannelIpv6Masq: true,
    flannelExternalIp: false,
  });
  expect((await serverConfig({ ...values, "kubelet-path": "/usr/bin/kubelet" })).node).toMatchObject({
    nodeLabels: { zone: "a" },
    kubelet: { args: ["max-pods=200"] },
  });
  const lines: string[] = [];
  const log = createLogger({ name: "test", format: "json", destination: { write: (line) => lines.push(line) } });
  warnOfIdleOptions(idleServerOptions, serverOptions, values, log);
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0]!).options.sort()).toEqual([
    ...["etcd-s3-config-secret", "etcd-s3-proxy", "etcd-s3-session-token"],
    ...["selinux", "snapshotter"],
  ]);
});

it("an agent's config.yaml of K3s is taken, too", async () => {
  const yaml = "server: https://192.0.2.1:6443\ntoken: x\nflannel-iface: eth1\nnode-label: [zone=a]\n";
  const values = await parsed(yaml, agentCommand.options as typeof serverOptions);
  expect(values).toMatchObject({ "flannel-iface": "eth1", "node-label": ["zone=a"] });
});

it("encryption of Secrets is refused rather than left out, and an option that K3s does not know either is named", async () => {
  await expect(serverConfig(await parsed("secrets-encryption: true", allServerOptions))).rejects.toMatchObject({
    code: "option/unsupported",
    hint: expect.stringContaining("disk of the datastore"),
  });
  await expect(parsed("flannel-back: none", allServerOptions)).rejects.toMatchObject({ code: "option/unknown" });
});
