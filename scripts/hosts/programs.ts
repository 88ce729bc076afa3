/**
 * Programs that the command line runs in other hosts (`superlens verify --host`, `superlens bench --host`). Each gets its
 * settings and says lines, which `src/cli/elsewhere.ts` reads at the other end.
 */
import { type RunOptions, runBench, type Subject } from "../../src/bench/index.ts";
import { Gpu, requestGpu, SuperlensError } from "../../src/index.ts";
import { type GridName, type Group, verify } from "../../src/theory/index.ts";
import { PROGRAM_MARK, type ProgramLine } from "./lines.ts";

export interface ProgramContext {
  /** URL of the model's folder that the launcher serves, with a slash at the end. */
  modelUrl: string;
  say(said: unknown): void;
}

type Program = (settings: never, context: ProgramContext) => Promise<void>;

/** The whole verification: first the adapter, then a line a claim. */
async function verifyAll(
  { grid, groups }: { grid: GridName; groups: Group[] },
  { say }: ProgramContext,
): Promise<void> {
  const gpu = new Gpu(await requestGpu({ quiet: true }));
  say({ adapter: gpu.host.adapterInfo.name });
  for await (const claim of verify(gpu, { grid, groups })) say({ claim });
  gpu.destroy();
}

/** A model that the launcher serves: its file, if one was named, and what to call it. */
interface ServedSubject {
  served: string;
  label: string;
  isRandom: boolean;
}

const fromServer = ({ served, label, isRandom }: ServedSubject, modelUrl: string): Subject => ({
  source: modelUrl + served,
  label,
  isRandom,
});

/** One benchmark: a line whenever a part begins, then the report. */
async function bench(
  { subject, options }: { subject: Subject | ServedSubject; options: RunOptions },
  { say, modelUrl }: ProgramContext,
): Promise<void> {
  const here = "served" in subject ? fromServer(subject, modelUrl) : subject;
  const onProgress = (progress: unknown) => say({ progress });
  say({ report: await runBench(here, { ...options, quiet: true, onProgress }) });
}

const PROGRAMS: Record<string, Program> = { verify: verifyAll, bench };

/** Runs the program of that name. A failure is said, too. */
export async function runProgram(name: string, settings: string, modelUrl: string): Promise<void> {
  const print = (line: ProgramLine) => console.log(PROGRAM_MARK + JSON.stringify(line));
  const program = PROGRAMS[name] as Program;
  try {
    await program(JSON.parse(settings) as never, { modelUrl, say: (said) => print({ said }) });
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error);
    print({ failure, ...(error instanceof SuperlensError && { code: error.code }) });
  }
}
