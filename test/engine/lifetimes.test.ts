/**
 * Ends and losses: what is destroyed in the middle of work ends that work with an error of ours, awaited or not, and what
 * nobody holds any more is freed, but nothing that somebody still could use.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { SuperlensError } from "../../src/errors.ts";
import { collectGarbage } from "../../src/gpu/collect.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import type { CacheEntry } from "../../src/hooks/activation-cache.ts";
import {
  type ActivationCache,
  accumulatedResid,
  decomposeResid,
  directLogitAttribution,
  HookedModel,
  logitLens,
  metric,
  ResidualStack,
} from "../../src/hooks/index.ts";
import { tune } from "../../src/kernels/tuning/tuner.ts";
import type { KvCache } from "../../src/model/kv-cache.ts";
import { collectUntil } from "../support/collect.ts";
import { loadFixture } from "../support/fixtures.ts";
import { newGpu, ownGpu } from "../support/gpu.ts";

const IDS = [5, 6, 7, 8];

let gpu: Gpu;
let notices: string[] = [];
beforeAll(async () => {
  gpu = await ownGpu();
});
afterAll(() => gpu.trim());

const hooked = async (on = gpu) => new HookedModel(await loadFixture("llama", { gpu: on }));

/** Rejections that nobody handled, which would end a program. */
const unhandled: unknown[] = [];
const onUnhandled = (error: unknown) => unhandled.push(error);
beforeAll(() => {
  process.on("unhandledRejection", onUnhandled);
});
afterAll(() => {
  process.off("unhandledRejection", onUnhandled);
});

const turnOfEventLoop = () => new Promise((resolve) => setImmediate(resolve));

/** How `work` ended: the code of an error of ours, or "done". */
async function endOf(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
    return "done";
  } catch (error) {
    if (error instanceof SuperlensError) return error.code;
    throw error;
  }
}

const WORK: Record<string, (model: HookedModel, cache: KvCache) => Promise<unknown>> = {
  forward: (model, cache) => model.forward([IDS], { kv: cache }),
  captures: (model, cache) => model.runWithCache([IDS], { kv: cache }),
  "reading logits": async (model, cache) => {
    const { logits } = await model.forward([IDS], { kv: cache });
    for (let i = 0; i < 5; i++) await logits.read();
  },
  generation: (model, cache) => drain(model.generate([IDS], { kv: cache, maxNewTokens: 12, ignoreEos: true })),
  "generation with captures": (model, cache) =>
    drain(model.generate([IDS], { kv: cache, maxNewTokens: 4, ignoreEos: true, capture: "*hook_z" })),
  "hooks in JavaScript": (model, cache) => model.runWithHooks([IDS], [["*hook_resid_post", (x) => x]], { kv: cache }),
  sweeps: (model) => model.sweep({ input: IDS, cells: CELLS, metric: metric.logit(0), memoryBudget: 1 }),
  weights: async (model) => {
    for (const name of model.weightNames()) await model.weight(name);
  },
  "log probabilities": (model) => model.logProbs(IDS, [[1, 2], [3]]),
};

const CELLS = IDS.map((_, position) => [{ at: "blocks.0.hook_resid_pre", op: "zero" as const, positions: [position] }]);

async function drain(steps: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of steps);
}

describe.each(Object.entries(WORK))("%s", (_name, work) => {
  it("ends when the model does, at any moment", async () => {
    const ends = new Set<string>();
    for (const turns of [0, 1, 3, 8, 20]) {
      const model = await hooked();
      const cache = model.createKvCache();
      const end = endOf(() => work(model, cache));
      for (let turn = 0; turn < turns; turn++) await turnOfEventLoop();
      model.destroy();
      model.destroy();
      ends.add(await end);
      expect(await endOf(() => work(model, cache))).toBe("input/model-destroyed");
      cache.destroy();
    }
    ends.delete("done");
    expect([...ends]).toEqual(["input/model-destroyed"]);
  });
});

