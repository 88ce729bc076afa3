/** Passes that begin with the residual before a block: what a whole pass gives from there on. */
import { describe, expect, it } from "vitest";
import { metric } from "../../src/hooks/index.ts";
import { FAMILIES } from "../support/fixtures.ts";
import { byDay } from "../support/nightly.ts";
import { relativeError, seeded } from "../support/numbers.ts";
import { failureOf, hooked, randomIds, readAll } from "./support.ts";

const LENGTHS = [6, 3];

/** Positions that are learnt, turned and slopes; blocks in parallel; windows and soft caps; a tied table that scales; norms of heads. */
const DAY = ["bloom", "cohere", "gemma2", "gpt2", "gptj", "olmo2"];

describe.each(byDay(FAMILIES, DAY))("in %s", (family) => {
  it("logits, captures, edits and gradients are those of the whole pass", async () => {
    using model = await hooked(family);
    const ids = LENGTHS.map((length) => randomIds(seeded(length), length));
    const { nLayers, dModel } = model.spec;
    for (const startAtLayer of [0, 1, nLayers - 1]) {
      const name = `blocks.${startAtLayer}.hook_resid_pre`;
      const edits = { at: `blocks.${nLayers - 1}.hook_attn_out`, op: "scale", value: 0.5, positions: [-1] } as const;
      const later = (point: string) =>
        new RegExp(`^blocks\\.[${startAtLayer}-${nLayers - 1}]\\.(?!.*(_scores|pattern))`).test(point);
      using whole = await model.forward(ids, { capture: [name, later], edits });
      const padded = await whole.cache.read(name);
      const residual = LENGTHS.map((length, sequence) =>
        padded.subarray(sequence * 6 * dModel, (sequence * 6 + length) * dModel),
      );
      using begun = await model.forward({ residual, startAtLayer }, { capture: later, edits });
      expect(relativeError(await begun.logits.read(), await whole.logits.read())).toBeLessThan(1e-6);
      for (const [point, values] of await readAll(begun.cache))
        expect(relativeError(values, await whole.cache.read(point)), point).toBeLessThan(1e-6);
      expect(begun.cache.names).toEqual(whole.cache.names);
      using last = await model.forward({ residual, startAtLayer }, { logits: "last", edits });
      expect(relativeError(await last.logits.at(1, -1), await whole.logits.at(1, -1))).toBeLessThan(1e-6);
      const options = { metric: metric.logitDiff(3, 9), at: [name], edits };
      using expected = await model.backward(ids, options);
      using given = await model.backward({ residual, startAtLayer }, options);
      expect(relativeError(given.value, expected.value)).toBeLessThan(1e-5);
      expect(relativeError(await given.grads.read(name), await expected.grads.read(name))).toBeLessThan(1e-5);
    }
  });
});

describe("a residual", () => {
  it("may be run for some blocks alone, and by runWithCache and hooks", async () => {
    using model = await hooked("gpt2");
    const { dModel } = model.spec;
    using whole = await model.forward([5, 6, 7], { capture: "*.hook_resid_p*" });
    const residual = [await whole.cache.read("blocks.1.hook_resid_pre")];
    using some = await model.runWithCache({ residual, startAtLayer: 1 }, { stopAtLayer: 2 });
    expect(some.cache.names.every((name) => name.startsWith("blocks.1."))).toBe(true);
    expect(some.cache.names).toContain("blocks.1.hook_resid_pre");
    const after = "blocks.1.hook_resid_post";
    expect(relativeError(await some.cache.read(after), await whole.cache.read(after))).toBeLessThan(1e-6);
    let seen: Float32Array | undefined;
    const look = (x: Float32Array) => {
      seen = x.slice();
    };
    (await model.runWithHooks({ residual, startAtLayer: 1 }, { [after]: look })).destroy();
    expect(relativeError(seen as Float32Array, await whole.cache.read(after))).toBeLessThan(1e-6);
    expect(seen).toHaveLength(3 * dModel);
  });

  it.each<[string, object, object, RegExp]>([
    [
      "before a block that is not there",
      { startAtLayer: 3 },
      {},
      /input\/start-layer: startAtLayer is 3; the blocks go from 0 to 2\./,
    ],
    ["of another width", { residual: [[1, 2, 3]] }, {}, /input\/embeds-shape: residual of sequence 0 has 3 numbers/],
    ["of no sequence", { residual: [] }, {}, /input\/empty: residual holds no sequence/],
    ["without its block", { startAtLayer: undefined }, {}, /input\/argument: .*startAtLayer/],
    ["that ends before it begins", {}, { stopAtLayer: 1 }, /input\/stop-layer: stopAtLayer is 1 and startAtLayer 1/],
    [
      "with a look at what came before",
      {},
      { capture: "blocks.0.hook_resid_pre" },
      /hook\/not-reached: blocks\.0\.hook_resid_pre is not reached: the pass starts at block 1\. Lower startAtLayer/,
    ],
    [
      "with an edit of the embedding",
      {},
      { edits: { at: "hook_embed", op: "zero" } },
      /hook\/not-reached: hook_embed .*starts at block 1/,
    ],
    [
      "with a look at what comes after",
      {},
      { stopAtLayer: 2, capture: "blocks.2.hook_resid_post" },
      /stops before block 2\. Raise stopAtLayer/,
    ],
  ])("%s is refused", async (_, input, options, message) => {
    using model = await hooked("gpt2");
    const given = { residual: [new Float32Array(32)], startAtLayer: 1, ...input } as never;
    expect(await failureOf(() => model.forward(given, options))).toMatch(message);
  });

  it("takes its layer beside the residual, and the logits of a pass that stops are missed in words", async () => {
    using model = await hooked("gpt2");
    const residual = [new Float32Array(2 * model.spec.dModel)];
    await expect(model.forward({ residual, startAtLayer: 1 }, { startAtLayer: 1 } as never)).rejects.toMatchObject({
      code: "input/unknown-key",
      message: expect.stringContaining("It belongs to the input: { residual, startAtLayer }."),
    });
    using stopped = await model.forward([1, 2, 3], { stopAtLayer: 1 });
    await expect(stopped.logits.at(0, -1)).rejects.toThrow(/no logits: stopAtLayer, .* leaves them out/);
  });

  it("continues no cache, and gradients begin where it does", async () => {
    using model = await hooked("gpt2");
    const given = { residual: [new Float32Array(32).fill(1)], startAtLayer: 1 };
    using kv = model.createKvCache();
    expect(await failureOf(() => model.forward(given, { kv }))).toMatch(
      /input\/start-layer: .*cannot continue a cache/,
    );
    const early = metric.project("blocks.0.hook_resid_post", new Float32Array(32));
    const at = "blocks.1.hook_resid_pre";
    expect(await failureOf(() => model.backward(given, { metric: early, at }))).toMatch(/hook\/not-reached/);
    expect(await failureOf(() => model.backward(given, { metric: metric.loss(), at }))).toMatch(/embeddings have none/);
  });
});
