import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";

const root = resolve(import.meta.dirname, "../..");
const folders = ["embedded-etcd", "external-datastore", "scaled", "monitoring"];

interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
  spec?: Record<string, unknown>;
}

interface PodTemplate {
  metadata: { labels: Record<string, string> };
  spec: {
    securityContext: Record<string, unknown>;
    automountServiceAccountToken?: boolean;
    containers: Record<string, unknown>[];
  };
}

function manifestsOf(folder: string): Manifest[] {
  const text = execFileSync("kubectl", ["kustomize", `deploy/kubernetes/${folder}`], { cwd: root, encoding: "utf8" });
  return parseAllDocuments(text).map((document) => document.toJS() as Manifest);
}

/** The class that was generated from the API's own schema, whose `validate` throws at the first difference. */
async function modelOf({ apiVersion, kind }: Manifest): Promise<new (data: Manifest) => { validate(): void }> {
  const library = apiVersion.startsWith("monitoring.coreos.com")
    ? "@kubernetes-models/prometheus-operator"
    : "kubernetes-models";
  const module = (await import(`${library}/${apiVersion}/${kind}`)) as Record<string, never>;
  return module[kind]!;
}

describe.each(folders)("deploy/kubernetes/%s", (folder) => {
  const manifests = manifestsOf(folder);
  const workloads = manifests.filter(({ kind }) => kind === "Deployment" || kind === "StatefulSet");
  const templateOf = (workload: Manifest): PodTemplate => workload.spec!.template as PodTemplate;

  test.each(manifests.map((manifest) => [`${manifest.kind} ${manifest.metadata.name}`, manifest] as const))(
    "%s fits its schema",
    async (_, manifest) => {
      const Model = await modelOf(manifest);
      new Model(manifest).validate();
      if (manifest.kind !== "Namespace") expect(manifest.metadata.namespace).toBe("keelson");
    },
  );

  test.each(workloads.map((workload) => [workload.metadata.name, workload] as const))(
    "%s has no more rights than it needs, and says how it is",
    (_, workload) => {
      const { spec } = templateOf(workload);
      // The servers on embedded etcd ask once who founds the cluster; their role names that one object.
      expect(spec.automountServiceAccountToken).toBe(folder === "embedded-etcd");
      expect(spec.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
      for (const container of spec.containers) {
        expect(container).toMatchObject({
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ["ALL"] },
          },
          livenessProbe: expect.any(Object),
          readinessProbe: expect.any(Object),
          resources: { requests: expect.any(Object), limits: expect.any(Object) },
        });
      }
    },
  );

  test("every workload keeps its majority during a drain", () => {
    const budgets = manifests.filter(({ kind }) => kind === "PodDisruptionBudget");
    for (const workload of workloads) {
      const { labels } = templateOf(workload).metadata;
      const covering = budgets.filter(({ spec }) => {
        const selector = spec!.selector as { matchLabels: Record<string, string> };
        return Object.entries(selector.matchLabels).every(([key, value]) => labels[key] === value);
      });
      expect(
        covering.map(({ spec }) => spec!.maxUnavailable),
        workload.metadata.name,
      ).toEqual([1]);
    }
  });
});

describe("monitoring", () => {
  const all = folders.flatMap(manifestsOf);
  const named = (kind: string): Manifest[] => all.filter((manifest) => manifest.kind === kind);

  test("finds a Service with the port that it asks for, by every monitor", () => {
    for (const { metadata, spec } of named("ServiceMonitor")) {
      const { jobLabel, selector, endpoints } = spec as {
        jobLabel: string;
        selector: { matchLabels: Record<string, string> };
        endpoints: { port: string }[];
      };
      const services = named("Service").filter(({ metadata: { labels = {} } }) =>
        Object.entries(selector.matchLabels).every(([label, value]) => labels[label] === value),
      );
      expect(services.length, metadata.name).toBeGreaterThan(0);
      for (const service of services) {
        const ports = (service.spec!.ports as { name: string }[]).map(({ name }) => name);
        expect(ports, service.metadata.name).toContain(endpoints[0]!.port);
        expect(service.metadata.labels![jobLabel]).toBe(metadata.name);
      }
    }
  });

  test("has the same rules for the operator as for a Prometheus by itself", () => {
    const rules = parse(readFileSync(resolve(root, "deploy/prometheus/rules.yml"), "utf8")) as { groups: unknown };
    expect(named("PrometheusRule")[0]!.spec!.groups).toEqual(rules.groups);
  });
});
