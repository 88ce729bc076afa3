/** The tuner: what it chooses is right and is used, what is wrong is not chosen, and a race is run once. */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import {
  type Attention,
  type AttentionCall,
  attentionFor,
  attentionKey,
  defaultAttention,
  fittingAttentions,
  PASSES,
  type PassKind,
  REFERENCE_ATTENTION,
} from "../../src/kernels/attention.ts";
import { applyChoices } from "../../src/kernels/choices.ts";
import { defaultProduct, PRODUCTS, REFERENCE_PRODUCT } from "../../src/kernels/matmul.ts";
import { type ProductClass, productFor, productKey, ROW_CLASSES } from "../../src/kernels/matmul-choice.ts";
import { AttentionOperands, attentionContest } from "../../src/kernels/tuning/attention.ts";
import { TOLERANCE } from "../../src/kernels/tuning/contest.ts";
import { FolderTuningStore } from "../../src/kernels/tuning/store.node.ts";
import { entryText, parseEntry, registerTuningStore, tuningKey } from "../../src/kernels/tuning/store.ts";
import { tuneAndKeep } from "../../src/kernels/tuning/take.ts";
import { classesOf, type TuneProgress, tune } from "../../src/kernels/tuning/tuner.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { loadFixture } from "../support/fixtures.ts";
import { newGpu } from "../support/gpu.ts";
import { BROKEN, HASTY, productNamed } from "./altered.ts";

const ONE_ROW: ProductClass = { rows: ROW_CLASSES[0], layout: "linear", storage: "f32" };
const KEY = productKey(ONE_ROW);
const PASS_KINDS = Object.keys(PASSES) as PassKind[];
/** Time enough for every candidate of a class on any adapter. */
const AMPLE = 60_000;

/** Three of one row, among them the default of CPUs and that of GPUs. */
const FEW = [productNamed("lanes 8x8"), productNamed("lanes 4x8"), productNamed("shared 4x16")];

async function withGpu(use: (gpu: Gpu) => Promise<void>): Promise<void> {
  const gpu = await newGpu();
  try {
    await use(gpu);
  } finally {
    gpu.destroy();
  }
}

/**
 * Stops the clock, which a dispatch of each product then moves by so many milliseconds, times the factor of the dispatch.
 * Until `vi.restoreAllMocks()`.
 */
function runTheClockBy(ms: Record<string, number>, factor: (dispatch: number) => number = () => 1): void {
  let now = 0;
  let dispatches = 0;
  vi.spyOn(performance, "now").mockImplementation(() => now);
  for (const product of PRODUCTS) {
    const { kernel } = product;
    vi.spyOn(product, "kernel").mockImplementation((...shape) => {
      now += (ms[product.name] ?? 0) * factor(dispatches++);
      return kernel(...shape);
    });
  }
}

const MANY_ROWS: ProductClass = { rows: ROW_CLASSES[4], layout: "linear", storage: "f32" };

