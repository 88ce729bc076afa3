/** Memory and buffers after many runs are what they were after few, whether the runs succeed or fail. */
import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { MOST_TRANSIENT } from "../../src/gpu/pipelines.ts";
import { type Edit, type HookedModel, metric } from "../../src/hooks/index.ts";
import { ownGpu, withGpu } from "../support/gpu.ts";
import { isNight } from "../support/nightly.ts";
import { integer, relativeError, seeded } from "../support/numbers.ts";
import { failureOf, hooked, randomEdit, randomIds } from "./support.ts";

/**
 * Runs `body` in turns on a `Gpu` of its own; memory and buffers after the first turns must be those after the last.
 * Bind groups, which are kept for each combination of buffers that has met, take longer: `settled` turns.
 */
async function expectSteady(
  warmUp: number,
  settled: number,
  turns: number,
  body: (model: HookedModel, turn: number) => Promise<void>,
) {
  await withGpu(async (gpu) => {
    const model = await hooked("gemma2", { gpu });
    for (let turn = 0; turn < warmUp; turn++) await body(model, turn);
    const early = { ...gpu.memory };
    for (let turn = warmUp; turn < settled; turn++) await body(model, turn % warmUp);
    const held = heldBy(gpu);
    for (let turn = settled; turn < turns; turn++) await body(model, turn % warmUp);
    expect(gpu.memory).toEqual(early);
    if (settled < turns) expect(heldBy(gpu)).toEqual(held);
    model.destroy();
    // What stays is the device's own (parameters, staging for reads), so another model leaves no more.
    const { buffers } = gpu.memory;
    const again = await hooked("gemma2", { gpu });
    await body(again, 0);
    again.destroy();
    expect(gpu.memory.buffers).toBe(buffers);
  });
}

const heldBy = (gpu: Gpu) => ({ ...gpu.pipelines.held, ...gpu.bindGroups.held });

/** As many different turns as warm up; each repeats what one of them did. */
function turnOf(seed: number) {
  const random = seeded(seed);
  return { random, ids: randomIds(random, integer(random, 3, 9)) };
}

/** A leak of one object a pass shows by day, too. */
const FORWARDS = isNight ? 1000 : 200;

/** Of one sweep; more than are kept. */
const EXPRESSIONS = isNight ? 200 : MOST_TRANSIENT + 16;

describe("memory stays where it was", () => {
  it(`after ${FORWARDS} forwards with captures and edits`, async () => {
    await expectSteady(10, FORWARDS / 2, FORWARDS, async (model, turn) => {
      const { random, ids } = turnOf(turn);
      const edits = [randomEdit(random, model.spec, ids.length), randomEdit(random, model.spec, ids.length)];
      (await model.forward(ids, { edits, capture: ["*hook_resid_post", "*hook_pattern"] })).destroy();
    });
  });

  it("after 50 sweeps", async () => {
    await expectSteady(5, 50, 50, async (model, turn) => {
      const { random, ids } = turnOf(turn);
      const cells = Array.from({ length: 8 }, () => [randomEdit(random, model.spec, ids.length)]);
      await model.sweep({ input: ids, cells, metric: [metric.kl(), metric.kl(new Float32Array(96)), metric.logit(2)] });
    });
  });

  it(`after sweeps of ${3 * EXPRESSIONS} expressions, which each compute what they say`, async () => {
    const gpu = await ownGpu();
    using model = await hooked("gpt2", { gpu });
    const ids = randomIds(seeded(1), 5);
    const sweepFrom = async (first: number, asExpression: boolean) => {
      const factors = Array.from({ length: EXPRESSIONS }, (_, index) => (first + index) / 128);
      const cells = factors.map((value): Edit[] => [
        asExpression
          ? { at: "blocks.1.hook_mlp_out", op: "wgsl", expression: `x * ${value.toFixed(8)}` }
          : { at: "blocks.1.hook_mlp_out", op: "scale", value },
      ]);
      return (await model.sweep({ input: ids, cells, metric: metric.logits([1, 2, 3]) })).values;
    };
    const compare = async (first: number) =>
      expect(relativeError(await sweepFrom(first, true), await sweepFrom(first, false))).toBeLessThan(1e-5);
    await compare(1);
    const [memory, held] = [{ ...gpu.memory }, heldBy(gpu)];
    expect(held).toMatchObject({ transientPipelines: MOST_TRANSIENT, transientModules: MOST_TRANSIENT });
    await compare(1 + EXPRESSIONS);
    await compare(1 + 2 * EXPRESSIONS);
    expect(gpu.memory).toEqual(memory);
    expect(heldBy(gpu)).toEqual(held);
    gpu.trim();
  });

  it("after 50 failures", async () => {
    await expectSteady(10, 50, 50, async (model, turn) => {
      const { ids } = turnOf(turn);
      const bad: Edit = { at: "blocks.0.hook_attn_out", op: "wgsl", expression: "x + nothing" };
      const fails = [
        () => model.forward(ids, { edits: [bad], capture: "*" }),
        () => model.forward([ids, [99]], { capture: "*" }),
        () => model.forward(ids, { edits: [{ ...bad, positions: [20] }], capture: "*" }),
        () => model.sweep({ input: ids, cells: [[bad]], metric: metric.kl(new Float32Array(96)) }),
        () => model.runWithHooks(ids, [["logits", () => new Float32Array(1)]], { capture: "*" }),
      ];
      for (const fail of fails)
        expect(await failureOf(fail)).toMatch(
          /^\w+Error (gpu\/shader|input\/token-range|hook\/position-range|hook\/value-shape)/,
        );
    });
  });
});
