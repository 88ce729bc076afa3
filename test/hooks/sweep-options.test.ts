/** Sweeps beside the edits: metrics, the position measured, progress, abort, memory, and how much is computed. */
import { describe, expect, it } from "vitest";
import { type Edit, type HookedModel, type Metric, metric, type SweepOptions } from "../../src/hooks/index.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { failureOf, logitsOf, randomEdit, randomIds, withForward, withHooked } from "./support.ts";

const VOCAB = 96;
const ids = randomIds(seeded(11), 9);

function logSoftmax(logits: ArrayLike<number>): number[] {
  const all = Array.from(logits);
  const largest = Math.max(...all);
  const total = largest + Math.log(all.reduce((sum, value) => sum + Math.exp(value - largest), 0));
  return all.map((value) => value - total);
}

/** What each metric is, from logits and those of the unedited run. */
function metricReference({ kind, tokens, reference }: Metric, logits: Float32Array, base: Float32Array): number[] {
  const [a, b] = tokens as [number, number];
  const logProbs = logSoftmax(logits);
  const at = (token: number) => logits[token] as number;
  const results: Partial<Record<Metric["kind"], () => number[]>> = {
    logits: () => Array.from(tokens, at),
    logitDiff: () => [at(a) - at(b)],
    logProb: () => [logProbs[a] as number],
    prob: () => [Math.exp(logProbs[a] as number)],
    rank: () => [logits.filter((value) => value > at(a)).length],
    kl: () => {
      const p = logSoftmax(reference ?? base);
      return [p.reduce((sum, value, token) => sum + Math.exp(value) * (value - (logProbs[token] as number)), 0)];
    },
  };
  return (results[kind] as () => number[])();
}

const REFERENCE = gaussians(seeded(2), VOCAB);
const METRICS: Metric[] = [
  metric.logit(0),
  metric.logits([95, 3, 64, 3]),
  metric.logitDiff(70, 12),
  metric.prob(33),
  metric.logProb(94),
  metric.rank(17),
  metric.rank(88),
  metric.kl(),
  metric.kl(REFERENCE),
];

/** One cell a random edit, and one that changes nothing. */
function someCells(model: HookedModel, count: number): Edit[][] {
  const random = seeded(count);
  return [[], ...Array.from({ length: count }, () => [randomEdit(random, model.spec, ids.length)])];
}

async function rowAt(model: HookedModel, position: number, edits: readonly Edit[]): Promise<Float32Array> {
  return withForward(model, ids, { edits }, ({ logits }) => logits.at(0, position));
}

describe("metrics", () => {
  it.each([8, 3])("are what they are of the full logits, alone and together, at position %i", async (position) => {
    await withHooked("gemma", async (model) => {
      const cells = someCells(model, 12);
      const base = await rowAt(model, position, []);
      const rows = await Promise.all(cells.map((edits) => rowAt(model, position, edits)));
      const together = await model.sweep({ input: ids, cells, metric: METRICS, position });
      const widths = METRICS.map(({ kind, tokens }) => (kind === "logits" ? tokens.length : 1));
      expect(together.columns).toBe(widths.reduce((sum, width) => sum + width));
      let start = 0;
      for (const [index, each] of METRICS.entries()) {
        const width = widths[index] as number;
        const alone = await model.sweep({ input: ids, cells, metric: each, position: position - ids.length });
        const expected = rows.flatMap((row) => metricReference(each, row, base));
        const column = cells.flatMap((_, cell) => [
          ...together.values.subarray(cell * together.columns + start, cell * together.columns + start + width),
        ]);
        // kl and prob are small beside the logits they come from.
        const scale =
          each.kind === "kl" ? Math.max(1, ...expected.map(Math.abs)) / Math.max(1e-9, ...expected.map(Math.abs)) : 1;
        expect(relativeError(alone.values, expected), each.kind).toBeLessThan(1e-4 * scale);
        expect([...alone.values]).toEqual(column);
        expect([...alone.base]).toEqual([...together.base.subarray(start, start + width)]);
        expect(relativeError(alone.base, metricReference(each, base, base)), each.kind).toBeLessThan(
          each.kind === "kl" && !each.reference ? Number.POSITIVE_INFINITY : 1e-4,
        );
        start += width;
      }
      const kl = METRICS.findIndex(({ kind, reference }) => kind === "kl" && !reference);
      expect(Math.abs(together.base[kl + 3] as number)).toBeLessThan(1e-6);
    });
  });

  it("kl counts tokens that the reference rules out as nothing", async () => {
    await withHooked("gemma", async (model) => {
      const reference = REFERENCE.map((value, token) => (token % 5 === 0 ? Number.NEGATIVE_INFINITY : value));
      const { base } = await model.sweep({ input: ids, cells: [], metric: metric.kl(reference) });
      const [p, q] = [logSoftmax(reference), logSoftmax(await rowAt(model, 8, []))];
      const expected = p.reduce(
        (sum, value, token) =>
          sum + (value === Number.NEGATIVE_INFINITY ? 0 : Math.exp(value) * (value - (q[token] as number))),
        0,
      );
      expect(relativeError(base, [expected])).toBeLessThan(1e-5);
    });
  });
});

