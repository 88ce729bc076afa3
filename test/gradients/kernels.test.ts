/** The dispatches of every vector-Jacobian product are its references: for one row, a few and many, in each layout of weights. */
import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { gpuTakenForHardware, gpuWithLimits, testGpu } from "../support/gpu.ts";
import { byDay, isNight } from "../support/nightly.ts";
import { relativeError } from "../support/numbers.ts";
import { type OneOp, OneOpRun } from "./one-op.ts";
import { gradientsOnGpu, type Storage } from "./one-op-gpu.ts";
import { CASES, WIDE_ATTENTIONS } from "./ops.cases.ts";

async function worst(gpu: Gpu, op: OneOp, lengths: readonly number[], storage: Storage): Promise<number> {
  const run = new OneOpRun(op, lengths, 11);
  const [should, is] = [run.byReferences(), await gradientsOnGpu(gpu, run, storage)];
  const errors = should.inputs.map((expected, input) => relativeError(is.inputs[input] as Float64Array, expected));
  for (const [name, expected] of should.weights)
    errors.push(relativeError(is.weights.get(name) as Float64Array, expected));
  return Math.max(...errors);
}

/** float32 against float64; seen: 1e-6. */
const TOLERANCE = 3e-6;

const STORAGES: readonly Storage[] = [{}, { parts: 3 }, { layout: "conv1d" }];
const named = CASES.map((op) => [op.kind.name, op.what, op] as const);

/** Sequences of each pass; where rows are chosen, those must be there. */
const passesOf = ({ outputRows }: OneOp) => (outputRows ? [[5], [4, 1, 3]] : [[1], [5], [23, 1, 16]]);

/** Projections in each layout; tables and experts, which are in one, whole and in parts. */
function storagesOf({ kind, weights = {} }: OneOp): readonly Storage[] {
  if (Object.values(weights).every(({ length }) => length === 1)) return [{}];
  return kind.name === "embed" || kind.name === "expertMatmul" ? STORAGES.slice(0, 2) : STORAGES;
}

/** Flags of attention that others have with more of them; each is compiled for a second. */
const NIGHT = ["chunks of 2", "both ways", "a soft cap", "sinks"];
const isForDay = ([kind, what]: (typeof named)[number]) =>
  kind !== "attention" || !NIGHT.includes(what.replace(", some rows", ""));

describe("gradients on the GPU", () => {
  it.each(byDay(named, isForDay))("of %s, %s", async (_, __, op) => {
    const passes = passesOf(op);
    for (const lengths of passes) {
      // By day the longest pass alone meets every storage.
      for (const storage of isNight || lengths === passes.at(-1) ? storagesOf(op) : [{}])
        expect(
          await worst(await testGpu(), op, lengths, storage),
          `${lengths}, ${JSON.stringify(storage)}`,
        ).toBeLessThan(TOLERANCE);
    }
  });
});

describe("gradients on the GPU, grid folded", () => {
  it.each(byDay(named, isForDay))("of %s, %s", async (_, __, op) => {
    const gpu = await gpuWithLimits({ maxComputeWorkgroupsPerDimension: 7 });
    expect(await worst(gpu, op, [9, 1, 7], {})).toBeLessThan(TOLERANCE);
  });
});

const attentions = CASES.filter(({ kind }) => kind.name === "attention");
const ofHardware = [
  ...CASES.filter(({ kind, what }) => kind.name === "headResults" || what === "5 to 7"),
  ...byDay(attentions, [attentions[0] as OneOp, ...attentions.slice(-2)]),
];

/** Their pipelines take SwiftShader seconds to compile; test/kernels/matmul.test.ts runs them on many shapes. */
describe("gradients by the kernels for hardware", () => {
  it.each(ofHardware.map((op) => [op.kind.name, op.what, op] as const))("of %s, %s", async (_, __, op) => {
    const passes = op.kind.name === "attention" ? passesOf(op).slice(-1) : [[1], [5]];
    for (const lengths of passes)
      expect(await worst(await gpuTakenForHardware(), op, lengths, {}), `${lengths}`).toBeLessThan(TOLERANCE);
  });
});

describe("gradients of attention of wide heads", () => {
  it.each(byDay(WIDE_ATTENTIONS, WIDE_ATTENTIONS.slice(-2)).map((op) => [op.what, op] as const))(
    "%s",
    async (_, op) => {
      for (const gpu of [await testGpu(), await gpuTakenForHardware()])
        expect(await worst(gpu, op, [9, 1, 18], {})).toBeLessThan(TOLERANCE);
    },
  );
});
