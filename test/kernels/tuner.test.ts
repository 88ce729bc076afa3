/** The tuner: what it chooses is right and is used, what is wrong is not chosen, and the budget is kept. */
import { describe, expect, it, vi } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { ATTENTION_FAMILY, type AttentionKernel, PASSES, type PassKind } from "../../src/kernels/attention.ts";
import type { AttentionCall } from "../../src/kernels/attention-steps.ts";
import { MATMUL_FAMILY, ROW_CLASSES } from "../../src/kernels/matmul.ts";
import type { MatmulShape } from "../../src/kernels/matmul-kernels.ts";
import { AttentionOperands, typicalAttention } from "../../src/kernels/tuning/attention.ts";
import { type KernelClass, keyOf } from "../../src/kernels/tuning/classes.ts";
import { applyChoices, type TuneProgress, tune } from "../../src/kernels/tuning/tuner.ts";
import { TOLERANCE } from "../../src/kernels/tuning/workload.ts";
import { withGpu } from "../support/gpu.ts";
import { BROKEN, HASTY, matmulNamed } from "./altered.ts";

const ONE: MatmulShape = { rows: 1, layout: "linear", storage: "f32" };
const ONE_ROW: KernelClass = { family: "matmul", shape: ONE };
const KEY = MATMUL_FAMILY.keyOf(ONE);
const PASS_KINDS = Object.keys(PASSES) as PassKind[];
/** Time enough for every candidate of a class on any adapter. */
const AMPLE = 60_000;

/** Three of one row, among them the default of CPUs and that of GPUs. */
const FEW = [matmulNamed("lanes 8x8"), matmulNamed("shared 4x64"), matmulNamed("shared 4x16")];

/**
 * Stops the clock, which a dispatch of each matmul then moves by so many milliseconds, times the factor of the dispatch.
 * Until `vi.restoreAllMocks()`.
 */
function runTheClockBy(ms: Record<string, number>, factor: (dispatch: number) => number = () => 1): void {
  let now = 0;
  let dispatches = 0;
  vi.spyOn(performance, "now").mockImplementation(() => now);
  for (const candidate of MATMUL_FAMILY.candidates) {
    const { kernel } = candidate;
    vi.spyOn(candidate, "kernel").mockImplementation((...shape) => {
      now += (ms[candidate.name] ?? 0) * factor(dispatches++);
      return kernel(...shape);
    });
  }
}

const MANY_ROWS: KernelClass = { family: "matmul", shape: { ...ONE, rows: 128 } };
const defaultOfOne = (gpu: Gpu) => MATMUL_FAMILY.defaultFor(gpu.host, ONE);

