/** `npm run conformance -- [differential|history|check-perf] [options]`. */
const [first, ...rest] = process.argv.slice(2);
const named = first !== undefined && !first.startsWith("-");
const name = named ? first : "differential";
const args = named ? rest : process.argv.slice(2);

const commands: Record<string, () => Promise<{ run(args: string[]): Promise<number> }>> = {
  differential: () => import("./differential/command.ts"),
  history: () => import("./history/command.ts"),
  "check-perf": () => import("./check-perf/command.ts"),
};
const command = commands[name];
if (command === undefined) {
  console.error(`usage: npm run conformance -- [${Object.keys(commands).join("|")}] [options]`);
  process.exitCode = 2;
} else {
  // Not by falling off the end: Node waits there for connections that the nemesis has reset, and never hears of some.
  process.exit(await (await command()).run(args));
}
