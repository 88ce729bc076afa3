/** Models whose blocks are read again in each pass give what resident ones give, to the bit, and read each block as often as is said. */
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { FilesSource } from "../../src/checkpoint/index.ts";
import type { CheckpointSource } from "../../src/checkpoint/source.ts";
import { MemoryStore } from "../../src/checkpoint/store.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { BufferSlice } from "../../src/gpu/recorder.ts";
import { compareModels, type HookedModel, loadModel, metric } from "../../src/hooks/index.ts";
import { combine } from "../../src/kernels/calls.ts";
import type { LoadOptions, ModelSource } from "../../src/model/load.ts";
import type { LayerStream } from "../../src/model/weights/stream.ts";
import { initialWeights } from "../../src/train/initialise.ts";
import { saveModel } from "../../src/train/save.ts";
import { train } from "../../src/train/train.ts";
import { entryOf, type FixtureFiles, fixtureFiles, sourceOf, valuesOf } from "../support/fixtures.ts";
import { ownGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";

/** Fixtures have two or three blocks, and windows as many. This one has five. */
const FIVE_BLOCKS = initialWeights(
  {
    model_type: "llama",
    ...{ hidden_size: 32, intermediate_size: 48, num_hidden_layers: 5, num_attention_heads: 4, vocab_size: 64 },
    ...{ max_position_embeddings: 64, rms_norm_eps: 1e-6 },
  },
  { seed: 4 },
);

const folderOf = (name: string) => fileURLToPath(new URL(`../fixtures/families/${name}`, import.meta.url));

let gpu: Gpu;
beforeAll(async () => {
  gpu = await ownGpu();
});
afterAll(() => gpu.trim());

const streamOf = (model: HookedModel) => model.engine.weights.stream as LayerStream;

/** The model twice: resident, and streamed. */
async function both(
  source: ModelSource,
  options: LoadOptions,
  use: (resident: HookedModel, streamed: HookedModel) => Promise<void>,
): Promise<void> {
  using resident = await loadModel(source, { gpu, ...options });
  using streamed = await loadModel(source, { gpu, ...options, residency: "streamed" });
  await use(resident, streamed);
}

const IDS = [
  [5, 9, 2, 17, 3, 3, 8, 11, 40, 2],
  [7, 1, 30],
];

/** Every number of a pass that is edited and looked at. */
async function numbersOf(model: HookedModel): Promise<Record<string, Float32Array>> {
  const last = model.spec.nLayers - 1;
  using result = await model.forward(IDS, {
    capture: ["*.hook_resid_post", "*.hook_attn_scores", "*.hook_z", "ln_final.*"],
    edits: [
      { at: "blocks.0.hook_attn_out", op: "scale", value: 1.5, positions: [1] },
      { at: `blocks.${last}.attn.hook_z`, op: "zero", heads: [0] },
    ],
  });
  const numbers: Record<string, Float32Array> = { logits: await result.logits.read() };
  for (const name of result.cache.names) numbers[name] = await result.cache.read(name);
  return numbers;
}

/** Layouts, tied heads, several windows, experts in all blocks, and dense blocks beside blocks with experts. */
const FAMILIES = [
  "gpt2",
  "llama",
  "gemma2",
  "bloom",
  "phi",
  "olmo2",
  "../types/mixtral",
  "../types/dots1",
  "../types/gemma4_text_ple",
];

describe.each(byDay(FAMILIES, ["gpt2", "gemma2", "../types/dots1", "../types/gemma4_text_ple"]))("%s", (family) => {
  it("streamed, gives the resident model's numbers to the bit", async () => {
    await both(folderOf(family), {}, async (resident, streamed) => {
      expect(await numbersOf(streamed)).toEqual(await numbersOf(resident));
      expect(streamOf(streamed).layers).toEqual(resident.spec.layers.map((_, layer) => layer));
      expect(streamOf(streamed).reads).toBe(resident.spec.nLayers);
    });
  });
});

it("any other way to keep weights may be streamed, too", async () => {
  for (const options of [{ weights: "q8_0" }, { dtype: "float32" }] as LoadOptions[])
    await both(folderOf("qwen2"), options, async (resident, streamed) => {
      expect(await numbersOf(streamed)).toEqual(await numbersOf(resident));
    });
});

it("as many blocks stay as residentBytes has room for, and passes read the others", async () => {
  using resident = await loadModel(FIVE_BLOCKS, { gpu });
  const { nLayers } = resident.spec;
  const expected = await numbersOf(resident);
  const weightsOf = async (options: LoadOptions) => {
    gpu.trim();
    const before = gpu.memory.bytes;
    const model = await loadModel(FIVE_BLOCKS, { gpu, residency: "streamed", ...options });
    return { model, bytes: gpu.memory.bytes - before };
  };
  const least = await weightsOf({});
  const whole = await weightsOf({ residentBytes: 1e9 });
  expect(whole.model.engine.isStreamed).toBe(false);
  const ofBlock = (whole.bytes - least.bytes) / (nLayers - 2);
  const some = await weightsOf({ residentBytes: Math.ceil(least.bytes + ofBlock) });
  expect(some.bytes).toBe(least.bytes + ofBlock);
  expect(streamOf(some.model).layers).toHaveLength(nLayers - 1);
  expect(await numbersOf(some.model)).toEqual(expected);
  expect(streamOf(some.model).reads).toBe(nLayers - 1);
  for (const { model } of [least, whole, some]) model.destroy();
  await expect(
    loadModel(FIVE_BLOCKS, { gpu, residency: "streamed", residentBytes: least.bytes - 1 }),
  ).rejects.toMatchObject({ code: "input/resident-bytes", message: expect.stringContaining(`needs ${least.bytes} `) });
  await expect(loadModel(FIVE_BLOCKS, { gpu, residentBytes: 1e9 })).rejects.toMatchObject({
    code: "input/idle-option",
  });
});

it("passes at the same time, and in each other's callbacks, find their own weights", async () => {
  await both(FIVE_BLOCKS, {}, async (resident, streamed) => {
    const logitsOf = async (model: HookedModel, ids: number[]) => {
      using result = await model.forward(ids);
      return await result.logits.read();
    };
    const together = (model: HookedModel) => Promise.all(IDS.map((ids) => logitsOf(model, ids)));
    const alone = await together(resident);
    const { submits } = gpu.counters;
    await logitsOf(streamed, IDS[0] as number[]);
    // What is before the blocks, each block, and the readback of logits, which is not counted.
    expect(gpu.counters.submits - submits).toBe(1 + streamed.spec.nLayers);
    expect(await together(streamed)).toEqual(alone);
    const inner: Float32Array[] = [];
    const hook = async () => {
      inner.push(await logitsOf(streamed, IDS[1] as number[]));
      return undefined;
    };
    const hooks = { "blocks.0.hook_resid_mid": hook, "blocks.1.attn.hook_z": hook };
    using result = await streamed.runWithHooks(IDS[0] as number[], hooks);
    expect(await result.logits.read()).toEqual(alone[0]);
    expect(inner).toEqual([alone[1], alone[1]]);
  });
});

it("generates the same tokens, and reads the blocks for each", async () => {
  await both(FIVE_BLOCKS, {}, async (resident, streamed) => {
    const tokensOf = async (model: HookedModel) => {
      using kv = model.createKvCache();
      const tokens: (number | undefined)[] = [];
      const sampling = { temperature: 1, seed: 3, ignoreEos: true };
      for await (const step of model.generate(IDS[0] as number[], { kv, maxNewTokens: 6, ...sampling }))
        tokens.push(step.tokens[0]);
      using next = await model.forward([tokens.at(-1) as number], { kv });
      return { tokens, logits: await next.logits.read() };
    };
    expect(await tokensOf(streamed)).toEqual(await tokensOf(resident));
    expect(streamOf(streamed).reads).toBe(7 * streamed.spec.nLayers);
  });
});

it("a sweep reads each block once for all its cells, and once for the base run", async () => {
  await both(FIVE_BLOCKS, {}, async (resident, streamed) => {
    const { nLayers, nHeads } = resident.spec;
    const cells = Array.from({ length: nLayers * nHeads }, (_, cell) => [
      { at: `blocks.${Math.floor(cell / nHeads)}.attn.hook_z`, op: "zero" as const, heads: [cell % nHeads] },
    ]);
    const swept = (model: HookedModel) => {
      model.engine.maxRowsPerPass = 25; // two cells a batch
      return model.sweep({ input: IDS[0] as number[], cells, metric: metric.logits([1, 2, 3]) });
    };
    const expected = await swept(resident);
    expect(expected.work.passes).toBeGreaterThan(nLayers);
    expect(await swept(streamed)).toEqual(expected);
    expect(streamOf(streamed).reads).toBe(2 * nLayers);
  });
});

it("gradients are the resident model's; training is refused", async () => {
  await both(folderOf("gpt2"), {}, async (resident, streamed) => {
    const gradients = async (model: HookedModel) => {
      using result = await model.backward(IDS[0] as number[], {
        metric: metric.logitDiff(5, 7),
        at: "*.hook_resid_pre",
        weights: ["*h.0.attn.c_attn.weight"],
      });
      const grads = await Promise.all(result.grads.names.map((name) => result.grads.read(name)));
      return { value: result.value, grads, ofWeight: await result.weights.read(result.weights.names[0] as string) };
    };
    expect(await gradients(streamed)).toEqual(await gradients(resident));
  });
  using model = await loadModel(folderOf("gpt2"), { gpu, residency: "streamed", dtype: "float32" });
  const data = async function* () {
    yield { ids: [[1, 2, 3]] };
  };
  await expect(train({ model, data, steps: 1, schedule: { lr: 1e-3 } })).rejects.toMatchObject({
    code: "train/streamed",
    message: expect.stringContaining("residency"),
  });
});

it("weights are read, saved, processed and compared as those of a resident model", async () => {
  await both(folderOf("gpt2"), {}, async (resident, streamed) => {
    expect(streamed.weightNames()).toEqual(resident.weightNames());
    for (const name of resident.weightNames()) expect(await streamed.weight(name)).toEqual(await resident.weight(name));
    const [one, other] = [new MemoryStore(), new MemoryStore()];
    await saveModel(resident, one);
    await saveModel(streamed, other);
    const file = (store: MemoryStore) => store.source().readAll("model.safetensors");
    expect(await file(other)).toEqual(await file(one));
    using folded = await streamed.processed();
    using expected = await resident.processed();
    expect(await numbersOf(folded)).toEqual(await numbersOf(expected));
    expect((await compareModels(resident, streamed, IDS)).largestKl).toBeLessThan(1e-15);
  });
});

describe("what goes wrong in a pass", () => {
  it("a kernel that reads two blocks at once is refused", async () => {
    using model = await loadModel(FIVE_BLOCKS, { gpu, residency: "streamed" });
    const [first, second] = model.engine.weights.blocks.map(({ W_O }) => W_O.parts[0] as BufferSlice);
    const record = () =>
      model.engine.record("two blocks", (recorder) =>
        combine(recorder, first as BufferSlice, second as BufferSlice, 4, "add"),
      );
    await expect(record()).rejects.toMatchObject({ code: "gpu/streamed-together" });
  });

  /** A source whose reads fail, wait or are counted. */
  function guarded(
    files: FixtureFiles,
  ): CheckpointSource & { before: (() => Promise<void>) | undefined; isClosed: boolean } {
    const inner = sourceOf(files) as FilesSource;
    const source = {
      label: "guarded",
      before: undefined as (() => Promise<void>) | undefined,
      isClosed: false,
      exists: (file: string) => inner.exists(file),
      size: (file: string) => inner.size(file),
      readAll: (file: string) => inner.readAll(file),
      async read(file: string, start: number, end: number) {
        await source.before?.();
        return inner.read(file, start, end);
      },
      async close() {
        source.isClosed = true;
      },
    };
    return source;
  }

  it("a failed read is the pass's error, and the next pass is whole", async () => {
    const source = guarded(await fixtureFiles("llama"));
    using model = await loadModel(source, { gpu, residency: "streamed" });
    const pass = async () => {
      using result = await model.forward(IDS);
      return await result.logits.read();
    };
    const expected = await pass();
    let reads = 0;
    source.before = async () => {
      if (++reads > 5) throw new Error("the disk is gone");
    };
    using kv = model.createKvCache({ sequences: 2 });
    await expect(model.forward(IDS, { kv })).rejects.toThrow("the disk is gone");
    expect(kv.lengths).toEqual([0, 0]);
    source.before = undefined;
    expect(await pass()).toEqual(expected);
  });

  it("an abort ends the wait for a read, and nothing of the pass is submitted later", async () => {
    const source = guarded(await fixtureFiles("llama"));
    const loading = new AbortController();
    using model = await loadModel(source, { gpu, residency: "streamed", signal: loading.signal });
    loading.abort(new Error("the load is over")); // and means nothing now
    let goOn = () => {};
    const controller = new AbortController();
    source.before = () =>
      new Promise((resolve) => {
        goOn = resolve;
        // By then the pass waits for this read, with what it will submit.
        setTimeout(() => controller.abort(new Error("enough")), 150);
      });
    using kv = model.createKvCache({ sequences: 2 }); // what is submitted late would find it
    const pass = model.forward(IDS, { kv, signal: controller.signal });
    await expect(pass).rejects.toThrow("enough");
    source.before = undefined;
    const { submits } = gpu.counters;
    goOn();
    await streamOf(model).settled();
    expect(gpu.counters.submits).toBe(submits);
    using result = await model.forward(IDS);
    using resident = await loadModel(folderOf("llama"), { gpu });
    using expected = await resident.forward(IDS);
    expect(await result.logits.read()).toEqual(await expected.logits.read());
  });

  it("a model that is destroyed meanwhile says so, gives its memory back and closes its source", async () => {
    gpu.trim();
    const before = gpu.memory.bytes;
    const source = guarded(await fixtureFiles("llama"));
    const model = await loadModel(source, { gpu, residency: "streamed" });
    expect(source.isClosed).toBe(false);
    source.before = () =>
      new Promise((resolve) => {
        setTimeout(() => {
          model.destroy();
          resolve();
        }, 150);
      });
    const pass = model.forward(IDS);
    await expect(pass).rejects.toMatchObject({ code: "input/model-destroyed" });
    await expect.poll(() => source.isClosed).toBe(true);
    gpu.trim();
    expect(gpu.memory.bytes).toBe(before);
  });

  it("checkFinite reads what is streamed while the model is loaded", async () => {
    const { config, tensors } = await fixtureFiles("llama");
    const broken = tensors.map((tensor) => {
      if (!/layers\.1\.mlp\.down_proj/.test(tensor.name)) return tensor;
      const values = valuesOf(tensor).slice();
      values[3] = Number.NaN;
      return entryOf(tensor.name, tensor.shape, values);
    });
    const source = () => sourceOf({ config, tensors: broken });
    await expect(loadModel(source(), { gpu, residency: "streamed", checkFinite: true })).rejects.toMatchObject({
      code: "checkpoint/not-finite",
    });
    using model = await loadModel(source(), { gpu, residency: "streamed" });
    expect(model.engine.isStreamed).toBe(true);
  });
});
