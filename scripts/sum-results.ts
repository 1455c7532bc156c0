/** Adds up the Vitest JSON reports of a folder and prints `N passed, N failed[, N skipped]`; fails when it must. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numFailedTestSuites: number;
  numPendingTests: number;
  numTodoTests: number;
}

const directory = process.argv[2] ?? ".nx/test-results";
let passed = 0;
let failed = 0;
let skipped = 0;
for (const name of readdirSync(directory).filter((file) => file.endsWith(".json"))) {
  const report = JSON.parse(readFileSync(join(directory, name), "utf8")) as Report;
  passed += report.numPassedTests;
  // A file that fails to load has no failed test, yet nothing in it ran.
  failed +=
    report.numFailedTests === 0 && report.numFailedTestSuites > 0 ? report.numFailedTestSuites : report.numFailedTests;
  skipped += report.numPendingTests + report.numTodoTests;
}
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exit(failed > 0 || passed === 0 || (skipped > 0 && process.env.KEELSON_REQUIRE_ALL === "1") ? 1 : 0);
