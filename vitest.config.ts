import { relative } from "node:path";
import { defineConfig } from "vitest/config";

const results = process.env.KEELSON_TEST_RESULTS;
/** The project that is tested: Nx runs a project's script in its folder. */
const project = relative(import.meta.dirname, process.cwd()).replaceAll("/", "-") || "all";

/** Needs programs that no package brings: scripts/kubernetes-from-debian.sh makes them. */
const realKubernetes = "**/upstream-kubernetes.test.ts";

// One configuration for every project; a project's `test` script narrows it to its own folder.
export default defineConfig({
  test: {
    include: ["**/*.test.ts"],
    exclude: ["**/node_modules/**", "e2e/**", ...(process.env.KUBERNETES_BIN ? [] : [realKubernetes])],
    environment: "node",
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 30_000,
    // What is waited for comes at once; the rest is for machines that are busy with something else.
    expect: { poll: { timeout: 5_000 } },
    reporters:
      results === undefined ? ["default"] : ["default", ["json", { outputFile: `${results}/${project}.json` }]],
  },
});
