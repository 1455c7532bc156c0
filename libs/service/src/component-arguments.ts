/**
 * The command line of a Kubernetes component: our flags, changed by what the user gave with `--kubelet-arg` and the like.
 * An argument `name=value` takes the place of ours, `name+=value` goes behind it and `name-=value` before it; a name alone
 * means true, leading dashes do not matter. A flag that is given again is passed again, each with its value, because only
 * the component knows what its lists and maps make of that. By name, and in the order given. Source: k3s pkg/util/args.go.
 */
export function componentArguments(flags: Readonly<Record<string, string>>, extra: readonly string[]): string[] {
  const initial = new Map(Object.entries(flags));
  const values = new Map<string, string[]>();
  for (const argument of extra) {
    const { name, operator, value } = parseArgument(argument);
    const ours = operator === undefined ? undefined : initial.get(name);
    const present = [...(ours === undefined ? [] : [ours]), ...(values.get(name) ?? [])];
    values.set(name, operator === "-" ? [value, ...present] : [...present, value]);
    initial.delete(name);
  }
  for (const [name, value] of initial) values.set(name, [value]);
  return [...values]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, list]) => list.map((value) => `--${name}=${value}`));
}

/** What the user's arguments say of a flag; the last of them, as components read it. */
export function argumentValue(extra: readonly string[], flag: string): string | undefined {
  return extra.map(parseArgument).findLast(({ name }) => name === flag)?.value;
}

function parseArgument(argument: string): { name: string; operator: "+" | "-" | undefined; value: string } {
  const [, flag, value = "true"] = /^(?:--)?([^=]*)(?:=(.*))?$/s.exec(argument)!;
  const operator = flag!.endsWith("+") ? "+" : flag!.endsWith("-") ? "-" : undefined;
  return { name: flag!.replace(/[+-]+$/, ""), operator, value };
}