it.each(["forward", "captures", "reading logits", "generation", "generation with captures", "hooks in JavaScript"])(
  "%s ends when its cache does",
  async (name) => {
    using model = await hooked();
    const ends = new Set<string>();
    for (const turns of [0, 1, 3, 8]) {
      const cache = model.createKvCache();
      const end = endOf(async () => WORK[name]?.(model, cache));
      for (let turn = 0; turn < turns; turn++) await turnOfEventLoop();
      cache.destroy();
      cache.destroy();
      ends.add(await end);
    }
    ends.delete("done");
    expect([...ends]).toEqual(["input/cache-destroyed"]);
  },
);

it.each([
  ["the model of its own device", (own: Gpu) => own.destroy()],
  ["the device itself", (own: Gpu) => own.device.destroy()],
])("everything at once ends with %s, while nobody waits for it", async (_, end) => {
  const own = await newGpu();
  const model = await hooked(own);
  const cache = model.createKvCache();
  await WORK.generation?.(model, cache);
  const steps = model.generate([IDS], { maxNewTokens: 50, ignoreEos: true });
  for (let step = 0; step < 3; step++) await steps.next();
  const works = Object.values(WORK).map((work) => endOf(() => work(model, model.createKvCache())));
  works.push(endOf(() => own.idle()));
  works.push(endOf(() => tune(own)));
  works.push(endOf(() => loadFixture("gpt2", { gpu: own })));
  end(own);
  // Two runs ahead are in flight. Nobody asks for them while they fail.
  for (let turn = 0; turn < 20; turn++) await turnOfEventLoop();
  expect(new Set(await Promise.all(works))).toEqual(new Set(["gpu/device-lost"]));
  expect(await endOf(async () => drain(steps))).toBe("gpu/device-lost");
  expect(unhandled).toEqual([]);
  for (let time = 0; time < 2; time++) for (const each of [cache, model, own]) each.destroy();
});

const READOUTS: Record<string, (model: HookedModel, from: ActivationCache) => Promise<object>> = {
  logitLens: (model, from) => logitLens(model, from),
  "attribution by component": (model, from) => directLogitAttribution(model, from, { tokens: 1 }),
  "attribution by neuron": (model, from) => directLogitAttribution(model, from, { tokens: 1, by: "neuron" }),
  decomposeResid: (model, from) => decomposeResid(model, from, { heads: true }),
  accumulatedResid: (model, from) => accumulatedResid(model, from, { applyLn: "own" }),
};

it.each(Object.entries(READOUTS))("%s of a captured run ends when the model does", async (_, readOut) => {
  const ends = new Set<string>();
  for (const turns of [0, 1, 2, 4]) {
    const model = await hooked();
    using run = await model.runWithCache(IDS, { capture: (name) => name !== "logits" });
    const work = async () => {
      const result = await readOut(model, run.cache);
      if (result instanceof ResidualStack) result.destroy();
    };
    const end = endOf(work);
    for (let turn = 0; turn < turns; turn++) await turnOfEventLoop();
    model.destroy();
    ends.add(await end);
    expect(await endOf(work)).toBe("input/model-destroyed");
  }
  ends.delete("done");
  expect([...ends]).toEqual(["input/model-destroyed"]);
});

it("a hook that destroys what it runs on ends its pass", async () => {
  const model = await hooked();
  const pass = model.runWithHooks(IDS, [["blocks.0.hook_resid_post", () => void model.destroy()]]);
  await expect(pass).rejects.toMatchObject({ code: "input/model-destroyed" });
});

it("an edit's value that is destroyed before the edit runs ends the pass", async () => {
  using model = await hooked();
  const value = gpu.tensorFrom(new Float32Array(model.spec.dModel), [model.spec.dModel], "direction");
  const destroyValue = () => void value.destroy();
  const pass = model.runWithHooks(IDS, [["blocks.0.hook_resid_post", destroyValue]], {
    edits: [{ at: "blocks.1.hook_resid_post", op: "add", value }],
  });
  await expect(pass).rejects.toMatchObject({ code: "gpu/destroyed", message: expect.stringContaining("direction") });
});

