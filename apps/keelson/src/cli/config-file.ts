import { readdir, readFile } from "node:fs/promises";
import { errorCode, KeelsonError, type RawOptions } from "@keelson/service";

export const defaultConfigFile = "/etc/rancher/k3s/config.yaml";

/**
 * Reads `config.yaml`, then every `*.yaml` of `config.yaml.d` in name order. k3s's rules: keys are long flag names, a
 * later file replaces an earlier value, `key+:` appends to it. A missing default file is fine, a missing named one not.
 */
export async function readConfigFiles(path: string, options: { mustExist: boolean }): Promise<RawOptions> {
  const merged = new Map<string, readonly string[]>();
  const main = await readYaml(path, options.mustExist);
  if (main !== undefined) merge(merged, main, path);
  for (const name of await listDropIns(`${path}.d`)) {
    const file = `${path}.d/${name}`;
    const content = await readYaml(file, true);
    if (content !== undefined) merge(merged, content, file);
  }
  return merged;
}

async function listDropIns(directory: string): Promise<string[]> {
  try {
    const names = await readdir(directory);
    return names.filter((name) => /\.ya?ml$/i.test(name)).sort();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw new KeelsonError("config/unreadable", `cannot list ${directory}`, { cause: error });
  }
}

async function readYaml(path: string, mustExist: boolean): Promise<Record<string, unknown> | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT" && !mustExist) return undefined;
    throw new KeelsonError("config/unreadable", `cannot read the config file ${path}`, { cause: error });
  }
  const { parse } = await import("yaml"); // most hosts have no config file
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw new KeelsonError("config/invalid", `${path} is not valid YAML`, { cause: error });
  }
  if (document === null || document === undefined) return undefined;
  if (typeof document !== "object" || Array.isArray(document)) {
    throw new KeelsonError("config/invalid", `${path} must be a mapping of option names to values`);
  }
  return document as Record<string, unknown>;
}

function merge(target: Map<string, readonly string[]>, content: Record<string, unknown>, file: string): void {
  for (const [key, value] of Object.entries(content)) {
    const appends = key.endsWith("+");
    const name = appends ? key.slice(0, -1) : key;
    const values = (Array.isArray(value) ? value : [value]).map((item) => scalar(item, name, file));
    target.set(name, appends ? [...(target.get(name) ?? []), ...values] : values);
  }
}

function scalar(value: unknown, name: string, file: string): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "object") {
    throw new KeelsonError("config/invalid", `${file}: the value of "${name}" must be a scalar or a list of scalars`);
  }
  return String(value);
}
