import { setTimeout as delay } from "node:timers/promises";
import type { ServerProcess } from "../servers/server-process.ts";
import type { TcpProxy } from "../servers/tcp-proxy.ts";

/** What a nemesis can hurt. */
export interface Victims {
  replicas: readonly { process: ServerProcess; toDatabase: TcpProxy }[];
  database: { process: ServerProcess; crash(): Promise<void> };
}

interface Fault {
  name: string;
  /** Hurts and heals: everything runs again when it resolves. */
  strike(victims: Victims, random: () => number): Promise<void>;
}

const some = <T>(list: readonly T[], random: () => number): T => list[Math.floor(random() * list.length)]!;
const between = (random: () => number, leastMs: number, mostMs: number): number =>
  leastMs + random() * (mostMs - leastMs);

const faults: readonly Fault[] = [
  {
    name: "kill -9 an adapter",
    strike: async ({ replicas }, random) => {
      const { process } = some(replicas, random);
      await process.kill();
      await delay(between(random, 0, 300));
      await process.start();
    },
  },
  {
    name: "kill -9 every adapter",
    strike: async ({ replicas }) => {
      await Promise.all(replicas.map(({ process }) => process.kill()));
      await Promise.all(replicas.map(({ process }) => process.start()));
    },
  },
  {
    name: "pause an adapter",
    strike: async ({ replicas }, random) => {
      const { process } = some(replicas, random);
      process.pause();
      await delay(between(random, 200, 3_000));
      process.resume();
    },
  },
  {
    name: "cut an adapter's database connections",
    strike: async ({ replicas }, random) => {
      some(replicas, random).toDatabase.cut();
    },
  },
  {
    name: "partition an adapter from the database",
    strike: async ({ replicas }, random) => {
      const { toDatabase } = some(replicas, random);
      toDatabase.partition();
      await delay(between(random, 200, 3_000));
      // What was held back arrives late, or never.
      if (random() < 0.5) toDatabase.cut();
      toDatabase.heal();
    },
  },
  {
    name: "crash the database",
    strike: async ({ database }, random) => {
      await database.crash();
      await delay(between(random, 0, 300));
      await database.process.start();
    },
  },
  {
    name: "restart the database",
    strike: async ({ database }) => {
      await database.process.stop();
      await database.process.start();
    },
  },
];

/** Strikes with a random fault. Resolves with its name when everything runs again. */
export async function strike(victims: Victims, random: () => number): Promise<string> {
  const fault = some(faults, random);
  await fault.strike(victims, random);
  return fault.name;
}
