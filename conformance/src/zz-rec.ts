import { setTimeout as delay } from "node:timers/promises";
import { createEtcdClient } from "@keelson/etcd-client";
import { strike } from "./history/nemesis.ts";
import { seededRandom } from "./history/random.ts";
import { startAdapter } from "./servers/adapter.ts";
import { startMariadb } from "./servers/mariadb.ts";
import { startPostgres } from "./servers/postgres.ts";
import { TcpProxy } from "./servers/tcp-proxy.ts";

const database = await (process.argv[2] === "postgres" ? startPostgres() : startMariadb());
const replicas: any[] = [];
for (let i = 0; i < 2; i++) {
  const toDatabase = await TcpProxy.open(database.port);
  replicas.push({ ...(await startAdapter(database.endpoint("s", toDatabase.port))), toDatabase });
}
const stats: Record<string, number[]> = {};
let stop = false;
const last = [0, 0, 0, 0];
const errs = new Map<string, number>();
const clients = [0, 1, 0, 1].map((r, c) =>
  (async () => {
    const client = createEtcdClient({ endpoints: [replicas[r].url], timeoutMs: 8000 });
    for (let n = 0; !stop; n++) {
      const t0 = performance.now();
      try {
        await client.put({ key: Buffer.from(`/k/${c}/${n % 10}`), value: Buffer.from("x") });
        last[c] = t0;
      } catch (e: any) {
        errs.set(String(e.message).slice(0, 150), (errs.get(String(e.message).slice(0, 150)) ?? 0) + 1);
        await delay(20);
      }
    }
    client.close();
  })(),
);
const random = seededRandom(Number(process.argv[3] ?? 3));
await delay(500);
for (let i = 0; i < Number(process.argv[4] ?? 25); i++) {
  errs.clear();
  const name = await strike({ replicas, database } as any, random);
  const healed = performance.now();
  const back: (number | undefined)[] = [undefined, undefined];
  while (back.some((b) => b === undefined)) {
    for (const r of [0, 1])
      if (back[r] === undefined && (last[r]! > healed || last[r + 2]! > healed))
        back[r] = Math.round(performance.now() - healed);
    await delay(5);
    if (performance.now() - healed > 20000) break;
  }
  console.log(name, back.join(" "), Math.max(...(back as number[])) > 1500 ? [...errs] : "");
  await delay(150);
}
stop = true;
await Promise.all(clients);
for (const { process, toDatabase } of replicas) {
  await process.kill();
  await toDatabase.close();
}
await database.close();