describe("tune", () => {
  it("chooses a product that fits, and lets the device use it", async () => {
    await withGpu(async (gpu) => {
      const events: TuneProgress[] = [];
      const report = await tune(gpu, {
        classes: [ONE_ROW],
        budgetMs: AMPLE,
        products: FEW,
        onProgress: (event) => events.push(event),
      });
      const { kernels, choice } = report.timings[0] as (typeof report.timings)[0];
      expect(kernels[0]?.kernel).toBe(defaultProduct(gpu, 1, "linear").name);
      expect(kernels).toHaveLength(FEW.length);
      for (const { ms, gflops } of kernels) expect(Math.min(ms, gflops)).toBeGreaterThan(0);
      expect(report.choices).toEqual({ [KEY]: choice });
      expect(report).toMatchObject({ rejected: [], skipped: [] });
      expect(productFor(gpu, 1, "linear", "f32").name).toBe(choice);
      expect(events.map(({ done, total }) => [done, total])).toEqual(FEW.map((_, done) => [done, FEW.length]));
    });
  });

  it("rejects a product that is fast and wrong", async () => {
    await withGpu(async (gpu) => {
      const report = await tune(gpu, { classes: [MANY_ROWS], budgetMs: AMPLE, products: [HASTY] });
      const { kernels, choice } = report.timings[0] as (typeof report.timings)[0];
      const fastest = [...kernels].sort((a, b) => a.ms - b.ms)[0];
      expect(fastest?.kernel).toBe("hasty");
      expect(choice).not.toBe("hasty");
      expect(report.rejected).toEqual([
        {
          class: productKey(MANY_ROWS),
          kernel: "hasty",
          reason: expect.stringMatching(/^differs from the reference by \d/),
        },
      ]);
    });
  });

  it("rejects a product that the driver does not take", async () => {
    await withGpu(async (gpu) => {
      const report = await tune(gpu, { classes: [ONE_ROW], budgetMs: AMPLE, products: [BROKEN] });
      expect(report.choices[KEY]).toBe(defaultProduct(gpu, 1, "linear").name);
      expect(report.rejected).toMatchObject([
        { kernel: "broken", reason: expect.stringContaining("does not compile") },
      ]);
    });
  });

  it("may choose the reference, which is where everything else is wrong", async () => {
    await withGpu(async (gpu) => {
      applyChoices(gpu, { [KEY]: REFERENCE_PRODUCT.name });
      expect(productFor(gpu, 1, "linear", "f32")).toBe(REFERENCE_PRODUCT);
    });
  });

  it("compiles nothing twice", async () => {
    await withGpu(async (gpu) => {
      const compiles = vi.spyOn(gpu.device, "createComputePipelineAsync");
      const options = { classes: [ONE_ROW], budgetMs: AMPLE, products: FEW };
      await tune(gpu, options);
      const first = compiles.mock.calls.length;
      await tune(gpu, options);
      const labels = compiles.mock.calls.map(([{ label }]) => label);
      expect(new Set(labels).size).toBe(labels.length);
      // Another winner is checked at a width that its kernel is compiled for on its own.
      expect(labels.length - first).toBeLessThanOrEqual(1);
    });
  });

  it("leaves the defaults when there is no time", async () => {
    await withGpu(async (gpu) => {
      const report = await tune(gpu, { budgetMs: 0 });
      expect(report).toMatchObject({ choices: {}, timings: [], rejected: [] });
      expect(report.skipped).toHaveLength(2 * ROW_CLASSES.length + PASS_KINDS.length);
      expect(productFor(gpu, 1, "linear", "f32")).toBe(defaultProduct(gpu, 1, "linear"));
    });
  });

  it.each([
    ["keeps the default against one that is 4% faster", 96, false],
    ["takes one that is 6% faster", 94, true],
  ])("%s", async (_name, ms, isTaken) => {
    await withGpu(async (gpu) => {
      const [home, other] = [defaultProduct(gpu, 1, "linear"), productNamed("lanes 1x32")];
      runTheClockBy({ [home.name]: 100, [other.name]: ms });
      try {
        const { choices } = await tune(gpu, { classes: [ONE_ROW], budgetMs: AMPLE, products: [other] });
        expect(choices[KEY]).toBe(isTaken ? other.name : home.name);
      } finally {
        vi.restoreAllMocks();
      }
    });
  });

  it("keeps the default where the machine was faster while another ran", async () => {
    await withGpu(async (gpu) => {
      const [home, other] = [defaultProduct(gpu, 1, "linear"), productNamed("lanes 1x32")];
      // Each takes five dispatches; those of the second fall into the fast time.
      runTheClockBy({ [home.name]: 100, [other.name]: 110 }, (dispatch) => (dispatch >= 5 && dispatch < 10 ? 0.5 : 1));
      try {
        const { choices, timings } = await tune(gpu, { classes: [ONE_ROW], budgetMs: AMPLE, products: [other] });
        expect(timings[0]?.kernels).toMatchObject([{ ms: 100 }, { ms: 110 }]);
        expect(choices[KEY]).toBe(home.name);
      } finally {
        vi.restoreAllMocks();
      }
    });
  });

  it("starts nothing that would end after the budget, and gives no race more than a third of it", async () => {
    await withGpu(async (gpu) => {
      runTheClockBy(Object.fromEntries(PRODUCTS.map(({ name }) => [name, 20])));
      const classes = (["f32", "f16", "bf16"] as const).flatMap((storage) => [
        { ...ONE_ROW, storage },
        { ...MANY_ROWS, storage },
      ]);
      const started: { class: string; at: number }[] = [];
      try {
        const report = await tune(gpu, {
          classes,
          budgetMs: 2400,
          onProgress: (event) => started.push({ class: event.class, at: performance.now() }),
        });
        const first = started.filter((event) => event.class === KEY);
        // The default takes ten dispatches, others half of that; none begins that may take as long as the longest and end late.
        expect(first.map(({ at }) => at)).toEqual([0, 200, 300, 400, 500]);
        expect(started.at(-1)?.at).toBeLessThanOrEqual(2400 - 200);
        const decided = report.timings.map((timing) => timing.class);
        expect([...decided, ...report.skipped]).toEqual(classes.map(productKey));
        expect(Math.min(decided.length, report.skipped.length)).toBeGreaterThan(0);
      } finally {
        vi.restoreAllMocks();
      }
    });
  });

  it("ends with the signal's reason, and frees what it had", async () => {
    await withGpu(async (gpu) => {
      const before = gpu.memory.buffers;
      await expect(tune(gpu, { signal: AbortSignal.abort("enough") })).rejects.toBe("enough");
      expect(gpu.memory.buffers).toBe(before);
    });
  });

  it("knows a model's classes", async () => {
    using gpt2 = await loadFixture("gpt2");
    const classes = classesOf(gpt2.engine.weights, gpt2.spec);
    const products = classes.flatMap((each) => ("rows" in each ? [each] : []));
    const passes = classes.flatMap((each) => ("pass" in each ? [each] : []));
    expect(classes.slice(0, 2)).toMatchObject([{ rows: ROW_CLASSES[0] }, { rows: ROW_CLASSES[0] }]);
    expect(new Set(products.map(({ layout }) => layout))).toEqual(new Set(["linear", "conv1d"]));
    expect(products).toHaveLength(2 * ROW_CLASSES.length);
    expect(new Set(passes.map(({ pass }) => pass))).toEqual(new Set(PASS_KINDS));
    expect(passes.map(({ dHead }) => dHead)).toEqual(PASS_KINDS.map(() => gpt2.spec.dHead));
  });
});