it("a destroyed device is let go of", async () => {
  const references = await (async () => {
    const own = await newGpu();
    const model = await hooked(own);
    const references = [new WeakRef<object>(own), new WeakRef<object>(own.device), new WeakRef<object>(model)];
    model.destroy();
    own.destroy();
    return references;
  })();
  await turnOfEventLoop();
  await collectUntil(() => references.every((reference) => !reference.deref()));
  expect(references.map((reference) => reference.deref())).toEqual([undefined, undefined, undefined]);
});

describe("results that nobody destroyed", () => {
  /** A `Gpu` of its own on the shared device, whose books begin at none. */
  let own: Gpu;
  let model: HookedModel;
  let before: { bytes: number; buffers: number };
  beforeEach(async () => {
    notices = [];
    own = new Gpu(gpu.host);
    own.onNotice = (message) => notices.push(message);
    model = await hooked(own);
    await useAll(); // what the device keeps for itself
    before = inUse();
  });
  afterEach(() => model.destroy());

  function inUse(): { bytes: number; buffers: number } {
    own.trim();
    return { ...own.memory };
  }

  /** A function of its own, so that nothing of the result stays on the stack. */
  async function forgetPass(): Promise<void> {
    await model.runWithCache(IDS);
  }

  async function useAll(): Promise<void> {
    using result = await model.runWithCache(IDS);
    await result.cache.read("blocks.0.hook_resid_pre");
    using cache = model.createKvCache();
    using fork = cache.fork();
    using again = await model.forward([IDS], { kv: fork });
    await again.logits.read();
    await drain(model.generate(IDS, { maxNewTokens: 3 }));
  }

  it("are freed when nobody holds them, and named once, with the place", async () => {
    own.resetPeak();
    await (async () => {
      await model.runWithCache(IDS);
      model.createKvCache();
      own.tensor([64], "a tensor of the user's");
      const steps = model.generate(IDS, { maxNewTokens: 50, ignoreEos: true });
      await steps.next();
      await steps.next();
    })();
    expect(own.peakBytes).toBeGreaterThan(before.bytes + 50_000);
    await own.idle(); // tokens that were being decoded ahead
    const isBack = () => inUse().bytes === before.bytes;
    await collectUntil(isBack);
    expect(inUse()).toEqual(before);
    await forgetPass();
    await collectUntil(isBack);
    expect(inUse()).toEqual(before);
    expect(notices).toHaveLength(1);
    expect(notices[0]).toMatch(/garbage collector found (\d+ results|one result) that nobody had destroyed/);
    expect(notices[0]).toContain("using");
    expect(notices[0]).toContain("lifetimes.test.ts");
  });

  it("are told to the console once, in one name, and a notice that fails ends nothing", async () => {
    const warned = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    try {
      for (const onNotice of [undefined, () => Promise.reject(new RangeError("mine"))]) {
        const told = new Gpu(gpu.host);
        if (onNotice) told.onNotice = onNotice;
        told.ledger.forgotten({ label: "logits", size: 4, origin: undefined });
        await new Promise((resume) => setTimeout(resume, 5));
      }
      expect(warned.mock.calls).toEqual([
        [expect.stringMatching(/^superlens: the garbage collector found one result/)],
        ["superlens: onNotice failed: mine"],
      ]);
    } finally {
      warned.mockRestore();
    }
  });

  it.each([false, true])("a device that was forgotten is named unless quiet (%s)", async (quiet) => {
    const warned = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    try {
      let hasEnded = false;
      await (async () => {
        const gpu = await newGpu();
        void gpu.device.lost.then(() => {
          hasEnded = true;
        });
        gpu.endWhenForgotten("the model x", quiet);
      })();
      await turnOfEventLoop();
      const ofModel = () => warned.mock.calls.filter(([message]) => `${message}`.includes("the model x"));
      await collectUntil(() => hasEnded);
      expect(hasEnded).toBe(true);
      const named = expect.stringMatching(
        /^superlens: the garbage collector found that nobody had destroyed the model x/,
      );
      expect(ofModel()).toEqual(quiet ? [] : [[named]]);
    } finally {
      warned.mockRestore();
    }
  });

  it("are not freed while a tensor, a buffer or an entry of theirs is held", async () => {
    const name = "blocks.1.hook_resid_post";
    const { tensor, buffer, entry, expected } = await (async () => {
      const [first, second, third] = [
        await model.runWithCache(IDS),
        await model.runWithCache(IDS),
        await model.runWithCache(IDS),
      ] as const;
      const entry: CacheEntry = third.cache.at(name);
      const { buffer } = second.cache.tensor(name);
      return { tensor: first.cache.tensor(name), buffer, entry, expected: await first.cache.read(name) };
    })();
    await collectGarbage();
    await useAll(); // would write over what was freed too early
    expect(await tensor.read()).toEqual(expected);
    expect(await entry.cache.read(name)).toEqual(expected);
    using target = own.tensor([expected.length], "copy");
    const encoder = own.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, target.buffer, 0, 4 * expected.length);
    await own.guard("the copy", () => own.device.queue.submit([encoder.finish()]));
    expect(await target.read()).toEqual(expected);
  });

  it("a forgotten cache leaves its forks what they share, and gives them its slots", async () => {
    using fork = await (async () => {
      const cache = model.createKvCache({ capacity: 16 });
      (await model.forward([IDS], { kv: cache })).destroy();
      const fork = cache.fork();
      (await model.forward([[1, 2, 3, 4, 5, 6, 7, 8]], { kv: cache })).destroy();
      return fork;
    })();
    await collectUntil(() => notices.length > 0);
    using result = await model.forward([[9, 10, 11, 12, 13, 14, 15, 16]], { kv: fork });
    using whole = await model.forward([...IDS, 9, 10, 11, 12, 13, 14, 15, 16], { logits: "last" });
    const last = await result.logits.at(0, -1);
    (await whole.logits.at(0, -1)).forEach((value, token) => {
      expect(last[token]).toBeCloseTo(value, 4);
    });
    // 4 tokens and 8, in the slots of the 8 that were forgotten.
    expect(fork.store.capacity).toBe(16);
    expect(notices[0]).toContain("key-value cache");
  });

  it("never come to be many, though nobody asks for a collection", async () => {
    // A busy machine tells late what it has collected. Nothing is collected by waiting.
    const areFew = () => expect(own.memory.buffers).toBeLessThan(3000);
    for (let turn = 0; turn < 120; turn++) {
      await model.runWithCache(IDS);
      await vi.waitFor(areFew, { timeout: 20_000 });
    }
  });

  it("end in an error that says what to do before the process has no room, and there is room again after", async () => {
    const memoryLeft = () => ({ bytes: 2 ** 40, buffers: 1000 - (made?.memory.buffers ?? 0) });
    let made: Gpu | undefined;
    const tight = new Gpu({ ...gpu.host, memoryLeft });
    made = tight;
    const limited = await hooked(tight);
    const held: { destroy(): void }[] = [];
    const fill = async () => {
      for (let turn = 0; turn < 60; turn++) held.push(await limited.runWithCache(IDS));
    };
    const error = await fill().catch((caught: SuperlensError) => caught);
    expect(error).toMatchObject({ name: "GpuError", code: "gpu/out-of-memory" });
    expect((error as Error).message).toMatch(/no room for .* beside .* [kM]B in \d+ buffers \(.*blocks\.\*/);
    expect((error as Error).message).toContain("destroy()");
    expect((error as Error).message).toContain("lifetimes.test.ts");
    for (const result of held) result.destroy();
    (await limited.runWithCache(IDS)).destroy();
    limited.destroy();
  });
});
