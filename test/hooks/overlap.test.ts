/** Things that only show when passes overlap or cells are batched. */
import { describe, expect, it } from "vitest";
import { type Edit, HookedModel, metric } from "../../src/hooks/index.ts";
import { loadFixture } from "../support/fixtures.ts";
import { gpuWithLimits } from "../support/gpu.ts";
import { relativeError, seeded } from "../support/numbers.ts";
import { hooked, randomIds } from "./support.ts";

describe("forks of one cache", () => {
  it("may run at once, also when the store has to grow in between", async () => {
    const model = await hooked("gpt2");
    const prompt = randomIds(seeded(1), 30);
    const suffixes = [randomIds(seeded(2), 9), randomIds(seeded(3), 11)];
    const cache = model.createKvCache({ capacity: 32 });
    (await model.forward(prompt, { kv: cache })).destroy();
    const forks = suffixes.map(() => cache.fork());
    const together = await Promise.all(
      suffixes.map((ids, index) => model.forward(ids, { kv: forks[index], logits: "last" })),
    );
    for (const [index, ids] of suffixes.entries()) {
      const alone = await model.forward([...prompt, ...ids], { logits: "last" });
      expect(
        relativeError(await (together[index] as typeof alone).logits.read(), await alone.logits.read()),
      ).toBeLessThan(1e-5);
      alone.destroy();
    }
    for (const result of together) result.destroy();
    for (const each of [...forks, cache]) each.destroy();
    model.destroy();
  });
});

describe("a cache that a pass or a generation adds to", () => {
  const [PROMPT, NEXT] = [randomIds(seeded(5), 6), randomIds(seeded(6), 3)];
  const BUSY = { code: "input/cache-busy" };

  it("is refused to others until the pass has ended, and then right", async () => {
    using model = await hooked("llama");
    using cache = model.createKvCache();
    let proceed = () => {};
    const waiting = new Promise<void>((resolve) => {
      proceed = resolve;
    });
    const first = model.runWithHooks(PROMPT, [["hook_embed", async () => void (await waiting)]], { kv: cache });
    await expect(model.forward(NEXT, { kv: cache })).rejects.toMatchObject(BUSY);
    await expect(model.generate(NEXT, { kv: cache }).next()).rejects.toMatchObject(BUSY);
    await expect(model.generate([1], { kv: cache }).next()).rejects.toMatchObject(BUSY);
    for (const use of [() => cache.fork(), () => cache.truncate(0, 1)])
      expect(use).toThrow(expect.objectContaining(BUSY));
    expect(cache.lengths).toEqual([PROMPT.length]);
    proceed();
    (await first).destroy();
    using second = await model.forward(NEXT, { kv: cache, logits: "last" });
    using whole = await model.forward([...PROMPT, ...NEXT], { logits: "last" });
    expect(relativeError(await second.logits.read(), await whole.logits.read())).toBeLessThan(1e-5);
  });

  it("is free again after an abort and a failure, as it was before", async () => {
    using model = await hooked("llama");
    using cache = model.createKvCache();
    (await model.forward(NEXT, { kv: cache })).destroy();
    const stop = new AbortController();
    const abort = () => {
      stop.abort(new RangeError("enough"));
      return new Promise<void>(() => {});
    };
    const pass = model.runWithHooks(PROMPT, [["hook_embed", abort]], { kv: cache, signal: stop.signal });
    await expect(pass).rejects.toThrow("enough");
    await expect(model.forward([1e9], { kv: cache })).rejects.toMatchObject({ code: "input/token-range" });
    expect(cache.lengths).toEqual([NEXT.length]);
    cache.truncate(0, 1);
    cache.fork().destroy();
  });

  it("may be forked between the steps of a generation, but not added to or cut", async () => {
    using model = await hooked("llama");
    using cache = model.createKvCache();
    for await (const { step, tokens } of model.generate(PROMPT, { kv: cache, maxNewTokens: 9, ignoreEos: true })) {
      if (step < 2) continue; // until then no token is decoded ahead
      await expect(model.forward(NEXT, { kv: cache })).rejects.toMatchObject(BUSY);
      expect(() => cache.truncate(0, 1)).toThrow(expect.objectContaining(BUSY));
      using fork = cache.fork();
      (await model.forward(tokens as number[], { kv: fork })).destroy();
      if (step === 4) break;
    }
    expect(cache.lengths).toEqual([PROMPT.length + 4]);
    (await model.forward(NEXT, { kv: cache })).destroy();
  });
});

describe("a sweep", () => {
  it("shows an expression the same row in every cell", async () => {
    const model = await hooked("gpt2");
    const ids = randomIds(seeded(4), 8);
    const edits: Edit[] = [
      { at: "blocks.1.hook_resid_pre", op: "wgsl", expression: "x + (f32(b) + 1.0) * f32(d) * 0.05" },
    ];
    const { values } = await model.sweep({ input: ids, cells: [edits, edits, edits], metric: metric.logit(7) });
    const full = await model.forward(ids, { edits, logits: "last" });
    const expected = (await full.logits.at(0, -1))[7] as number;
    expect(relativeError(values, [expected, expected, expected])).toBeLessThan(1e-5);
    full.destroy();
    model.destroy();
  });

  it("counts the slots that cells take beyond the metric's position", async () => {
    const model = await hooked("gpt2");
    const ids = randomIds(seeded(5), 30);
    const cells = Array.from({ length: 200 }, (): Edit[] => [
      { at: "blocks.0.attn.hook_pattern", op: "scale", value: 0.5, positions: [0] },
    ]);
    const memoryBudget = 1 << 20;
    const before = model.gpu.memory.bytes;
    let most = 0;
    await model.sweep({
      input: ids,
      cells,
      metric: metric.logit(7),
      position: 0,
      memoryBudget,
      onProgress: () => {
        most = Math.max(most, model.gpu.memory.bytes - before);
      },
    });
    expect(most).toBeLessThan(4 * memoryBudget);
    model.destroy();
  });

  it("unembeds everything when its tokens do not fit in one binding", async () => {
    const gpu = await gpuWithLimits({ maxStorageBufferBindingSize: 8192 });
    const model = new HookedModel(await loadFixture("gpt2", { gpu }));
    const usual = await hooked("gpt2");
    const call = {
      input: randomIds(seeded(6), 6),
      cells: [[{ at: "blocks.1.hook_resid_pre", op: "zero", positions: [2] } as Edit]],
      metric: metric.logits(Array.from({ length: 96 }, (_, token) => token)),
    };
    expect(relativeError((await model.sweep(call)).values, (await usual.sweep(call)).values)).toBeLessThan(1e-5);
    model.destroy();
    usual.destroy();
  });
});

describe("promises", () => {
  it("reject rather than throw", async () => {
    const model = await hooked("gpt2");
    let view: HookedModel | undefined;
    await model.withEdits([], async (edited) => {
      view = edited;
    });
    await expect((view as unknown as HookedModel).logProbs([1], [[2]])).rejects.toMatchObject({
      code: "hook/scope-ended",
    });
    const { logits } = await model.forward([1, 2]);
    await expect(logits.at(0, -3)).rejects.toMatchObject({ code: "input/no-logits" });
    await expect(logits.at(0, -0.5)).rejects.toMatchObject({ code: "input/argument" });
    logits.destroy();
    model.destroy();
  });
});