describe("tune", () => {
  it("chooses a kernel that fits, and lets the device use it", async () => {
    await withGpu(async (gpu) => {
      const events: TuneProgress[] = [];
      const report = await tune(gpu, {
        classes: [ONE_ROW],
        budgetMs: AMPLE,
        matmuls: FEW,
        onProgress: (event) => events.push(event),
      });
      const { kernels, choice } = report.timings[0] as (typeof report.timings)[0];
      expect(kernels[0]?.kernel).toBe(defaultOfOne(gpu).name);
      expect(kernels).toHaveLength(FEW.length);
      for (const { ms, gflops } of kernels) expect(Math.min(ms, gflops)).toBeGreaterThan(0);
      expect(report.choices).toEqual({ [KEY]: choice });
      expect(report).toMatchObject({ rejected: [], skipped: [] });
      expect(MATMUL_FAMILY.choose({ gpu }, ONE).name).toBe(choice);
      expect(events.map(({ done, total }) => [done, total])).toEqual(FEW.map((_, done) => [done, FEW.length]));
    });
  });

  it("rejects a kernel that is fast and wrong", async () => {
    await withGpu(async (gpu) => {
      const report = await tune(gpu, { classes: [MANY_ROWS], budgetMs: AMPLE, matmuls: [HASTY] });
      const { kernels, choice } = report.timings[0] as (typeof report.timings)[0];
      const fastest = [...kernels].sort((a, b) => a.ms - b.ms)[0];
      expect(fastest?.kernel).toBe("hasty");
      expect(choice).not.toBe("hasty");
      expect(report.rejected).toEqual([
        {
          class: keyOf(MANY_ROWS),
          kernel: "hasty",
          reason: expect.stringMatching(/^differs from the reference by \d/),
        },
      ]);
    });
  });

  it("rejects a kernel that the driver does not take", async () => {
    await withGpu(async (gpu) => {
      const report = await tune(gpu, { classes: [ONE_ROW], budgetMs: AMPLE, matmuls: [BROKEN] });
      expect(report.choices[KEY]).toBe(defaultOfOne(gpu).name);
      expect(report.rejected).toMatchObject([
        { kernel: "broken", reason: expect.stringContaining("does not compile") },
      ]);
    });
  });

  it("may choose the reference, which is where everything else is wrong", async () => {
    await withGpu(async (gpu) => {
      applyChoices(gpu, { [KEY]: MATMUL_FAMILY.reference.name });
      expect(MATMUL_FAMILY.choose({ gpu }, ONE)).toBe(MATMUL_FAMILY.reference);
    });
  });

  it("compiles nothing twice", async () => {
    await withGpu(async (gpu) => {
      const compiles = vi.spyOn(gpu.device, "createComputePipelineAsync");
      const options = { classes: [ONE_ROW], budgetMs: AMPLE, matmuls: FEW };
      await tune(gpu, options);
      const first = compiles.mock.calls.length;
      await tune(gpu, options);
      const labels = compiles.mock.calls.map(([{ label }]) => label);
      compiles.mockRestore();
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
      expect(MATMUL_FAMILY.choose({ gpu }, ONE)).toBe(defaultOfOne(gpu));
    });
  });

  it.each([
    ["keeps the default against one that is 4% faster", 96, false],
    ["takes one that is 6% faster", 94, true],
  ])("%s", async (_name, ms, isTaken) => {
    await withGpu(async (gpu) => {
      const [usual, other] = [defaultOfOne(gpu), matmulNamed("shared 4x16")];
      runTheClockBy({ [usual.name]: 100, [other.name]: ms });
      try {
        const { choices } = await tune(gpu, { classes: [ONE_ROW], budgetMs: AMPLE, matmuls: [other] });
        expect(choices[KEY]).toBe(isTaken ? other.name : usual.name);
      } finally {
        vi.restoreAllMocks();
      }
    });
  });

  it("keeps the default where the machine was faster while another ran", async () => {
    await withGpu(async (gpu) => {
      const [usual, other] = [defaultOfOne(gpu), matmulNamed("shared 4x16")];
      // Each takes five dispatches; those of the second fall into the fast time.
      runTheClockBy({ [usual.name]: 100, [other.name]: 110 }, (dispatch) => (dispatch >= 5 && dispatch < 10 ? 0.5 : 1));
      try {
        const { choices, timings } = await tune(gpu, { classes: [ONE_ROW], budgetMs: AMPLE, matmuls: [other] });
        expect(timings[0]?.kernels).toMatchObject([{ ms: 100 }, { ms: 110 }]);
        expect(choices[KEY]).toBe(usual.name);
      } finally {
        vi.restoreAllMocks();
      }
    });
  });

  it("starts nothing that would end after the budget, and gives no benchmark more than a third of it", async () => {
    await withGpu(async (gpu) => {
      runTheClockBy(Object.fromEntries(MATMUL_FAMILY.candidates.map(({ name }) => [name, 20])));
      const classes = (["f32", "f16", "bf16"] as const).flatMap((storage) =>
        (["linear", "conv1d"] as const).map(
          (layout): KernelClass => ({ family: "matmul", shape: { ...ONE, layout, storage } }),
        ),
      );
      const started: { class: string; at: number }[] = [];
      try {
        const report = await tune(gpu, {
          classes,
          budgetMs: 1800,
          onProgress: (event) => started.push({ class: event.class, at: performance.now() }),
        });
        const first = started.filter((event) => event.class === keyOf(ONE_ROW));
        // The default takes ten dispatches, others half of that; none begins that may take as long as the longest and end late.
        expect(first.map(({ at }) => at)).toEqual([0, 200, 300]);
        expect(started.at(-1)?.at).toBeLessThanOrEqual(1800 - 200);
        const decided = report.timings.map((timing) => timing.class);
        expect([...decided, ...report.skipped]).toEqual(classes.map(keyOf));
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
});

describe.each(PASS_KINDS)("tune, attention of %s", (pass) => {
  const shape = typicalAttention(pass, 32);
  const wanted: KernelClass = { family: "attention", shape };
  const key = `attention of ${pass}, dHead 32`;

  it("chooses one that fits, and lets the device use it on heads of that width", async () => {
    await withGpu(async (gpu) => {
      const report = await tune(gpu, { classes: [wanted], budgetMs: AMPLE });
      const { kernels, choice, default: usual } = report.timings[0] as (typeof report.timings)[0];
      const candidates = ATTENTION_FAMILY.candidates.filter((each) => each.fits(gpu.host, shape));
      expect(usual).toBe(ATTENTION_FAMILY.defaultFor(gpu.host, shape).name);
      expect(kernels[0]?.kernel).toBe(usual);
      expect(kernels.map(({ kernel }) => kernel).sort()).toEqual(candidates.map(({ name }) => name).sort());
      for (const { ms, gflops } of kernels) expect(Math.min(ms, gflops)).toBeGreaterThan(0);
      expect(report).toMatchObject({ choices: { [key]: choice }, rejected: [], skipped: [] });
      expect(ATTENTION_FAMILY.choose({ gpu }, shape).name).toBe(choice);
    });
  });

  it("rejects one that is fast and wrong", async () => {
    await withGpu(async (gpu) => {
      const idle: AttentionKernel = { ...ATTENTION_FAMILY.reference, name: "idle", record: () => undefined };
      const report = await tune(gpu, { classes: [wanted], budgetMs: AMPLE, attentions: [idle] });
      expect(report.choices[key]).toBe(report.timings[0]?.default);
      const reason = expect.stringMatching(/^differs from the reference by \d/);
      expect(report.rejected).toEqual([{ class: key, kernel: "idle", reason }]);
    });
  });

  it("finds every mistake, and none in what is right", async () => {
    await withGpu(async (gpu) => {
      using operands = new AttentionOperands(gpu);
      const { reference } = ATTENTION_FAMILY;
      const wrong = (name: string, params: Partial<AttentionCall["params"]>): AttentionKernel => ({
        ...reference,
        name,
        record: (recorder, call, z) =>
          reference.record(recorder, { ...call, params: { ...call.params, ...params } }, z),
      });
      const confused = (
        name: string,
        change: (buffers: AttentionCall["buffers"]) => Partial<AttentionCall["buffers"]>,
      ): AttentionKernel => ({
        ...reference,
        name,
        record: (recorder, call, z) =>
          reference.record(recorder, { ...call, buffers: { ...call.buffers, ...change(call.buffers) } }, z),
      });
      const mistakes = [
        wrong("no window", { window: 0 }),
        wrong("all read the first sequence", { slotStride: 0 }),
        wrong("all heads are equal", { queryStride: 0, nHeads: 1 }),
        wrong("no scale", { scale: 1 }),
        confused("keys for values", ({ keys }) => ({ values: keys })),
        confused("values for keys", ({ keys, values }) => ({ keys: values, values: keys })),
        confused("queries for keys", ({ queries }) => ({ keys: queries })),
      ];
      const { error } = operands.workload(shape);
      for (const mistake of mistakes) expect(await error(mistake), mistake.name).toBeGreaterThan(TOLERANCE);
      for (const right of [ATTENTION_FAMILY.defaultFor(gpu.host, shape), reference]) {
        expect(await error(right), right.name).toBeLessThan(TOLERANCE);
      }
    });
  });

  it("takes a choice for heads of its width, where the device can run it", async () => {
    await withGpu(async (gpu) => {
      applyChoices(gpu, { [key]: ATTENTION_FAMILY.reference.name });
      expect(ATTENTION_FAMILY.choose({ gpu }, shape)).toBe(ATTENTION_FAMILY.reference);
      const other = typicalAttention(pass, 64);
      expect(ATTENTION_FAMILY.choose({ gpu }, other)).toBe(ATTENTION_FAMILY.defaultFor(gpu.host, other));
      // Made for subgroups of 4 or 8 that keep a head in registers, which one of 1024 is too wide for.
      const wide = typicalAttention(pass, 1024);
      applyChoices(gpu, { [ATTENTION_FAMILY.keyOf(wide)]: pass === "prompts" ? "broadcast rows" : "subgroup keys" });
      expect(ATTENTION_FAMILY.choose({ gpu }, wide)).toBe(ATTENTION_FAMILY.defaultFor(gpu.host, wide));
      applyChoices(gpu, { [key]: "no such attention" });
      expect(ATTENTION_FAMILY.choose({ gpu }, shape)).not.toBe(ATTENTION_FAMILY.reference);
    });
  });
});

describe("a choice", () => {
  it("gives a kernel that was chosen for a class only the rows that it can compute", async () => {
    await withGpu(async (gpu) => {
      const key = MATMUL_FAMILY.keyOf({ ...ONE, rows: 4 });
      applyChoices(gpu, { [key]: "block 4x8x8", [KEY]: "block 16x8x8" });
      expect(MATMUL_FAMILY.choose({ gpu }, { ...ONE, rows: 3 }).name).toBe("block 4x8x8");
      expect(MATMUL_FAMILY.choose({ gpu }, ONE)).toBe(defaultOfOne(gpu));
    });
  });

  it("ignores kernels of another version", async () => {
    await withGpu(async (gpu) => {
      applyChoices(gpu, { [KEY]: "lanes 99x99", "3 rows, sideways, f64": "lanes 8x8" });
      expect(MATMUL_FAMILY.choose({ gpu }, ONE)).toBe(defaultOfOne(gpu));
    });
  });
});
