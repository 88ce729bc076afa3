/** The vector-Jacobian product of every kind of op, by the plain references, is what central differences of the op itself give. */
import { describe, expect, it } from "vitest";
import { CALLBACK } from "../../src/ops/callback.ts";
import { CAPTURE } from "../../src/ops/capture.ts";
import { EMBEDS } from "../../src/ops/embeds.ts";
import { FUSED, HOOKS, MODULES, PRIMITIVES } from "../../src/ops/index.ts";
import { JOIN } from "../../src/ops/join.ts";
import type { OpKind } from "../../src/ops/op.ts";
import { ROPE_STORE } from "../../src/ops/rope.ts";
import { SINUSOIDS } from "../../src/ops/sinusoids.ts";
import { WEIGHED_SUM } from "../../src/ops/weigh.ts";
import { relativeError } from "../support/numbers.ts";
import { type OneOp, OneOpRun } from "./one-op.ts";
import { CASES } from "./ops.cases.ts";

/** The gradients of what is no number are not asked for: a score that no query sees. */
function seen(gradient: Float64Array, numbers: Float64Array, run: OneOpRun, input: number): Float64Array {
  const { op } = run;
  const isPattern = op.kind.name === "mix" && input === 0;
  return gradient.map((value, i) => (Number.isFinite(numbers[i]) && !(isPattern && numbers[i] === 0) ? value : 0));
}

/** Largest error of any gradient, by the differences of the op's own reference. */
function worst(op: OneOp, lengths: readonly number[]): number {
  const run = new OneOpRun(op, lengths, 7);
  const [should, is] = [run.byDifferences(), run.byReferences()];
  const errors = should.inputs.map((expected, input) =>
    relativeError(
      seen(is.inputs[input] as Float64Array, run.numbers.inputs[input] as Float64Array, run, input),
      expected,
    ),
  );
  for (const [name, expected] of should.weights)
    if (!op.constants?.includes(name)) errors.push(relativeError(is.weights.get(name) as Float64Array, expected));
  expect(errors.length).toBeGreaterThan(0);
  return Math.max(...errors);
}

describe("vector-Jacobian products", () => {
  it.each(CASES.map((op) => [op.kind.name, op.what, op] as const))("of %s, %s", (_, __, op) => {
    // Central differences in float64 leave some 1e-9.
    expect(worst(op, [4, 1, 3])).toBeLessThan(1e-7);
  });

  it("are tested for every kind that has one, and missing where they are known to be", () => {
    const kinds = [...PRIMITIVES, ...MODULES, ...FUSED, ...HOOKS] as unknown as OpKind[];
    const names = (all: readonly { name: string }[]) => [...new Set(all.map(({ name }) => name))].sort();
    // The rows of sweeps, what the plan of memory fuses after differentiation, and what only watches or calls.
    const without = [JOIN, ROPE_STORE, WEIGHED_SUM, CALLBACK, CAPTURE];
    expect(names(kinds.filter(({ vjp }) => !vjp))).toEqual(names(without));
    // Given embeddings and fixed positions have no input.
    expect(names([...CASES.map(({ kind }) => kind), EMBEDS, SINUSOIDS])).toEqual(names(kinds.filter(({ vjp }) => vjp)));
  });
});
