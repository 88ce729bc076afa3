/**
 * A figure on a cluster: a Slurm job array with a task for each shard, and a job that merges when all have ended. The script of
 * the array stays in the folder of the run. It holds all options, so that `sbatch --array=2 DIR/shards.sh` computes shard 2 again.
 */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { Option } from "commander";
import { openStore } from "../../checkpoint/index.ts";
import { writeText } from "../../checkpoint/store.ts";
import { SuperlensError } from "../../errors.ts";
import { wholeNumber } from "../options.ts";

const SCRIPT = "shards.sh";

export const DEFAULT_TASKS = 4;

/** The options that make an array of a figure. A task of the array is given all others. */
export const slurmOptions = (): Option[] => [
  new Option("--slurm", "submit a Slurm job array, a task for each shard, and a job that merges").conflicts("shard"),
  new Option("--tasks <n>", `tasks of the job array (default: ${DEFAULT_TASKS})`).argParser(wholeNumber(1)),
];

export interface ArrayJob {
  figure: string;
  /** The folder of the run. */
  out: string;
  tasks: number;
  /** Further options of sbatch, such as `--partition=gpu`. */
  sbatch: readonly string[];
}

export interface Submitted {
  script: string;
  /** Ids of the array, and of the job that merges. */
  job: string;
  merge: string;
}

/** Writes the script and submits it. @throws SuperlensError `cli/no-slurm`, `cli/slurm` */
export async function submitArray(job: ArrayJob): Promise<Submitted> {
  const script = join(job.out, SCRIPT);
  await writeText(openStore(job.out), SCRIPT, arrayScript(job));
  const array = await sbatch(script, ["--parsable", script]);
  const merge = await sbatch(script, [
    "--parsable",
    `--dependency=afterany:${array}`,
    `--job-name=superlens-${job.figure}-merge`,
    `--output=${join(resolve(job.out), "slurm-merge.log")}`,
    ...job.sbatch,
    `--wrap=${shellWords([...ourselves(), "paper", "merge", resolve(job.out)])}`,
  ]);
  return { script, job: array, merge };
}

/** The command that runs here, without `paper` and what follows it. */
const ourselves = () => [process.execPath, ...process.execArgv, process.argv[1] as string];

/** The arguments of this process before `--`, and those after it, which are for sbatch. */
export function splitArguments(): { own: string[]; sbatch: string[] } {
  const all = process.argv.slice(2);
  const end = all.indexOf("--");
  return end < 0 ? { own: all, sbatch: [] } : { own: all.slice(0, end), sbatch: all.slice(end + 1) };
}

function arrayScript({ figure, out, tasks, sbatch: options }: ArrayJob): string {
  const command = [...ourselves(), ...withoutSlurm(splitArguments().own)];
  return `${[
    "#!/bin/bash",
    `# The figure "${figure}" in ${tasks} shards, each a task. Shard 2 again: sbatch --array=2 ${shellWords([resolve(out, SCRIPT)])}`,
    "# Then: superlens paper merge, with the same folder.",
    `#SBATCH --job-name=superlens-${figure}`,
    `#SBATCH --array=0-${tasks - 1}`,
    `#SBATCH --output=${shellWords([join(resolve(out), "slurm-%a.log")])}`,
    ...(options.length > 0 ? [`#SBATCH ${shellWords(options)}`] : []),
    `cd ${shellWords([process.cwd()])}`,
    `exec ${shellWords(command)} --shard "$SLURM_ARRAY_TASK_ID/${tasks}"`,
  ].join("\n")}\n`;
}

/** Arguments without the options above. */
function withoutSlurm(own: readonly string[]): string[] {
  const options = slurmOptions();
  const isValue = (index: number) => options.some(({ long, required }) => required && own[index - 1] === long);
  return own.filter(
    (arg, index) => !isValue(index) && !options.some(({ long }) => arg === long || arg.startsWith(`${long}=`)),
  );
}

/** Words as bash reads them. */
const shellWords = (words: readonly string[]) =>
  words.map((word) => (/^[\w./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ");

/** Submits a job; gives its id. */
async function sbatch(script: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)("sbatch", args);
    return (stdout.trim().split(";")[0] as string).trim();
  } catch (cause) {
    const { code, stderr = "" } = cause as { code?: unknown; stderr?: string };
    if (code === "ENOENT")
      throw new SuperlensError(
        "cli/no-slurm",
        `There is no sbatch on this machine. ${script} is written: where Slurm is, sbatch ${script}; then superlens paper merge. Without Slurm, give --shard i/n to each machine.`,
        { cause },
      );
    throw new SuperlensError(
      "cli/slurm",
      `sbatch refused the job: ${stderr.trim().replaceAll("\n", " ")}. ${script} is written; correct it or the options after --, and submit it again.`,
      { cause },
    );
  }
}

/** How many shards the array of a run has; undefined if it was none. */
export async function tasksOf(out: string): Promise<number | undefined> {
  const script = await readFile(join(out, SCRIPT), "utf8").catch(() => "");
  const last = /^#SBATCH --array=0-(\d+)$/m.exec(script)?.[1];
  return last === undefined ? undefined : Number(last) + 1;
}

/** How to compute shards of an array again. */
export const resubmission = (out: string, shards: readonly number[] | "I") =>
  `sbatch --array=${typeof shards === "string" ? shards : shards.join(",")} ${join(out, SCRIPT)}`;
