/**
 * What runs inside every host: a list of checks, one after another, each result reported as a line that the runner
 * outside can read. A check knows its host only through the context.
 */
import { Gpu, type HostName, requestGpu } from "../../src/index.ts";
import { type CheckResult, NIGHT, ONLY, RESULT_MARK } from "./protocol.ts";

export interface CheckContext {
  host: HostName;
  /** Whether the cases of the night run, too (`test/support/nightly.ts`). */
  isNight: boolean;
  /** URL of `test/fixtures/`, with a slash at the end; served with HTTP ranges. */
  fixtureUrl: string;
  /** URL of `weights/`, with a slash at the end; served in the same way. */
  weightsUrl: string;
  /** The bytes of a file below `test/fixtures/`. */
  loadFixture(path: string): Promise<Uint8Array>;
  /** Shared by all checks of the run; they leave it alive. */
  gpu(): Promise<Gpu>;
}

export interface Check {
  name: string;
  /**
   * Where it is left to the night: in Node what its own tests ask by day; in Chromium, whose Dawn is Node's, what others of its kind
   * show there by day; in Deno what takes long and is no new WGSL.
   */
  atNightIn?: readonly HostName[];
  /** Throws when the check fails; a returned text is shown beside the result. */
  run(context: CheckContext): Promise<string | undefined>;
}

const newGpu = async () => new Gpu(await requestGpu({ quiet: true }));

/** The context of a host whose files are served at `origin`; `makeGpu` is called once. */
export function createContext(
  host: HostName,
  origin: string,
  isNight: boolean,
  makeGpu: () => Promise<Gpu> = newGpu,
): CheckContext {
  const fixtureUrl = `${origin}/fixtures/`;
  let gpu: Promise<Gpu> | undefined;
  return {
    host,
    isNight,
    fixtureUrl,
    weightsUrl: `${origin}/weights/`,
    gpu: () => {
      gpu ??= makeGpu();
      return gpu;
    },
    async loadFixture(path) {
      const response = await fetch(new URL(path, fixtureUrl));
      if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
      return new Uint8Array(await response.arrayBuffer());
    },
  };
}

/** The checks of a host: all at night; by day without those that it leaves to the night. */
export const checksOf = (checks: readonly Check[], host: HostName, isNight: boolean): readonly Check[] =>
  checks.filter(({ atNightIn }) => isNight || !atNightIn?.includes(host));

/** For checks of a list: left to the night in these hosts but for those named. */
export const byDayIn =
  (day: Partial<Record<HostName, readonly string[]>>) =>
  (name: string): Required<Pick<Check, "atNightIn">> => ({
    atNightIn: (Object.keys(day) as HostName[]).filter((host) => !day[host]?.includes(name)),
  });

export async function runCheck(check: Check, context: CheckContext): Promise<CheckResult> {
  const start = performance.now();
  const finish = (ok: boolean, note: string) => ({
    name: check.name,
    ok,
    milliseconds: Math.round(performance.now() - start),
    note,
  });
  try {
    return finish(true, (await check.run(context)) ?? "");
  } catch (error) {
    return finish(false, error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
}

/** The note of a check that compares numbers. */
export const showWorst = (worst: number) => `worst ${worst.toExponential(1)}`;

/** Runs the checks that `args` ask for and prints each result; for hosts that are another process. */
export async function runAndPrint(
  checks: readonly Check[],
  host: HostName,
  origin: string,
  args: readonly string[],
): Promise<void> {
  const context = createContext(host, origin, args.includes(NIGHT));
  const only = new RegExp(args.find((arg) => arg.startsWith(ONLY))?.slice(ONLY.length) ?? "");
  for (const check of checksOf(checks, host, context.isNight).filter(({ name }) => only.test(name)))
    console.log(RESULT_MARK + JSON.stringify(await runCheck(check, context)));
}

export function expectEqual<T>(actual: T, expected: T, what: string): void {
  if (actual !== expected) throw new Error(`${what}: expected ${expected}, got ${actual}`);
}
