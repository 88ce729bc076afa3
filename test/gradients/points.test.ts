/**
 * Gradients at every point of every family, of all points together and of single ones, are those of the backward pass by the
 * plain references, for a batch of unequal lengths.
 */
import { describe, expect, it } from "vitest";
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { metric } from "../../src/hooks/metrics.ts";
import { hooked, randomIds } from "../hooks/support.ts";
import { FAMILIES, loadChanged } from "../support/fixtures.ts";
import { byDay } from "../support/nightly.ts";
import { gaussians, pickOne, relativeError, seeded } from "../support/numbers.ts";
import { type Expected, errorsAt, expectedGradients } from "./support.ts";

/** Seen: 4e-6 in gemma2, whose scores are soft-capped. */
const TOLERANCE = 1e-5;
const LENGTHS = [7, 2, 5];
const VOCAB = 96;
const random = seeded(3);
const ids = LENGTHS.map((length) => randomIds(random, length));
const factors = gaussians(random, VOCAB);

/** The sum over the batch of factors · logits at the last position. */
const lastRows = { factors, places: LENGTHS.map((length) => length - 1) };

async function expectGradients(model: HookedModel, at: string | string[], expected: Expected, positions?: number[]) {
  using result = await model.backward(ids, { metric: metric.weighted(factors), at, ...(positions && { positions }) });
  for (const [name, error] of await errorsAt(result.grads, expected)) expect(error, name).toBeLessThan(TOLERANCE);
}

/** By day each kind of position, of norm and of block once. */
const SHOWN = byDay(FAMILIES, ["bloom", "cohere", "gemma2", "gpt2", "gptj", "olmo2", "qwen3"]);

describe("gradients at every point", () => {
  it.each(SHOWN)("of %s", async (family) => {
    using model = await hooked(family);
    const expected = await expectedGradients(family, ids, lastRows);
    await expectGradients(model, "*", expected);
    const names = model.pointNames();
    for (let turn = 0; turn < 3; turn++) await expectGradients(model, pickOne(random, names), expected);
    await expectGradients(model, "*", expected, [-1, 1]);
  });

  it.each(byDay(["gpt2", "gemma2", "bloom"], ["gemma2"]))("of %s looking both ways", async (family) => {
    using model = new HookedModel(await loadChanged(family, { is_causal: false }));
    const expected = await expectedGradients(family, ids, lastRows, { is_causal: false });
    const isInput = (name: string) => /_input$|mlp_in$/.test(name);
    const names = model.pointNames();
    // Where readers have inputs of their own, and where all read one residual.
    await expectGradients(
      model,
      names.filter((name) => isInput(name) || name.includes("ln1")),
      expected,
    );
    await expectGradients(
      model,
      names.filter((name) => !isInput(name)),
      expected,
    );
  });
});

describe("a batch", () => {
  it.each(["llama", "gpt2", "gemma2"])("of %s gives each sequence the gradients that it has alone", async (family) => {
    using model = await hooked(family);
    const measured = { metric: metric.logProb(9), at: ["*hook_resid_pre", "*hook_z", "*hook_pre"] };
    for (const most of [2048, 8]) {
      model.base.engine.maxRowsPerPass = most;
      using all = await model.backward(ids, measured);
      for (const [sequence, list] of ids.entries()) {
        using alone = await model.backward(list, measured);
        expect(relativeError([all.value[sequence] as number], alone.value)).toBeLessThan(1e-6);
        for (const name of all.grads.names) {
          // Its positions come first; where it has ended there are zeros.
          const own = await all.grads.read(name, { batch: [sequence] });
          const should = await alone.grads.read(name);
          expect(relativeError(own.subarray(0, should.length), should), name).toBeLessThan(TOLERANCE);
          expect(own.subarray(should.length).every((value) => value === 0)).toBe(true);
        }
      }
    }
  });
});
