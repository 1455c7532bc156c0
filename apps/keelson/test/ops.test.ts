import { freePort } from "@keelson/conformance";
import { createRegistry, Gauge, Health, type Service, withDefaults } from "@keelson/service";
import { expect, it } from "vitest";
import { withOps } from "../src/ops.ts";

it("a process tells its operators how it is from the beginning of its start until its end", async () => {
  const deps = withDefaults({ registry: createRegistry({ defaultMetrics: false }) });
  new Gauge({ name: "pods", help: "Pods", registers: [deps.registry] }).set(3);
  const health = new Health();
  let isReady = false;
  health.add("node", () => (isReady ? undefined : "not in the cluster yet"));
  const listen = `127.0.0.1:${await freePort()}`;
  const ask = async (path: string): Promise<string> => (await fetch(`http://${listen}${path}`)).text();
  const seen: string[] = [];
  const service: Service = {
    async start() {
      seen.push(await ask("/readyz"), await ask("/livez"));
      isReady = true;
    },
    async stop() {
      seen.push(await ask("/livez"));
    },
  };
  const daemon = withOps(service, listen, health, deps);
  await daemon.start();
  expect(await ask("/readyz")).toBe("ok");
  expect(await ask("/metrics")).toContain("\npods 3\n");
  await daemon.stop();
  expect(seen).toEqual([expect.stringContaining("node failed: not in the cluster yet"), "ok", "ok"]);
  await expect(ask("/livez")).rejects.toThrow("fetch failed");
  expect(withOps(service, undefined, health, deps)).toBe(service);
});
