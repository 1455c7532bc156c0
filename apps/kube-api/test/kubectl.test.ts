import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { findBinary, lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { admin, type RunningApi, startApi } from "./support/running-api.ts";

interface Result {
  code: number;
  out: string;
  err: string;
}

const workload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
`;

describe.skipIf(lacks("etcd", "kubectl"))("kubectl", { timeout: 60_000 }, () => {
  let api: RunningApi;
  let kubeconfig: string;
  beforeAll(async () => {
    api = await startApi();
    kubeconfig = await api.kubeconfig(admin);
  });
  afterAll(() => api.close());

  const environment = () => ({ ...process.env, HOME: api.directory, KUBECONFIG: kubeconfig });
  const kubectl = (args: readonly string[], input = "", env: NodeJS.ProcessEnv = {}): Promise<Result> =>
    new Promise((resolve) => {
      const options = { env: { ...environment(), ...env }, timeout: 20_000 };
      const child = execFile(findBinary("kubectl")!, [...args], options, (error, out, err) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? 1), out, err }),
      );
      child.stdin?.end(input);
    });
  /** Runs a command line that must succeed. */
  const ok = async (line: string, input = ""): Promise<string> => {
    const { code, out, err } = await kubectl(line.split(" "), input);
    expect([code, code === 0 ? "" : err], line).toEqual([0, ""]);
    return out;
  };

  it("shows what a cluster has", async () => {
    const { clientVersion, serverVersion } = JSON.parse(await ok("version -o json"));
    expect(serverVersion.gitVersion).toMatch(/^v1\.32/);
    expect(await ok("get namespaces")).toMatch(/default +Active/);
    expect(await ok("get svc,endpoints,endpointslices")).toContain("192.0.2.1:6443");
    const resources = await ok("api-resources");
    for (const name of ["configmaps", "leases", "endpointslices", "deployments"]) expect(resources).toContain(name);
    expect(await ok("api-versions")).toContain("discovery.k8s.io/v1");
    expect(await ok("get --raw /readyz?verbose")).toContain("[+]etcd ok");
    expect(await ok("get --raw /version")).toContain("keelson");
    expect(await ok("auth can-i create pods")).toBe("yes\n");
    if (Number.parseInt(clientVersion.minor, 10) >= 28) expect(await ok("auth whoami")).toContain("system:admin");
  });

  it("creates, labels, annotates, patches, replaces and deletes", async () => {
    await ok("create configmap a --from-literal=x=1");
    expect(await ok("get cm a -o yaml")).toContain('x: "1"');
    await ok("label cm a k=v");
    await ok("annotate cm a k=v");
    await ok(`patch cm a -p {"data":{"y":"2"}}`);
    await ok(`patch cm a --type=merge -p {"data":{"z":"3"}}`);
    await ok(`patch cm a --type=json -p [{"op":"remove","path":"/data/x"}]`);
    expect(await ok("get cm a -o jsonpath={.data}")).toBe('{"y":"2","z":"3"}');
    expect(await ok("get cm -l k=v -o name")).toBe("configmap/a\n");
    await ok("replace -f -", (await ok("get cm a -o json")).replace('"2"', '"replaced"'));
    expect(await ok("get cm a -o jsonpath={.data.y}")).toBe("replaced");
    const edited = await kubectl(["edit", "cm", "a"], "", { EDITOR: "sed -i s/replaced/edited/" });
    expect(edited.out, edited.err).toContain("configmap/a edited");
    await ok("delete cm a");
    const gone = await kubectl(["get", "cm", "a"]);
    expect(gone.err).toBe('Error from server (NotFound): configmaps "a" not found\n');
  });

  it("deletes nothing on a dry run, and dependents as it is told", async () => {
    await ok("create configmap owner --from-literal=x=1");
    const uid = await ok("get cm owner -o jsonpath={.metadata.uid}");
    const reference = { apiVersion: "v1", kind: "ConfigMap", name: "owner", uid, blockOwnerDeletion: true };
    const metadata = { name: "owned", ownerReferences: [reference] };
    const owned = JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata });
    await ok("create -f -", owned);
    expect(await ok("delete cm owner --dry-run=server")).toContain("deleted (server dry run)");
    expect(await ok("get cm owner -o name")).toBe("configmap/owner\n");
    await ok("delete cm owner --cascade=orphan --timeout=15s");
    expect(await ok("get cm owned -o jsonpath={.metadata.ownerReferences}")).toBe("");
    await ok("delete cm owned");
    await ok("create configmap owner");
    const again = owned.replace(uid, await ok("get cm owner -o jsonpath={.metadata.uid}"));
    await ok("create -f -", again);
    await ok("delete cm owner --cascade=foreground --timeout=15s");
    expect((await kubectl(["get", "cm", "owned"])).err).toContain("NotFound");
  });

  it("applies, sees no change the second time, and prunes what is no longer named", async () => {
    expect(await ok("apply -f -", workload)).toContain("service/web created");
    expect(await ok("apply -f -", workload)).toBe("deployment.apps/web unchanged\nservice/web unchanged\n");
    expect(await ok("diff -f -", workload)).toBe("");
    expect(await ok("scale deploy/web --replicas=5")).toContain("scaled");
    await ok("set image deploy/web c=nginx:2");
    expect(await ok("get deploy web -o wide")).toMatch(/web +0\/5/);
    await ok("rollout restart deploy/web");
    await ok("delete deploy,svc web");
  });

  it("applies on the server's side, with an owner for each field", async () => {
    const data = (fields: string): string =>
      `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {${fields}}\n`;
    await ok("apply --server-side --field-manager=one -f -", data("a: '1', b: '1'"));
    await ok("apply --server-side --field-manager=two -f -", data("c: '1'"));
    const conflict = await kubectl(
      ["apply", "--server-side", "--field-manager=two", "-f", "-"],
      data("a: '2', c: '1'"),
    );
    expect(conflict.err).toMatch(/conflict with "one".*: \.data\.a/s);
    await ok("apply --server-side --field-manager=two --force-conflicts -f -", data("a: '2', c: '1'"));
    await ok("apply --server-side --field-manager=one -f -", data(""));
    expect(await ok("get cm ssa -o jsonpath={.data}")).toBe('{"a":"2","c":"1"}');
    expect(await ok("apply --server-side --field-manager=w -f -", workload)).toContain("serverside-applied");
    await ok("delete deploy,svc web");
  });

  it("is told of a field that does not exist", async () => {
    const typo = workload.replace("replicas: 2", "replica: 2");
    const { code, err } = await kubectl(["apply", "-f", "-"], typo);
    expect(code).toBe(1);
    // kubectl checks by itself before 1.25, with the types that it asks the server for; later the server does.
    expect(err).toMatch(/unknown field "(spec\.)?replica"/);
  });

  it("explains kinds and fields", async () => {
    expect(await ok("explain deployment.spec.template.spec.containers")).toMatch(/image\t<string>/);
    expect(await ok("explain configmap")).toMatch(/data\t<map\[string\]string>/);
    expect(await ok("explain svc.spec.ports.port")).toContain("<integer>");
  });

  it("watches until something happens, and waits for it", async () => {
    await ok("create configmap w --from-literal=x=1");
    const watching: ChildProcess = spawn(findBinary("kubectl")!, ["get", "cm", "w", "-w", "-o", "name"], {
      env: environment(),
    });
    const lines = createInterface({ input: watching.stdout! })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe("configmap/w");
    await ok("label cm w a=b");
    expect((await lines.next()).value).toBe("configmap/w");
    watching.kill();
    await once(watching, "exit");
    await ok(`patch cm w --type=merge -p {"metadata":{"finalizers":["test/hold"]}}`);
    const deleting = ok("delete cm w --timeout=15s"); // returns when the object is gone
    await vi.waitFor(async () => expect(await ok("get cm w -o yaml")).toContain("deletionTimestamp"), 10_000);
    await ok(`patch cm w --type=merge -p {"metadata":{"finalizers":null}}`);
    await deleting;
  });

  it("makes tokens that are accepted, as long as their account lives", async () => {
    await ok("create serviceaccount robot");
    const tokens = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    const request = JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: {} });
    const { token } = JSON.parse(await ok(`create --raw ${tokens} -f -`, request)).status;
    const as = (extra: string[]): Promise<Result> => {
      const ca = join(api.directory, "ca.crt");
      return kubectl([
        `--server=${api.url}`,
        `--certificate-authority=${ca}`,
        `--token=${token}`,
        "--kubeconfig=/dev/null",
        ...extra,
      ]);
    };
    const { writeFile } = await import("node:fs/promises");
    await writeFile(join(api.directory, "ca.crt"), api.serverCa.bundlePem);
    expect((await as(["get", "secrets"])).err).toContain(
      'User "system:serviceaccount:default:robot" cannot list resource "secrets"',
    );
    await ok("delete serviceaccount robot");
    expect((await as(["get", "secrets"])).err).toContain("Unauthorized");
  });

  it("keeps strangers out", async () => {
    const anonymous = await kubectl([
      `--server=${api.url}`,
      "--insecure-skip-tls-verify",
      "--kubeconfig=/dev/null",
      "--username=a",
      "--password=b",
      "get",
      "cm",
    ]);
    expect(anonymous.code).toBe(1);
    const jane = await api.kubeconfig({ user: "jane" });
    expect((await kubectl(["--kubeconfig", jane, "get", "pods"])).err).toContain(
      'User "jane" cannot list resource "pods"',
    );
    const listed = await kubectl(["--kubeconfig", jane, "auth", "can-i", "--list"]);
    expect(listed.out).toContain("selfsubjectrulesreviews.authorization.k8s.io");
    expect(listed.out).not.toMatch(/pods|configmaps|\*\.\*/);
    expect((await kubectl(["--kubeconfig", jane, "create", "cm", "b"])).err).toContain('User "jane" cannot create');
    expect((await kubectl(["--kubeconfig", jane, "get", "secrets"])).err).toContain("Forbidden");
  });
});
