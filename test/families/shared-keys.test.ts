/**
 * Models whose blocks read what earlier ones made besides the residual: keys and values, and embeddings for each block (gemma4). However
 * a sequence is run, its logits are the same; and a pass that lacks what was made is refused.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { logitLens } from "../../src/hooks/index.ts";
import { loadChanged, loadFixture, randomIds, readLogits } from "../support/fixtures.ts";
import { relativeError } from "../support/numbers.ts";

const TOLERANCE = 3e-6;
/** The last layer has the second one's keys: of the same tensors, less its own. */
const SHARED = { layer_types: ["sliding_attention", "full_attention", "full_attention"], num_kv_shared_layers: 1 };

describe("embeddings for each block, and shared keys and values", () => {
  let model: HookedModel;
  beforeAll(async () => {
    model = new HookedModel(await loadFixture("../types/gemma4_text_ple"));
  });
  afterAll(() => model.destroy());
  const alone = (ids: readonly number[]) => readLogits(model.base.forward(ids));
  const rowsOf = (logits: Float32Array, first: number, end: number) => logits.subarray(first * 96, end * 96);

  it("give the logits of one call in a batch, in parts on a cache, and on forks of it", async () => {
    const ids = randomIds(model.base, 5, 21);
    const whole = await alone(ids);
    using kv = model.createKvCache();
    let done = 0;
    for (const count of [1, 9, 1, 10]) {
      using fork = kv.fork();
      const part = await readLogits(model.base.forward(ids.slice(done, done + count), { kv }));
      const again = await readLogits(model.base.forward(ids.slice(done, done + count), { kv: fork }));
      for (const logits of [part, again])
        expect(relativeError(logits, rowsOf(whole, done, done + count))).toBeLessThan(TOLERANCE);
      done += count;
    }
    const batch = await model.base.forward([randomIds(model.base, 6, 4), ids], { logits: "last" });
    expect(relativeError(await batch.at(1, -1), rowsOf(whole, 20, 21))).toBeLessThan(TOLERANCE);
    batch.destroy();
  });

  it("are decoded token by token as passes decide", async () => {
    const ids = randomIds(model.base, 8, 12);
    const chosen: number[] = [];
    for await (const { tokens } of model.base.generate([ids], { maxNewTokens: 8, ignoreEos: true, temperature: 0 }))
      chosen.push(tokens[0] as number);
    const tokens = [...ids];
    for (let step = 0; step < 8; step++) {
      const logits = rowsOf(await alone(tokens), tokens.length - 1, tokens.length);
      tokens.push(logits.indexOf(Math.max(...logits)));
    }
    expect(chosen).toEqual(tokens.slice(12));
  });

  it("take no memory for keys that a block does not have", () => {
    using kv = model.createKvCache();
    // Two key-value heads, 8 and 16 wide, in the blocks that have some.
    expect(kv.store.tokenBytes).toBe(2 * 4 * (2 * 8 + 2 * 16));
    expect(kv.store.keys.filter((buffer) => buffer !== undefined)).toHaveLength(2);
    expect(model.weightNames().filter((name) => /W_K$/.test(name))).toEqual(["blocks.0.attn.W_K", "blocks.1.attn.W_K"]);
  });

  it("need tokens", async () => {
    const vectors = [new Float32Array(3 * 32)];
    const refusal = { code: "input/needs-tokens" };
    await expect(model.forward({ inputsEmbeds: vectors })).rejects.toMatchObject(refusal);
    await expect(model.forward({ residual: vectors, startAtLayer: 1 })).rejects.toMatchObject(refusal);
    await expect(logitLens(model, [1, 2, 3])).rejects.toMatchObject({ code: "hook/unsupported" });
  });
});

it("starts a pass where what later blocks read is still to be made", async () => {
  using model = new HookedModel(await loadChanged("../types/gemma4_text", SHARED));
  const ids = randomIds(model.base, 3, 9);
  const point = "blocks.0.hook_resid_post";
  const { cache, logits, destroy } = await model.forward(ids, { capture: point });
  const [residual, whole] = [[await cache.read(point)], await logits.read()];
  destroy();
  const from1 = await model.forward({ residual, startAtLayer: 1 });
  expect(relativeError(await from1.logits.read(), whole)).toBeLessThan(TOLERANCE);
  from1.destroy();
  await expect(model.forward({ residual, startAtLayer: 2 })).rejects.toThrow("Lower startAtLayer to 1");
});
