import { describe, expect, it, onTestFinished } from "vitest";
import { seededRandom } from "../src/history/random.ts";
import { runHistory } from "../src/history/run.ts";
import { lacks, startMariadb, startPostgres } from "../src/index.ts";

/** The same faults on every machine; `npm run conformance -- history` strikes with as many random ones as one likes. */
const seed = Number(process.env.KEELSON_SEED ?? 3);
const faults = 4;
const timeoutMs = 180_000;

describe("two replicas under faults keep every promise", () => {
  it.skipIf(lacks("postgres", "initdb"))("on one PostgreSQL", { timeout: timeoutMs }, () => judge(startPostgres));
  it.skipIf(lacks("mariadbd", "mariadb-install-db"))("on one MariaDB", { timeout: timeoutMs }, () =>
    judge(startMariadb),
  );
});

async function judge(start: typeof startPostgres): Promise<void> {
  const database = await start();
  onTestFinished(() => database.close());
  const names: string[] = [];
  const result = await runHistory({
    database,
    faults,
    random: seededRandom(seed),
    onFault: (name) => names.push(name),
  });
  console.log(
    `${database.kind}: seed ${seed}: ${names.join(", ")}; ${result.answered} answers, ${result.events} events`,
  );
  expect(result.violations).toEqual([]);
  expect(result.answered).toBeGreaterThan(20);
}
