import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { startMariadb } from "../servers/mariadb.ts";
import { startPostgres } from "../servers/postgres.ts";
import { seededRandom } from "./random.ts";
import { runHistory } from "./run.ts";

const usage = `usage: npm run conformance -- history [options]
  --faults n     how many faults on each backend (200)
  --backend b    postgres, mariadb (both)
  --seed n       chooses the faults (random)`;

const starters = { postgres: startPostgres, mariadb: startMariadb };

/** Concurrent clients on two replicas of one database under faults, and a judgement of everything they were told. */
export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      faults: { type: "string", default: "200" },
      backend: { type: "string", default: "postgres,mariadb" },
      seed: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const faults = Number(values.faults);
  const seed = values.seed === undefined ? randomInt(2 ** 31) : Number(values.seed);
  let violations = 0;
  for (const backend of values.backend.split(",") as (keyof typeof starters)[]) {
    const database = await starters[backend]();
    console.log(`${backend}: seed ${seed}, ${faults} faults`);
    try {
      const result = await runHistory({
        database,
        faults,
        random: seededRandom(seed),
        onFault: (name, index) => console.log(`${backend}: ${index + 1} of ${faults}: ${name}`),
      });
      for (const { rule, text } of result.violations) console.error(`${backend}: ${rule}: ${text}`);
      console.log(
        `${backend}: ${result.operations} requests (${result.answered} answered), ${result.events} events, ` +
          `slowest recovery ${Math.round(result.slowestRecoveryMs)} ms, ${result.violations.length} violations`,
      );
      violations += result.violations.length;
    } finally {
      await database.close();
    }
  }
  return violations === 0 ? 0 : 1;
}
