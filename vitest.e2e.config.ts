import { defineConfig } from "vitest/config";

const results = process.env.KEELSON_TEST_RESULTS;

// The end-to-end suites: real containers on private networks, one topology at a time, since each brings its own cluster.
export default defineConfig({
  test: {
    include: ["e2e/test/**/*.test.ts"],
    globalSetup: ["e2e/src/engine.ts"],
    environment: "node",
    pool: "forks",
    fileParallelism: false,
    testTimeout: 180_000,
    hookTimeout: 300_000,
    env: { TESTCONTAINERS_RYUK_DISABLED: "true", DOCKER_BUILDKIT: "0" },
    reporters: results === undefined ? ["default"] : ["default", ["json", { outputFile: `${results}/e2e.json` }]],
  },
});
