/**
 * Prints "N passed, N failed" from vitest's JSON report. A file that could not be loaded counts as one failure;
 * the second argument says how many failures there were elsewhere.
 */
import { readFileSync } from "node:fs";

const text = readFileSync(process.argv[2] ?? "", "utf8");
const { numPassedTests, testResults } = text ? JSON.parse(text) : { numPassedTests: 0, testResults: [] };
const failures = testResults.map(({ status, assertionResults }) => {
  const failed = assertionResults.filter((result) => result.status !== "passed").length;
  return failed > 0 || status === "passed" ? failed : 1;
});
const failed = failures.reduce((sum, count) => sum + count, Number(process.argv[3] ?? 0));
console.log(`${numPassedTests} passed, ${failed} failed`);
process.exitCode = failed > 0 || numPassedTests === 0 ? 1 : 0;