describe("cells", () => {
  it("whose edits the metric cannot see are the base run's value exactly", async () => {
    await withHooked("llama", async (model) => {
      const cells: Edit[][] = [
        [],
        [{ at: "blocks.0.hook_resid_pre", op: "zero", positions: [6, -1] }],
        [{ at: "blocks.2.hook_resid_post", op: "zero", positions: [4] }],
        [{ at: "blocks.2.attn.hook_z", op: "zero", positions: [0, 4] }],
        [{ at: "blocks.2.attn.hook_rot_q", op: "zero", positions: [1] }],
        [{ at: "ln_final.hook_normalized", op: "zero", positions: [4] }],
        [{ at: "logits", op: "zero", positions: [4, 6] }],
      ];
      const { values, base, work, columns } = await model.sweep({
        input: ids,
        cells,
        metric: metric.logits([1, 2, 3]),
        position: 5,
      });
      for (let cell = 0; cell < cells.length; cell++)
        expect([...values.subarray(cell * columns, (cell + 1) * columns)]).toEqual([...base]);
      expect(work).toMatchObject({ passes: 0, rowLayers: 0 });
      const row = await rowAt(model, 5, []);
      expect(relativeError(base, [row[1] as number, row[2] as number, row[3] as number])).toBeLessThan(1e-5);
    });
  });

  it("may take their values from caches, each from its own", async () => {
    await withHooked("mistral", async (model) => {
      const others = [randomIds(seeded(21), 9), randomIds(seeded(22), 9)];
      using source = await model.forward(others, { capture: ["*hook_resid_pre", "*hook_z"] });
      const { cache } = source;
      const cells = [0, 1].flatMap((row) =>
        [0, 1, 2].flatMap((layer): Edit[][] => [
          [
            {
              at: `blocks.${layer}.hook_resid_pre`,
              op: "set",
              positions: [3],
              value: cache.at(`blocks.${layer}.hook_resid_pre`, { batch: row }),
            },
          ],
          [
            {
              at: `blocks.${layer}.attn.hook_z`,
              op: "lerp",
              alpha: 0.2 + row,
              heads: [layer],
              positions: [8],
              value: cache.at(`blocks.${layer}.attn.hook_z`, { batch: row, position: 1 }),
            },
          ],
        ]),
      );
      const { values } = await model.sweep({ input: ids, cells, metric: metric.logits([4, 44]) });
      const rows = await Promise.all(cells.map((edits) => rowAt(model, 8, edits)));
      expect(
        relativeError(
          values,
          rows.flatMap((row) => [row[4] as number, row[44] as number]),
        ),
      ).toBeLessThan(1e-4);
      expect(new Set(values).size).toBe(values.length);
    });
  });

  it("with several edits at one point make them in order, whatever the other cells do there", async () => {
    await withHooked("gpt2", async (model) => {
      const at = "blocks.1.hook_mlp_out";
      const v = gaussians(seeded(3), 32);
      const steps: Omit<Edit, "at">[] = [
        { op: "scale", value: 3 },
        { op: "add", value: v, alpha: 0.5 },
        { op: "set", value: 0.3, dims: [1, 30] },
        { op: "wgsl", expression: "x * x" },
      ];
      const orders = [[0, 1], [1, 0], [2, 1], [3, 2], [2, 3, 1], [1, 2, 3, 0], [3], [0, 3, 3]];
      const cells = orders.map((order) =>
        order.map((step): Edit => ({ at, positions: [4], ...(steps[step] as Omit<Edit, "at">) })),
      );
      const { values, work } = await model.sweep({ input: ids, cells, metric: metric.logit(7) });
      const rows = await Promise.all(cells.map((edits) => rowAt(model, 8, edits)));
      expect(
        relativeError(
          values,
          rows.map((row) => row[7] as number),
        ),
      ).toBeLessThan(1e-4);
      expect(new Set(values).size).toBe(cells.length);
      expect(work.passes).toBe(1);
    });
  });

  it("may be none", async () => {
    await withHooked("gpt2", async (model) => {
      const { values, base, work } = await model.sweep({ input: ids, cells: [], metric: metric.logit(2) });
      expect([values.length, base.length, work.passes]).toEqual([0, 1, 0]);
    });
  });
});

