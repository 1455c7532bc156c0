import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { findBinary, lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { admin, type RunningApi, startApi } from "./support/running-api.ts";

const run = promisify(execFile);
const manifests = resolve(import.meta.dirname, "../../../deploy/kubernetes");

/** What we ask of other clusters, asked of ourselves: `kubectl apply -k`, twice, and nothing differs afterwards. */
describe.skipIf(lacks("etcd", "kubectl"))("the manifests of deploy/kubernetes", { timeout: 60_000 }, () => {
  let api: RunningApi;
  let kubeconfig: string;

  beforeAll(async () => {
    api = await startApi();
    kubeconfig = await api.kubeconfig(admin);
  });
  afterAll(() => api.close());

  async function kubectl(...args: string[]): Promise<string> {
    const env = { ...process.env, HOME: api.directory, KUBECONFIG: kubeconfig };
    return (await run(findBinary("kubectl")!, args, { env, timeout: 30_000 })).stdout;
  }

  test.each(["embedded-etcd", "external-datastore", "scaled"])("%s is applied as it stands", async (topology) => {
    const path = `${manifests}/${topology}`;
    const versions = (): Promise<string> =>
      kubectl("get", "-k", path, "-o", "jsonpath={range .items[*]}{.kind} {.metadata.resourceVersion}{'\\n'}{end}");

    const created = (await kubectl("apply", "-k", path)).trim().split("\n");
    expect(created.every((line) => line.endsWith(" created"))).toBe(true);
    const before = await versions();
    expect(before.trim().split("\n")).toHaveLength(created.length);

    await kubectl("diff", "-k", path);
    await kubectl("apply", "-k", path);
    expect(await versions()).toBe(before);
    await kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-k", path);

    await kubectl("delete", "namespace", "keelson");
  });
});
