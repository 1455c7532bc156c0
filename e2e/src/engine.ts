import { execFileSync, spawnSync } from "node:child_process";
import { resolve } from "node:path";
import type { TestProject } from "vitest/node";
import { baseImages, keelsonImage, serviceImages } from "./images.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Why containers cannot be used here; empty when they can. */
    noEngine: string;
  }
}

const root = resolve(import.meta.dirname, "../..");

/**
 * Before the suites: a container engine that answers, the images, and ours built from this tree. Without an engine the
 * suites are skipped with the reason, unless KEELSON_REQUIRE_ALL=1 says that nothing may be.
 */
export function setup(project: TestProject): void {
  const requireAll = process.env.KEELSON_REQUIRE_ALL === "1";
  const bootstrap = spawnSync(
    "scripts/container-bootstrap.sh",
    [...(requireAll ? ["--install"] : []), ...baseImages, ...Object.values(serviceImages)],
    { cwd: root, encoding: "utf8", stdio: ["ignore", "inherit", "pipe"] },
  );
  if (bootstrap.status !== 0) {
    const reason = bootstrap.stderr.trim() || String(bootstrap.error);
    if (requireAll) throw new Error(`the end-to-end suites need a container engine: ${reason}`);
    project.provide("noEngine", reason);
    return;
  }
  project.provide("noEngine", "");
  if (process.env.KEELSON_E2E_IMAGE !== undefined) return;
  // The classic builder knows our stand-ins for base images; BuildKit would look for a registry.
  execFileSync("nice", ["docker", "build", "-q", "-t", keelsonImage, "."], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, DOCKER_BUILDKIT: "0" },
  });
}
