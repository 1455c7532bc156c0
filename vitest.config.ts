import { defineConfig } from "vitest/config";

const results = process.env.KEELSON_TEST_RESULTS;
const project = process.argv[process.argv.indexOf("--dir") + 1]?.replaceAll("/", "-") ?? "all";

// One configuration for every project; a project's `test` script narrows it with --dir.
export default defineConfig({
  test: {
    include: ["**/*.test.ts"],
    exclude: ["**/node_modules/**", "e2e/**"],
    environment: "node",
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 20_000,
    hookTimeout: 30_000,
    passWithNoTests: true,
    reporters:
      results === undefined ? ["default"] : ["default", ["json", { outputFile: `${results}/${project}.json` }]],
  },
});
