/** Adds up the Vitest JSON reports of a folder: prints what failed, then `N passed, N failed[, N skipped]`; fails when it must. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numFailedTestSuites: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: FileReport[];
}

interface FileReport {
  /** The test file's path. */
  name: string;
  /** Why the file itself could not run, when no test of it did. */
  message: string;
  assertionResults: { status: string; fullName: string; failureMessages: string[] }[];
}

/** The lines that say which tests of a file failed and why: a log that is kept only from its end still tells. */
function failures(file: FileReport): string[] {
  const tests = file.assertionResults.filter((test) => test.status === "failed");
  const lines = tests.map(
    (test) => `failed: ${relative(".", file.name)} > ${test.fullName}\n${test.failureMessages.join("\n")}`,
  );
  return lines.length === 0 && file.message !== "" ? [`failed: ${relative(".", file.name)}\n${file.message}`] : lines;
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
  for (const line of report.testResults.flatMap(failures)) console.log(line);
}
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exit(failed > 0 || passed === 0 || (skipped > 0 && process.env.KEELSON_REQUIRE_ALL === "1") ? 1 : 0);
