import { describe, expect, it } from "vitest";
import { seededRandom } from "../src/history/random.ts";
import { runHistory } from "../src/history/run.ts";
import { lacks, startMariadb, startPostgres } from "../src/index.ts";

/** Another seed each day, the same one all day. `npm run conformance -- history` runs as many faults as one likes. */
const seed = Number(process.env.KEELSON_SEED ?? Math.floor(Date.now() / 86_400_000));
const faults = 5;
const timeoutMs = 120_000;

describe("two replicas under faults keep every promise", () => {
  it.skipIf(lacks("postgres", "initdb"))("on one PostgreSQL", { timeout: timeoutMs }, () => judge(startPostgres));
  it.skipIf(lacks("mariadbd", "mariadb-install-db"))("on one MariaDB", { timeout: timeoutMs }, () =>
    judge(startMariadb),
  );
});

async function judge(start: typeof startPostgres): Promise<void> {
  const database = await start();
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
  expect(result.answered).toBeGreaterThan(100);
  await database.close();
}