/** A pass as the engine describes it to `attentionFor`. */
const paramsOf = (kind: PassKind, dHead: number) => {
  const { rows, keys } = PASSES[kind];
  return { rowCount: rows, keyCount: keys, nHeads: 2, nKvHeads: 1, dHead } as AttentionCall["params"];
};

describe.each(PASS_KINDS)("tune, attention of %s", (pass) => {
  const wanted = { pass, dHead: 32 };
  const key = attentionKey(wanted);

  it("chooses one that fits, and lets the device use it on heads of that width", async () => {
    await withGpu(async (gpu) => {
      const report = await tune(gpu, { classes: [wanted], budgetMs: AMPLE });
      const { kernels, choice, default: home } = report.timings[0] as (typeof report.timings)[0];
      const candidates = fittingAttentions(gpu, pass, { rowCount: PASSES[pass].rows, nHeads: 24, dHead: 32 });
      expect(home).toBe(defaultAttention(gpu, pass, { rowCount: 1, nHeads: 1, dHead: 32 }).name);
      expect(kernels[0]?.kernel).toBe(home);
      expect(kernels.map(({ kernel }) => kernel).sort()).toEqual(candidates.map(({ name }) => name).sort());
      for (const { ms, gflops } of kernels) expect(Math.min(ms, gflops)).toBeGreaterThan(0);
      expect(report).toMatchObject({ choices: { [key]: choice }, rejected: [], skipped: [] });
      expect(attentionFor(gpu, paramsOf(pass, 32), 1).name).toBe(choice);
    });
  });

  it("rejects one that is fast and wrong", async () => {
    await withGpu(async (gpu) => {
      const idle: Attention = { ...REFERENCE_ATTENTION, name: "idle", record: () => undefined };
      const report = await tune(gpu, { classes: [wanted], budgetMs: AMPLE, attentions: [idle] });
      expect(report.choices[key]).toBe(report.timings[0]?.default);
      const reason = expect.stringMatching(/^differs from the reference by \d/);
      expect(report.rejected).toEqual([{ class: key, kernel: "idle", reason }]);
    });
  });

  it("finds every mistake, and none in what is right", async () => {
    await withGpu(async (gpu) => {
      using operands = new AttentionOperands(gpu);
      const wrong = (name: string, params: Partial<AttentionCall["params"]>): Attention => ({
        ...REFERENCE_ATTENTION,
        name,
        record: (recorder, call, z) =>
          REFERENCE_ATTENTION.record(recorder, { ...call, params: { ...call.params, ...params } }, z),
      });
      const confused = (
        name: string,
        change: (buffers: AttentionCall["buffers"]) => AttentionCall["buffers"],
      ): Attention => ({
        ...REFERENCE_ATTENTION,
        name,
        record: (recorder, call, z) =>
          REFERENCE_ATTENTION.record(recorder, { ...call, buffers: change(call.buffers) }, z),
      });
      const mistakes = [
        wrong("no window", { window: 0 }),
        wrong("all read the first sequence", { slotStride: 0 }),
        wrong("all heads are equal", { queryStride: 0, nHeads: 1 }),
        wrong("no scale", { scale: 1 }),
        confused("keys for values", ([rows, slots, slopes, q, k]) => [rows, slots, slopes, q, k, k]),
        confused("values for keys", ([rows, slots, slopes, q, k, v]) => [rows, slots, slopes, q, v, k]),
        confused("queries for keys", ([rows, slots, slopes, q, , v]) => [rows, slots, slopes, q, q, v]),
      ];
      const { candidates } = attentionContest(operands, wanted, [REFERENCE_ATTENTION, ...mistakes]);
      for (const { name, error } of candidates) {
        const isWrong = mistakes.some((mistake) => mistake.name === name);
        if (isWrong) expect(await error(), name).toBeGreaterThan(TOLERANCE);
        else expect(await error(), name).toBeLessThan(TOLERANCE);
      }
      expect(candidates).toHaveLength(2 + mistakes.length);
    });
  });

  it("takes a choice for heads of its width, where the device can run it", async () => {
    await withGpu(async (gpu) => {
      applyChoices(gpu, { [key]: REFERENCE_ATTENTION.name });
      expect(attentionFor(gpu, paramsOf(pass, 32), 1)).toBe(REFERENCE_ATTENTION);
      const other = paramsOf(pass, 64);
      expect(attentionFor(gpu, other, 1)).toBe(defaultAttention(gpu, pass, other));
      // Made for subgroups of 4 or 8 that keep a head in registers, which one of 1024 is too wide for.
      const wide = paramsOf(pass, 1024);
      applyChoices(gpu, { [attentionKey({ pass, dHead: 1024 })]: "subgroup keys" });
      expect(attentionFor(gpu, wide, 1)).toBe(defaultAttention(gpu, pass, wide));
      applyChoices(gpu, { [key]: "no such attention" });
      expect(attentionFor(gpu, paramsOf(pass, 32), 1)).not.toBe(REFERENCE_ATTENTION);
    });
  });
});

