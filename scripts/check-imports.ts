/**
 * Fails when a project imports what it may not (docs/architecture.md, "Who may import whom"):
 * apps import libs, never another app, but `apps/keelson`, which composes them; libs import only libs of a lower layer;
 * nothing reaches into another project's files past its `index.ts`.
 */

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";

/** A lib may import libs of a smaller layer number. */
const libLayers: Record<string, number> = {
  "libs/service": 0,
  "libs/protocol": 0,
  "libs/secret-format": 1,
  "libs/pki": 1,
  "libs/load-balancer": 1,
  "libs/etcd-client": 1,
  "libs/kube-client": 1,
};
const harnesses = new Set(["conformance", "bench", "e2e", "scripts"]);

const root = resolve(import.meta.dirname, "..");
const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard", "*.ts"], { cwd: root, encoding: "utf8" })
  .split("\n")
  .filter((file) => file !== "");

const problems: string[] = [];
for (const file of files) {
  const project = projectOf(file);
  if (project === undefined) continue;
  let text: string;
  try {
    text = readFileSync(join(root, file), "utf8");
  } catch {
    continue; // deleted in the work tree, not yet in the index
  }
  for (const specifier of specifiersOf(text)) {
    const problem = judge(file, project, specifier);
    if (problem !== undefined) problems.push(`${file}: ${problem} (${specifier})`);
  }
}

if (problems.length > 0) {
  console.error(problems.join("\n"));
  console.error(`${problems.length} forbidden import(s)`);
  process.exit(1);
}
console.log(`imports: ${files.length} files, no forbidden import`);

function projectOf(file: string): string | undefined {
  const parts = file.split("/");
  if (parts[0] === "apps" || parts[0] === "libs") return `${parts[0]}/${parts[1]}`;
  return parts.length > 1 ? parts[0] : undefined;
}

function specifiersOf(text: string): string[] {
  const pattern = /(?:\bfrom\s+|\bimport\s*\(\s*|^\s*import\s+)["']([^"']+)["']/gm;
  return [...text.matchAll(pattern)].map((match) => match[1]!);
}

function judge(file: string, project: string, specifier: string): string | undefined {
  if (specifier.startsWith(".")) {
    const target = relative(root, resolve(root, dirname(file), specifier))
      .split(sep)
      .join("/");
    return projectOf(target) === project || harnesses.has(project) ? undefined : "reaches into another project's files";
  }
  if (!specifier.startsWith("@keelson/")) return undefined;
  const [, name, ...inner] = specifier.split("/");
  // A project's own tests may start real servers.
  if (specifier === "@keelson/conformance" && file.startsWith(`${project}/test/`)) return undefined;
  const target = libLayers[`libs/${name}`] === undefined ? `apps/${name}` : `libs/${name}`;
  // A project may have more public faces than its index.ts, so that an agent does not load the datastore's messages.
  if (inner.length > 0 && !facesOf(target).has(`./${inner.join("/")}`)) return "goes past the project's index.ts";
  if (target === project || harnesses.has(project) || project === "apps/keelson") return undefined;
  if (target.startsWith("apps/")) return "only apps/keelson may import an app";
  if (project.startsWith("apps/")) return undefined;
  const own = libLayers[project];
  if (own === undefined) return `${project} has no layer in scripts/check-imports.ts`;
  return libLayers[target]! < own ? undefined : "a lib imports only libs of a lower layer";
}

/** What a project's package.json exports: `./csr`. */
function facesOf(project: string): ReadonlySet<string> {
  const { exports = {} } = JSON.parse(readFileSync(join(root, project, "package.json"), "utf8")) as {
    exports?: string | Record<string, string>;
  };
  return new Set(typeof exports === "string" ? [] : Object.keys(exports));
}
