import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, type Dependencies, systemClock, withDefaults } from "@keelson/service";
import { onTestFinished } from "vitest";
import type { EnvelopeStore } from "../../src/bootstrap/envelope-store.ts";
import type { RegistrationConfig } from "../../src/config.ts";
import { Registration } from "../../src/registration.ts";
import { FakeCluster } from "./fake-cluster.ts";

/** A folder that goes when the test ends. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "keelson-registration-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** The real clock with a wall time that a test moves, for jumps of months that must not run years of timers. */
export class MovableClock implements Clock {
  offsetMs = 0;
  readonly monotonic = systemClock.monotonic;
  readonly setTimeout = systemClock.setTimeout;
  readonly setInterval = systemClock.setInterval;

  now(): number {
    return systemClock.now() + this.offsetMs;
  }
}

export interface Fixture {
  registration: Registration;
  cluster: FakeCluster;
  dataDir: string;
}

/** A started registration on a fresh data directory and a cluster in memory. */
export async function startRegistration(
  config: Partial<RegistrationConfig> = {},
  deps: Partial<Dependencies> & { envelopes?: EnvelopeStore; clusterApi?: FakeCluster } = {},
): Promise<Fixture> {
  const dataDir = config.dataDir ?? (await temporaryFolder());
  const { envelopes, clusterApi, ...shared } = deps;
  const services = withDefaults(shared);
  const cluster = clusterApi ?? new FakeCluster(services.clock);
  const registration = new Registration(
    { nodeName: "server-1", nodeIps: ["192.0.2.1"], httpsPort: 6443, ...config, dataDir },
    { ...services, clusterApi: cluster, envelopes },
  );
  onTestFinished(() => registration.stop());
  await registration.start();
  return { registration, cluster, dataDir };
}

/** An agent that joins with the agent password. */
export const agentIdentity = {
  user: "node",
  groups: ["k3s:agent", "system:authenticated"],
  method: "basic",
} as const;

export function nodeIdentity(name: string): { user: string; groups: string[]; method: "client-certificate" } {
  return {
    user: `system:node:${name}`,
    groups: ["system:nodes", "system:authenticated"],
    method: "client-certificate",
  };
}