describe("the tuning store", () => {
  const choices = { [KEY]: "lanes 4x8" };

  it("names adapter, host and the version of the kernels", async () => {
    await withGpu(async (gpu) => {
      const key = tuningKey(gpu);
      for (const part of [gpu.host.adapterInfo.name, "node", "kernels "]) expect(key).toContain(part);
    });
  });

  it("keeps choices under their key", async () => {
    await inTempFolder(async (folder) => {
      const store = new FolderTuningStore(join(folder, "tuning"));
      expect(await store.read("a")).toBeUndefined();
      await store.write("a", { x: "y" });
      await store.write("a", choices);
      expect(await store.read("a")).toEqual(choices);
      expect(await store.read("b")).toBeUndefined();
      expect(await readdir(join(folder, "tuning"))).toHaveLength(1);
    });
  });

  it("ignores an entry that is damaged or another key's", async () => {
    await inTempFolder(async (folder) => {
      const store = new FolderTuningStore(folder);
      await store.write("a", choices);
      const [name] = (await readdir(folder)) as [string];
      for (const text of [
        "",
        "{",
        "null",
        '"a"',
        '{"key":"a"}',
        entryText("b", choices),
        entryText("a", { x: 1 as never }),
      ]) {
        await writeFile(join(folder, name), text);
        expect(await store.read("a")).toBeUndefined();
      }
      expect(parseEntry(entryText("a", choices), "a")).toEqual(choices);
    });
  });

  it("gives a product that was chosen for a class only the rows that it can compute", async () => {
    await withGpu(async (gpu) => {
      const key = productKey({ ...ONE_ROW, rows: ROW_CLASSES[1] });
      applyChoices(gpu, { [key]: "block 4x8x8", [KEY]: "block 16x8x8" });
      expect(productFor(gpu, 3, "linear", "f32").name).toBe("block 4x8x8");
      expect(productFor(gpu, 1, "linear", "f32")).toBe(defaultProduct(gpu, 1, "linear"));
    });
  });

  it("ignores products of another version", async () => {
    await withGpu(async (gpu) => {
      applyChoices(gpu, { [KEY]: "lanes 99x99", "3 rows, sideways, f64": "lanes 4x8" });
      expect(productFor(gpu, 1, "linear", "f32")).toBe(defaultProduct(gpu, 1, "linear"));
    });
  });
});

