import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { findBinary, lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { admin, type RunningApi, startApi } from "./support/running-api.ts";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "../../..");

/** How the pods of deploy/kubernetes/embedded-etcd agree on who founds the cluster, with the rights that they have there. */
describe.skipIf(lacks("etcd", "kubectl"))("servers of a StatefulSet", { timeout: 60_000 }, () => {
  let api: RunningApi;
  let directory: string;
  let environment: NodeJS.ProcessEnv;

  async function kubectl(...args: string[]): Promise<string> {
    const env = { ...process.env, HOME: api.directory, KUBECONFIG: join(api.directory, "system-admin.kubeconfig") };
    return (await run(findBinary("kubectl")!, args, { env })).stdout;
  }

  beforeAll(async () => {
    api = await startApi();
    await api.kubeconfig(admin);
    await kubectl("apply", "-k", join(root, "deploy/kubernetes/embedded-etcd"));
    directory = await mkdtemp(join(tmpdir(), "keelson-founder-"));
    const account = join(directory, "account");
    await mkdir(account);
    const token = await kubectl("-n", "keelson", "create", "token", "keelson-server");
    for (const [file, text] of Object.entries({ token, namespace: "keelson", "ca.crt": api.serverCa.bundlePem })) {
      await writeFile(join(account, file), text);
    }
    const { hostname, port } = new URL(api.url);
    environment = {
      ...process.env,
      SERVICE_ACCOUNT_DIR: account,
      KUBERNETES_SERVICE_HOST: hostname,
      KUBERNETES_SERVICE_PORT: port,
    };
  });
  afterAll(async () => {
    await api.close();
    await rm(directory, { recursive: true, force: true });
  });

  /** What a server with this volume is told, and what it says of it. */
  async function origin(pod: string): Promise<{ option: string; said: string }> {
    const env = { ...environment, POD_NAME: pod, K3S_DATA_DIR: join(directory, pod) };
    const script = join(root, "deploy/image/etcd-origin.js");
    const { stdout, stderr } = await run(process.execPath, [script, "founder", "https://keelson:6443"], { env });
    return { option: stdout.trim(), said: stderr };
  }

  it("found one cluster, and join it for ever after", async () => {
    const joins = "--server https://keelson:6443";
    const pods = ["server-0", "server-1", "server-2"];
    const options = (await Promise.all(pods.map(origin))).map(({ option }) => option);
    expect([...options].sort()).toEqual(["--cluster-init", joins, joins]);
    const founder = pods[options.indexOf("--cluster-init")]!;
    // It ends before etcd has written anything, and nobody else may found.
    expect((await origin(founder)).option).toBe("--cluster-init");
    // The manifests are applied again with each upgrade.
    await kubectl("apply", "-k", join(root, "deploy/kubernetes/embedded-etcd"));

    const etcd = join(directory, founder, "server/db/etcd");
    await mkdir(join(etcd, "member/wal"), { recursive: true });
    await writeFile(join(etcd, "member/wal/0.wal"), "");
    expect((await origin(founder)).option).toBe("");
    await writeFile(join(etcd, "tombstone"), "");
    expect((await origin(founder)).option).toBe(joins);

    await rm(join(directory, founder), { recursive: true });
    const afterLoss = await origin(founder);
    expect(afterLoss.option).toBe(joins);
    expect(afterLoss.said).toContain("has no data any more: it joins the others");
  });

  it("may touch nothing else", async () => {
    const may = (...what: string[]) =>
      kubectl("auth", "can-i", ...what, "-n", "keelson", "--as", "system:serviceaccount:keelson:keelson-server").catch(
        ({ stdout }: { stdout: string }) => stdout,
      );
    expect(await may("update", "configmaps/founder")).toContain("yes");
    expect(await may("update", "configmaps/other")).toContain("no");
    expect(await may("get", "secrets/keelson-token")).toContain("no");
  });
});
