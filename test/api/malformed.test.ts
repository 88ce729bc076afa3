/**
 * Whatever a public call is given, it answers or throws a `SuperlensError`: no `TypeError` of the engine room reaches a
 * user. Every argument and every option of every call gets every malformed value below; every options object gets a key
 * that does not exist.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SuperlensError } from "../../src/errors.ts";
import { fixtureFiles, sourceOf } from "../support/fixtures.ts";
import { ownGpu } from "../support/gpu.ts";
import { byDay, isNight } from "../support/nightly.ts";
import { type Call, callsOf } from "./calls.ts";
import * as api from "./public.ts";

const ALL_MALFORMED: readonly [string, unknown][] = [
  ["undefined", undefined],
  ["null", null],
  ["NaN", Number.NaN],
  ["-1", -1],
  ["1.5", 1.5],
  ["text", "x"],
  ["an empty list", []],
  ["an empty object", {}],
  ["true", true],
  ["a symbol", Symbol("s")],
  ["a function", () => 1],
  ["a list of nothing", [undefined]],
  ["a mixed list", [null, "x", 0]],
  ["a map", new Map([["a", 1]])],
  ["a bigint", 7n],
];

/** By day one of each kind: missing, wrong numbers, wrong types, lists of wrong things. */
const BY_DAY = [
  "undefined",
  "null",
  "NaN",
  "-1",
  "text",
  "an empty list",
  "an empty object",
  "a function",
  "a mixed list",
];
const MALFORMED = byDay(ALL_MALFORMED, ([label]) => BY_DAY.includes(label));

/** What has no call of its own here, and why. */
const NOT_CALLED: readonly string[] = [
  // Errors, made by the library.
  ...[
    "SuperlensError",
    "CheckpointError",
    "ConfigError",
    "InputError",
    "HookError",
    "GpuError",
    "TheoryError",
    "PictureError",
    "paper.PaperError",
  ],
  // Tested in a test of its own, since it loads.
  ...["loadModel", "openModelSource", "readSpec"],
  // Results, whose methods are called below.
  ...[
    "HookedModel",
    "Logits",
    "ActivationCache",
    "KvCache",
    "Tensor",
    "Grid",
    "PatchGrid",
    "AblationGrid",
    "CircuitGraph",
    "TraceGrid",
  ],
  ...["LogitLens", "ResidualStack", "Picture"],
  // They read what a source gave, and the classes of a loaded model.
  ...["headerLength", "parseHeader", "sameTensor"],
  // What hosts register, and files that are read by other calls.
  ...["registerGpuProvider", "registerTuningStore", "registerFolderSource", "registerFileStore", "registerHubDefaults"],
  ...[
    "requestGpu",
    "Gpu",
    "adapterLine",
    "openBrowserCache",
    "OpfsCache",
    "HubSource",
    "UrlSource",
    "FilesSource",
    "MemoryStore",
  ],
];

let gpu: api.Gpu;
let calls: Call[];
beforeAll(async () => {
  gpu = await ownGpu();
  calls = await callsOf(gpu);
});
afterAll(() => gpu.trim());

/** What came of a call; things on the GPU are freed. */
async function outcome(run: () => unknown): Promise<unknown> {
  try {
    let result = await run();
    if (typeof result === "object" && result !== null && Symbol.asyncIterator in result) {
      const iterator = (result as AsyncIterable<unknown>)[Symbol.asyncIterator]();
      result = await iterator.next();
      await iterator.return?.();
    }
    if (typeof result === "object" && result !== null && "destroy" in result) (result as api.Logits).destroy();
    return undefined;
  } catch (error) {
    return error;
  }
}

/** A failure that is not ours, as a line that says what was given. */
function wrong(error: unknown, what: string): string[] {
  if (error === undefined || error instanceof SuperlensError) return [];
  return [`${what}: ${error instanceof Error ? `${error.name} ${error.message}` : String(error)}`];
}

it("knows every function and class of the package", () => {
  const known = new Set([...calls.flatMap(({ covers, name }) => covers ?? [name]), ...NOT_CALLED]);
  const ofPaper = Object.entries(api.paper).map(([name, value]) => [`paper.${name}`, value] as const);
  const missing = [...Object.entries(api), ...ofPaper]
    .filter(([name, value]) => typeof value === "function" && !known.has(name))
    .map(([name]) => name);
  expect(missing).toEqual([]);
});

describe("a call", () => {
  it("works as it is called below", async () => {
    for (const { name, args, run } of calls) expect(await outcome(() => run(...args)), name).toBeUndefined();
  });

  it("with a malformed argument answers or refuses", async () => {
    const failures: string[] = [];
    for (const { name, args, run } of calls) {
      for (const index of args.keys()) {
        for (const [label, value] of MALFORMED) {
          const given = args.with(index, value);
          failures.push(...wrong(await outcome(() => run(...given)), `${name}, argument ${index} is ${label}`));
        }
      }
    }
    expect(failures).toEqual([]);
  });

  it("with a malformed option answers or refuses", async () => {
    const failures: string[] = [];
    for (const { name, args, run, options } of calls.filter((call) => call.options)) {
      const usual = args.at(-1) as object;
      const withOptions = async (changed: object, what: string) =>
        failures.push(
          ...wrong(await outcome(() => run(...args.with(-1, { ...usual, ...changed }))), `${name}, ${what}`),
        );
      const names = Object.keys(options?.fields ?? {});
      const left = names.filter((option) => !(option in usual));
      // Answered by the whole call: 7.7 of the 9.3 s of all options and values when each is left out on its own.
      await withOptions(Object.fromEntries(left.map((option) => [option, undefined])), "the others are undefined");
      for (const option of names) {
        for (const [label, value] of MALFORMED)
          if (isNight || value !== undefined || option in usual)
            await withOptions({ [option]: value }, `${option} is ${label}`);
      }
    }
    expect(failures).toEqual([]);
  });

  it("refuses an option that does not exist, and names the nearest", async () => {
    for (const { name, args, run, options } of calls.filter((call) => call.options)) {
      const [option = "option"] = Object.keys(options?.fields ?? {});
      const misspelt = `${option}s_`;
      const given = args.with(-1, { ...(args.at(-1) as object), [misspelt]: 1 });
      const error = (await outcome(() => run(...given))) as SuperlensError;
      expect(error?.code, name).toBe("input/unknown-key");
      expect(error.message, name).toContain(`"${misspelt}"`);
      expect(error.message, name).toContain(`"${option}"`);
    }
  });
});

it("loadModel refuses malformed sources and options before it opens anything", async () => {
  const failures: string[] = [];
  const source = sourceOf(await fixtureFiles("gpt2"));
  for (const [label, value] of MALFORMED) {
    failures.push(...wrong(await outcome(() => api.loadModel(value as never, { gpu })), `source is ${label}`));
    if (value === true) continue; // `tune: true` takes seconds, and the others that true fits are tested elsewhere
    for (const option of ["file", "onProgress", "onNotice", "signal", "checkFinite", "tune", "onTune"]) {
      const given = { gpu, [option]: value } as never;
      failures.push(...wrong(await outcome(() => api.loadModel(source, given)), `${option} is ${label}`));
    }
  }
  expect(failures).toEqual([]);
});