describe("loading", () => {
  /** Loads the fixture with `tune`, tells what was timed. */
  async function timedOnLoad(gpu: Gpu, tune: boolean | undefined): Promise<string[]> {
    const timed: string[] = [];
    using _ = await loadFixture("llama", {
      gpu,
      ...(tune !== undefined && { tune }),
      onTune: (event) => timed.push(event.class),
    });
    return timed;
  }

  it("tunes what is not known, keeps it, and takes it over on the next device", async () => {
    await inTempFolder(async (folder) => {
      registerTuningStore(new FolderTuningStore(folder));
      try {
        await withGpu(async (gpu) => {
          expect(await timedOnLoad(gpu, undefined)).toEqual([]);
          expect(await readdir(folder)).toEqual([]);
          expect(await timedOnLoad(gpu, true)).not.toEqual([]);
        });
        await withGpu(async (gpu) => {
          const store = new FolderTuningStore(folder);
          const kept = (await store.read(tuningKey(gpu))) as Record<string, string>;
          // Marks the entry with what no race would choose, to see it taken.
          await store.write(tuningKey(gpu), { ...kept, [KEY]: "lanes 1x32" });
          await timedOnLoad(gpu, false);
          expect(productFor(gpu, 1, "linear", "f32")).toBe(defaultProduct(gpu, 1, "linear"));
          expect(await timedOnLoad(gpu, undefined)).toEqual([]);
          expect(productFor(gpu, 1, "linear", "f32").name).toBe("lanes 1x32");
          expect(await timedOnLoad(gpu, true)).not.toContain(KEY);
        });
      } finally {
        registerTuningStore(undefined);
      }
    });
  });

  it("keeps what was decided when the rest is aborted, and says what could not be kept", async () => {
    const kept = new Map<string, Record<string, string>>();
    const store = {
      read: async (key: string) => kept.get(key),
      write: async (key: string, choices: Record<string, string>) => void kept.set(key, choices),
    };
    const full = { ...store, write: () => Promise.reject(new Error("disk full")) };
    const second: ProductClass = { ...ONE_ROW, storage: "f16" };
    await withGpu(async (gpu) => {
      const tuneUntilSecond = async (told: string[] = []) => {
        const abort = new AbortController();
        const onProgress = (event: TuneProgress) => {
          if (event.class === productKey(second)) abort.abort(new Error("enough"));
        };
        const options = {
          classes: [ONE_ROW, second],
          budgetMs: AMPLE,
          products: FEW,
          onProgress,
          signal: abort.signal,
        };
        await expect(tuneAndKeep(gpu, options, ({ message }) => told.push(message))).rejects.toThrow("enough");
        return told;
      };
      try {
        registerTuningStore(store);
        expect(await tuneUntilSecond()).toEqual([]);
        expect([...kept.keys()]).toEqual([tuningKey(gpu)]);
        expect(Object.keys(kept.get(tuningKey(gpu)) ?? {})).toEqual([KEY]);
        registerTuningStore(full);
        expect(await tuneUntilSecond()).toEqual(["disk full"]);
      } finally {
        registerTuningStore(undefined);
      }
    });
  });

  it("frees the weights of a load that is ended while it tunes", async () => {
    await withGpu(async (gpu) => {
      await timedOnLoad(gpu, false);
      const before = gpu.memory.buffers;
      const stop = new AbortController();
      const load = loadFixture("llama", { gpu, tune: true, signal: stop.signal, onTune: () => stop.abort("enough") });
      await expect(load).rejects.toBe("enough");
      gpu.trim();
      expect(gpu.memory.buffers).toBeLessThanOrEqual(before + 1); // the parameters of kernels
    });
  });
});
