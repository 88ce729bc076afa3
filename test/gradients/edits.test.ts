/**
 * Gradients of edited models: of each op, with numbers, lists, tensors and entries of caches, at heads, dimensions and keys,
 * they are what central differences of the edited model give in float64.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluate } from "../../src/graph/evaluate.ts";
import { pointsOf } from "../../src/graph/graph.ts";
import { type Edit, type HookedModel, metric } from "../../src/hooks/index.ts";
import { trace } from "../../src/model/trace.ts";
import type { Value } from "../../src/ops/op.ts";
import { type Edited, fixture, referencePass, rowsOf, withEdits } from "../graph/support.ts";
import { hooked } from "../hooks/support.ts";
import { byDay } from "../support/nightly.ts";
import { gaussians, integer, seeded } from "../support/numbers.ts";

const IDS = [
  [3, 14, 15, 92],
  [65, 35, 89],
];
const OTHER = [
  [5, 6, 7, 8],
  [9, 10, 11],
];
const FACTORS = gaussians(seeded(1), 96);
const VECTOR = gaussians(seeded(2), 32);
const STEP = 1e-5;

/** An edit; `as` is how its value is given to the model. */
interface Case {
  readonly what: string;
  readonly edit: Edit;
  readonly as?: "tensor" | "entry";
}

const CASES: readonly Case[] = [
  {
    what: "set to a number",
    edit: { at: "blocks.0.mlp.hook_post", op: "set", value: 0.3, positions: [1], dims: [2, 5] },
  },
  { what: "set to a list", edit: { at: "blocks.0.hook_mlp_out", op: "set", value: VECTOR, positions: [-1] } },
  {
    what: "set to an entry",
    edit: { at: "blocks.0.hook_resid_post", op: "set", positions: [0, 2], dims: [1, 7, 30] },
    as: "entry",
  },
  { what: "set queries of a head", edit: { at: "blocks.1.attn.hook_q", op: "set", value: 0.2, heads: [1] } },
  {
    what: "add a part of a tensor",
    edit: { at: "blocks.0.hook_resid_post", op: "add", value: VECTOR, alpha: -0.7 },
    as: "tensor",
  },
  { what: "scale by a number", edit: { at: "blocks.0.hook_attn_out", op: "scale", value: 0.4 } },
  { what: "scale by a list", edit: { at: "blocks.0.hook_resid_post", op: "scale", value: VECTOR, positions: [1, -1] } },
  {
    what: "scale heads",
    edit: { at: "blocks.1.attn.hook_z", op: "scale", value: -1.5, heads: [0, 2], positions: [-1] },
  },
  {
    what: "scale keys of scores",
    edit: { at: "blocks.0.attn.hook_attn_scores", op: "scale", value: 0.5, heads: [1], dims: [0, 1] },
  },
  {
    what: "set keys of the pattern",
    edit: { at: "blocks.0.attn.hook_pattern", op: "set", value: 0.25, positions: [2] },
  },
  { what: "scale a divisor", edit: { at: "blocks.1.ln1.hook_scale", op: "scale", value: 1.3 } },
  { what: "zero", edit: { at: "blocks.0.mlp.hook_post", op: "zero", positions: [-1], batch: [0] } },
  { what: "zero values of a head", edit: { at: "blocks.0.attn.hook_v", op: "zero", heads: [0], positions: [0] } },
  { what: "lerp to a list", edit: { at: "blocks.0.hook_resid_post", op: "lerp", value: VECTOR, alpha: 0.3 } },
  {
    what: "lerp to an entry",
    edit: { at: "blocks.1.attn.hook_z", op: "lerp", alpha: 0.6, heads: [1], dims: [0, 3, 4] },
    as: "entry",
  },
  { what: "project out", edit: { at: "blocks.0.hook_resid_post", op: "project_out", value: VECTOR } },
  {
    what: "project out of some dimensions",
    edit: { at: "blocks.0.hook_mlp_out", op: "project_out", value: [0.5, -1, 2], dims: [3, 8, 9], positions: [-1, 0] },
  },
  { what: "scale logits", edit: { at: "logits", op: "scale", value: 0.2, dims: [4, 5, 6] } },
];

describe.each(byDay(["gpt2", "gemma2"], ["gemma2"]))("gradients of %s", (family) => {
  let model: HookedModel;
  let setup: Awaited<ReturnType<typeof fixture>>;
  beforeAll(async () => {
    model = await hooked(family);
    setup = await fixture(family);
  });
  afterAll(() => model.destroy());

  /** The edited model's metric in float64, with `step` added to an element of a point. */
  function metricWith({ graph, edits }: Edited, point: string, at: number, step: number): number {
    const { spec, weight } = setup;
    const moved = pointsOf(graph).get(point);
    const rows = rowsOf(IDS);
    const values = evaluate(graph, {
      rows,
      weight,
      pass: { ...referencePass(spec, 64), edits },
      visit(value, numbers) {
        if (value === moved) numbers[at] = (numbers[at] as number) + step;
      },
    });
    const logits = values.get(graph.output as Value) as Float64Array;
    return IDS.reduce((sum, { length }, sequence) => {
      const row = rows.indexOf(sequence, length - 1);
      return FACTORS.reduce((all, factor, token) => all + factor * (logits[row * 96 + token] as number), sum);
    }, 0);
  }

  it.each(CASES.map((test) => [test.what, test] as const))("%s", async (_, test) => {
    const random = seeded(test.what.length);
    using other = await model.forward(OTHER, { capture: test.edit.at });
    const { cache } = other;
    using tensor = model.gpu.tensorFrom(VECTOR, [32], "value");
    const value = test.as === "tensor" ? tensor : test.as === "entry" ? cache.at(test.edit.at) : test.edit.value;
    const edits = [{ ...test.edit, ...(value !== undefined && { value }) }];
    const edited = await withEdits(setup.spec, trace(setup.spec), edits, IDS);
    const rowOf = (row: number) => (row < 4 ? row : row - 4);
    for (const point of ["hook_embed", "blocks.0.hook_attn_out"]) {
      const options = { metric: metric.weighted(FACTORS), at: [point, test.edit.at] };
      using result = await model.backward(IDS, { ...options, edits });
      expect(result.value.reduce((a, b) => a + b)).toBeCloseTo(metricWith(edited, point, 0, 0), 3);
      const grads = await result.grads.read(point);
      const largest = grads.reduce((most, each) => Math.max(most, Math.abs(each)), 0);
      for (let turn = 0; turn < 4; turn++) {
        const [row, d] = [integer(random, 0, 6), integer(random, 0, 31)];
        const at = row * 32 + d;
        const slope = (metricWith(edited, point, at, STEP) - metricWith(edited, point, at, -STEP)) / (2 * STEP);
        const is = grads[((row < 4 ? 0 : 1) * 4 + rowOf(row)) * 32 + d] as number;
        expect(Math.abs(is - slope), `${point}, row ${row}, dimension ${d}: ${is}, ${slope}`).toBeLessThan(
          1e-5 * largest,
        );
      }
      // The same from a view of the model that always edits.
      await model.withEdits(edits, async (view) => {
        using again = await view.backward(IDS, options);
        expect(await again.grads.read(point)).toEqual(grads);
      });
    }
  });
});
