/** The routing kernel chooses and weighs as its definition says, for every kind of routing, few experts and many, and ties. */
import { describe, expect, it } from "vitest";
import { Recorder } from "../../src/gpu/recorder.ts";
import { type RoutingSpec, route } from "../../src/kernels/routing.ts";
import { packedView } from "../../src/kernels/view.ts";
import { routed } from "../../src/ops/route-reference.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";

const BY_SUM = { plus: 0, atLeast: 0 };

const ROUTINGS: Record<string, RoutingSpec> = {
  softmax: { scores: "softmax", scale: 1 },
  "softmax, normed": { scores: "softmax", normalize: BY_SUM, scale: 1 },
  "softmax, a bias, a floor": { scores: "softmax", choiceBias: true, normalize: { plus: 0, atLeast: 0.9 }, scale: 1 },
  "softmax, the greatest of each group": {
    ...{ scores: "softmax", scale: 16 },
    groups: { count: 4, chosen: 2, by: "max" },
  },
  sigmoid: { scores: "sigmoid", scale: 1 },
  "sigmoid, a bias, two of each group": {
    ...{ scores: "sigmoid", choiceBias: true, scale: 2.5 },
    groups: { count: 4, chosen: 1, by: "topTwo" },
    normalize: { plus: 1e-20, atLeast: 0 },
  },
  sparsemixer: { scores: "sparsemixer", tolerance: 0.2, scale: 1 },
};

interface Case {
  readonly experts: number;
  readonly chosen: number;
  readonly rows: number;
  /** Logits are rounded to multiples of this: the larger, the more of them are equal. */
  readonly step?: number;
}

const CASES: readonly Case[] = [
  { experts: 4, chosen: 2, rows: 9 },
  { experts: 8, chosen: 2, rows: 1 },
  { experts: 100, chosen: 2, rows: 5, step: 1 },
  { experts: 896, chosen: 2, rows: 3 },
  { experts: 128, chosen: 8, rows: 70 },
  { experts: 64, chosen: 6, rows: 5, step: 2 },
  { experts: 8, chosen: 8, rows: 3 },
];

async function onGpu(routing: RoutingSpec, { experts, chosen, rows }: Case, logits: Float32Array, bias: Float32Array) {
  const gpu = await testGpu();
  const recorder = new Recorder(gpu, "route");
  // Rows that lie apart, as in a stacked projection.
  const spread = new Float32Array(rows * (experts + 3) + 5);
  for (let row = 0; row < rows; row++)
    spread.set(logits.subarray(row * experts, (row + 1) * experts), 5 + row * (experts + 3));
  const x = { ...packedView(recorder.upload(spread), experts, 1, 5), rowStride: experts + 3 };
  const out = recorder.temp(rows, 2 * chosen);
  const view = (start: number) => ({ ...packedView(out, chosen, 1, start), rowStride: 2 * chosen });
  route(recorder, routing, x, rows, routing.choiceBias ? recorder.upload(bias) : undefined, view(0), view(chosen));
  const readback = recorder.readback(out);
  await recorder.submit();
  return new Float32Array(readback.bytes);
}

describe.each(Object.entries(ROUTINGS))("routing by %s", (name, routing) => {
  const fitting = CASES.filter(
    ({ experts, chosen }) =>
      (routing.scores !== "sparsemixer" || chosen === 2) && experts % (2 * (routing.groups?.count ?? 1)) === 0,
  );

  it.each(fitting)("of $experts experts $chosen for each of $rows rows", async (each) => {
    const { experts, chosen, rows, step } = each;
    const random = seeded(experts + chosen + name.length);
    const rounded = (value: number) => (step ? Math.round(value / step) * step : value);
    const logits = Float32Array.from(gaussians(random, rows * experts, 2), rounded);
    const bias = Float32Array.from(gaussians(random, experts, 0.3), rounded);
    const numbers = await onGpu(routing, each, logits, bias);
    for (let row = 0; row < rows; row++) {
      const own = [...logits.subarray(row * experts, (row + 1) * experts)];
      const { indices, weights } = routed(routing, own, chosen, routing.choiceBias ? bias : undefined);
      const at = row * 2 * chosen;
      expect([...numbers.subarray(at, at + chosen)], `row ${row}`).toEqual(indices);
      expect(relativeError(numbers.subarray(at + chosen, at + 2 * chosen), weights)).toBeLessThan(1e-5);
    }
  });

  it("takes an expert whose logit is -Infinity only when there is no other", async () => {
    if (routing.choiceBias || routing.groups) return; // there it is the bias that decides
    const each = { experts: 4, chosen: 2, rows: 2 };
    const logits = Float32Array.of(3, -Infinity, 1, 2, -Infinity, -Infinity, -Infinity, 1);
    const numbers = await onGpu(routing, each, logits, new Float32Array(4));
    expect([...numbers.subarray(0, 2)]).toEqual([0, 3]);
    expect(numbers[4]).toBe(3);
    expect(numbers[5]).toBe(0);
  });
});
