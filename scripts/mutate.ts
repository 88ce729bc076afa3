/**
 * Re-introduces plausible bugs, each by itself, and expects the tests to notice. A wrong kernel writes fluent text, so a
 * suite that stays green over one of these is worth nothing, and this script fails.
 *
 * Everything happens in temporary copies of the tree, one for each mutant that is tried at a time. `npm run mutate -- sweep`
 * runs the mutants whose name has "sweep", `npm run mutate -- --quick` the few that `.ci/run` runs.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Mutant } from "./mutant.ts";
import { MUTANTS } from "./mutants.ts";

interface Outcome {
  verdict: "killed" | "survived" | "broken";
  note: string;
}

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const COPIED = ["src", "shaders", "scripts", "test", "package.json", "tsconfig.json", "vitest.config.ts"];
/** Most of a mutant's time goes into starting vitest, on one core: the 14 quick ones took 82 s in place of 133 s. */
const AT_A_TIME = 2;

function copyTree(): string {
  const copy = mkdtempSync(join(tmpdir(), "superlens-mutate-"));
  for (const name of COPIED) cpSync(join(root, name), join(copy, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  return copy;
}

interface Report {
  numTotalTests: number;
  testResults: {
    name: string;
    message?: string;
    assertionResults: { status: string; fullName: string; failureMessages: string[] }[];
  }[];
}

/** The vitest report of some test files; undefined when there was none. */
async function runTests(copy: string, tests: readonly string[], bail: number): Promise<Report | undefined> {
  const file = join(copy, "report.json");
  rmSync(file, { force: true });
  const vitest = join("node_modules", "vitest", "vitest.mjs");
  const kept = "--experimental.fsModuleCache=false"; // of a copy, nothing that was transformed is wanted again
  const options = ["run", kept, `--bail=${bail}`, "--reporter=json", `--outputFile=${file}`, ...tests];
  const env = { ...process.env, SUPERLENS_NIGHTLY: "1" }; // the test that notices may be one of the night
  await once(
    spawn(process.execPath, [vitest, ...options], { cwd: copy, env, stdio: "ignore", timeout: 600_000 }),
    "exit",
  );
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as Report) : undefined;
}

const failuresOf = (report: Report) =>
  report.testResults.flatMap(({ assertionResults }) => assertionResults).filter(({ status }) => status === "failed");

/** A mutant counts as killed when a test fails for what it computed: not when nothing runs, nor when WGSL is invalid. */
function judge(report: Report | undefined): Outcome {
  if (!report || report.numTotalTests === 0) return { verdict: "broken", note: "the tests could not run" };
  const [failure] = failuresOf(report);
  if (!failure) return { verdict: "survived", note: `${report.numTotalTests} tests passed` };
  if (failure.failureMessages.some((message) => message.includes("does not compile"))) {
    return { verdict: "broken", note: "its shader does not compile" };
  }
  return { verdict: "killed", note: failure.fullName };
}

async function tryMutant(copy: string, { file, from, to, tests }: Mutant): Promise<Outcome> {
  const path = join(copy, file);
  const original = readFileSync(path, "utf8");
  const count = original.split(from).length - 1;
  if (count !== 1) return { verdict: "broken", note: `its text occurs ${count} times in ${file}` };
  writeFileSync(
    path,
    original.replace(from, () => to),
  );
  try {
    return judge(await runTests(copy, tests, 1));
  } finally {
    writeFileSync(path, original);
  }
}

async function main(wanted: string): Promise<number> {
  const mutants = MUTANTS.filter(({ name, quick }) => (wanted === "--quick" ? quick : name.includes(wanted)));
  if (mutants.length === 0) {
    console.error(`No mutant's name has "${wanted}".`);
    return 1;
  }
  const copies = Array.from({ length: AT_A_TIME }, copyTree);
  try {
    const baseline = await runTests(copies[0] as string, [...new Set(mutants.flatMap(({ tests }) => tests))], 0);
    if (!baseline || baseline.numTotalTests === 0 || failuresOf(baseline).length > 0) {
      console.error("The tests must pass before bugs are put in.");
      for (const { fullName } of baseline ? failuresOf(baseline) : []) console.error(`  ${fullName}`);
      return 1;
    }
    let killed = 0;
    const waiting = mutants.values();
    const tryAll = async (copy: string) => {
      for (const mutant of waiting) {
        const { verdict, note } = await tryMutant(copy, mutant);
        if (verdict === "killed") killed += 1;
        console.log(`${verdict.padEnd(9)} ${mutant.name.padEnd(72)} ${note}`);
      }
    };
    await Promise.all(copies.map(tryAll));
    console.log(`\n${killed} of ${mutants.length} mutants killed.`);
    return killed === mutants.length ? 0 : 1;
  } finally {
    for (const copy of copies) rmSync(copy, { recursive: true });
  }
}

process.exitCode = await main(process.argv[2] ?? "");
