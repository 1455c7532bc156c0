import type { OptionSpec, OptionSpecs } from "@keelson/service";
import { type CommandModule, defineCommand } from "../../cli/command.ts";
import { snapshotOptions } from "../options.ts";

/** Long names by the short ones that K3s's `etcd-snapshot` has for them: `s3-bucket` is `etcd-s3-bucket`. */
const longNames = new Map(
  Object.keys(snapshotOptions)
    .filter((name) => name !== "etcd-snapshot-name") // `--name` differs from command to command
    .map((name) => [name === "etcd-snapshot-dir" ? "dir" : name.replace(/^etcd-/, ""), name]),
);

const shortOptions: OptionSpecs = Object.fromEntries(
  [...longNames].map(([short, long]) => {
    const spec: OptionSpec = { ...snapshotOptions[long as keyof typeof snapshotOptions], hidden: true };
    delete spec.default;
    delete spec.env;
    return [short, spec];
  }),
);

/**
 * A command about snapshots: its options are also taken by the short names that K3s gives them, and from the server's config
 * file, so that what is saved by hand goes where the server's own snapshots go.
 */
export function defineSnapshotCommand<const Specs extends OptionSpecs>(module: CommandModule<Specs>): CommandModule {
  return defineCommand({
    ...module,
    configFile: "shared",
    options: { ...shortOptions, ...module.options } as Specs,
    run: (invocation) => module.run({ ...invocation, options: withLongNames(invocation.options) }),
  });
}

function withLongNames<Values extends object>(values: Values): Values {
  const given = new Map(Object.entries(values).filter(([, value]) => value !== undefined && value !== false));
  const long = [...longNames].filter(([short]) => given.has(short)).map(([short, name]) => [name, given.get(short)]);
  return { ...values, ...Object.fromEntries(long) };
}