describe("how a sweep runs", () => {
  it("in as many passes as memory allows, with one result, and reports them", async () => {
    await withHooked("starcoder2", async (model) => {
      const cells = someCells(model, 30);
      const run = (options: Partial<SweepOptions>) =>
        model.sweep({ input: ids, cells, metric: metric.logits([0, 30, 60]), ...options });
      const whole = await run({});
      const progress: string[] = [];
      const tiny = await run({ memoryBudget: 1, onProgress: ({ done, total }) => progress.push(`${done}/${total}`) });
      expect(whole.work.passes).toBe(1);
      expect(tiny.work.passes).toBeGreaterThan(5);
      expect(relativeError(tiny.values, whole.values)).toBeLessThan(1e-5);
      expect(tiny.work.rowLayers).toBe(whole.work.rowLayers);
      expect(progress.length).toBe(tiny.work.passes);
      expect(progress.at(-1)).toBe("31/31");
      const counts = progress.map((each) => Number.parseInt(each, 10));
      expect(counts).toEqual([...counts].sort((a, b) => a - b));
    });
  });

  it("until it is aborted, from outside or by its own progress, and leaves nothing behind", async () => {
    await withHooked("starcoder2", async (model) => {
      const cells = someCells(model, 30);
      const plain = await logitsOf(model, ids);
      const early = AbortSignal.abort(new RangeError("before"));
      const sweep = (options: Partial<SweepOptions>) =>
        model.sweep({ input: ids, cells, metric: metric.logit(0), memoryBudget: 1, ...options });
      await sweep({});
      const before = { ...model.gpu.memory };
      await expect(sweep({ signal: early })).rejects.toThrow("before");
      await expect(sweep({ signal: early, cells: [] })).rejects.toThrow("before");
      const controller = new AbortController();
      let passes = 0;
      const onProgress = () => {
        passes += 1;
        if (passes === 3) controller.abort(new RangeError("enough"));
      };
      await expect(sweep({ signal: controller.signal, onProgress })).rejects.toThrow("enough");
      expect(passes).toBe(3);
      const broken = () => {
        throw new RangeError("mine");
      };
      await expect(sweep({ onProgress: broken })).rejects.toThrow("mine");
      expect(model.gpu.memory).toEqual(before);
      expect(await logitsOf(model, ids)).toEqual(plain);
    });
  });

  it("also where the model's RoPE depends on the length of the sequence", async () => {
    await withHooked("llama", async (model) => {
      const [rope] = model.spec.ropes;
      if (!rope) throw new Error("llama has a rope");
      rope.scaling = { kind: "dynamic", factor: 4, originalMaxPositions: 4 };
      const cells: Edit[][] = [[{ at: "blocks.1.hook_resid_pre", op: "scale", value: 1.4, positions: [2] }]];
      const { values, base } = await model.sweep({ input: ids, cells, metric: metric.logit(9), position: 5 });
      expect(relativeError(values, [(await rowAt(model, 5, cells[0] as Edit[]))[9] as number])).toBeLessThan(1e-4);
      expect(relativeError(base, [(await rowAt(model, 5, []))[9] as number])).toBeLessThan(1e-4);
    });
  });
});

describe("what is computed", () => {
  const at = (name: string, positions?: number[]): Edit[] => [
    { at: name, op: "scale", value: 1.1, ...(positions && { positions }) },
  ];

  /** Rows times layers of one cell, three layers, nine positions, measured at the last. */
  it.each<[string, Edit[], number]>([
    ["resid_pre 0 at 2: seven rows, three layers", at("blocks.0.hook_resid_pre", [2]), 7 * 3],
    ["resid_pre 1 at 2: two layers", at("blocks.1.hook_resid_pre", [2]), 7 * 2],
    [
      "resid_post 0 at 2: its row from layer 0, the others from layer 1",
      at("blocks.0.hook_resid_post", [2]),
      1 * 3 + 6 * 2,
    ],
    ["resid_mid 1 at 2", at("blocks.1.hook_resid_mid", [2]), 1 * 2 + 6 * 1],
    ["a key at 2: later rows from the same layer", at("blocks.1.attn.hook_k", [2]), 7 * 2],
    ["a query at 2: later rows from the next", at("blocks.1.attn.hook_rot_q", [2]), 1 * 2 + 6 * 1],
    ["z at the last position, first layer", at("blocks.0.attn.hook_z", [-1]), 3],
    ["z at the last position, last layer", at("blocks.2.attn.hook_z", [8]), 1],
    ["a key at 2 in the last layer", at("blocks.2.attn.hook_k", [2]), 7],
    ["mlp_out at 2 in the last layer, which nobody reads", at("blocks.2.hook_mlp_out", [2]), 0],
    ["the final norm", at("ln_final.hook_scale", [8]), 1],
    ["the logits", at("logits"), 1],
    ["the embedding at 7", at("hook_embed", [7]), 2 * 3],
    [
      "two edits: rows between them start with the earlier",
      [...at("blocks.2.hook_resid_pre", [3]), ...at("blocks.1.hook_resid_pre", [6])],
      3 * 2 + 3 * 2,
    ],
  ])("%s", async (_, cell, rowLayers) => {
    await withHooked("llama", async (model) => {
      const { work } = await model.sweep({ input: ids, cells: [cell, []], metric: metric.logit(0) });
      expect(work).toEqual({ passes: rowLayers > 0 ? 1 : 0, rowLayers, fullRowLayers: 2 * 9 * 3 });
    });
  });
});

it("names the cell of an edit that is refused on the way", async () => {
  await withHooked("llama", async (model) => {
    const cells = [[], [], [{ at: "blocks.0.hook_z", op: "zero" as const }]];
    expect(await failureOf(() => model.sweep({ input: ids, cells, metric: metric.logit(0) }))).toMatch(
      /^HookError hook\/no-such-point: Cell 2: /,
    );
  });
});
