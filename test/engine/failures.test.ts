/**
 * What goes wrong in the engine is a typed error that names the thing, and leaves neither memory nor the model in a state
 * that was not there before.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TensorEntry } from "../../src/checkpoint/index.ts";
import {
  type CheckpointError,
  type ConfigError,
  GpuError,
  type InputError,
  type SuperlensError,
} from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { defineKernel } from "../../src/gpu/kernel.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import { combine } from "../../src/kernels/calls.ts";
import { type LoadOptions, loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import {
  changeTensors,
  type FixtureFiles,
  fixtureFiles,
  loadFixture,
  randomIds,
  readLogits,
  sourceOf,
  valuesOf,
} from "../support/fixtures.ts";
import { newGpu, ownGpu } from "../support/gpu.ts";

/** A `Gpu` of this file's own, so that its memory can be counted. */
let gpu: Gpu;
beforeAll(async () => {
  gpu = await ownGpu();
});
afterAll(() => gpu.trim());

/** The error `run` fails with, which must be one of ours. */
async function failure<Failure extends SuperlensError>(run: () => unknown): Promise<Failure> {
  try {
    await run();
  } catch (error) {
    if (error instanceof Error && "code" in error) return error as Failure;
    throw error;
  }
  throw new Error("nothing failed");
}

// biome-ignore lint/suspicious/noSparseArray: a hole is what this is about.
const HOLE: number[] = [1, , 2] as number[];

/** Buffers and bytes in use, those kept for reuse left out. */
function memory(): { bytes: number; buffers: number } {
  gpu.trim();
  return { ...gpu.memory };
}

const named = (files: FixtureFiles, name: string, change: (tensor: TensorEntry) => TensorEntry | undefined) =>
  changeTensors(files, (tensor) => (tensor.name === name ? change(tensor) : tensor));

function withElement(tensor: TensorEntry, index: number, value: number): TensorEntry {
  const values = valuesOf(tensor).slice();
  values[index] = value;
  return { ...tensor, data: values };
}

describe("weights that cannot be loaded", () => {
  const Q = "model.layers.1.self_attn.q_proj.weight";
  const K = "model.layers.1.self_attn.k_proj.weight";
  const cases: [
    name: string,
    change: (files: FixtureFiles) => FixtureFiles,
    code: string,
    texts: string[],
    options?: LoadOptions,
  ][] = [
    [
      "a missing matrix",
      (files) => named(files, Q, () => undefined),
      "checkpoint/missing-tensor",
      [Q, "Nearest: model.layers."],
    ],
    [
      "a missing final norm",
      (files) => named(files, "model.norm.weight", () => undefined),
      "checkpoint/missing-tensor",
      ["model.norm.weight"],
    ],
    [
      "a matrix the wrong way round",
      (files) => named(files, K, (tensor) => ({ ...tensor, shape: tensor.shape.toReversed() })),
      "checkpoint/shape",
      [K, "[32, 16]", "[16, 32]"],
    ],
    [
      "a vector of another length",
      (files) =>
        named(files, "model.layers.0.input_layernorm.weight", (tensor) => ({
          ...tensor,
          shape: [8],
          data: new Float32Array(8),
        })),
      "checkpoint/shape",
      ["model.layers.0.input_layernorm.weight", "[8]", "[32]"],
    ],
    [
      "a matrix with rows missing",
      (files) =>
        named(files, "model.embed_tokens.weight", (tensor) => ({
          ...tensor,
          shape: [5, 32],
          data: new Float32Array(160),
        })),
      "checkpoint/shape",
      ["model.embed_tokens.weight", "[5, 32]", "[96, 32]"],
    ],
    ["integers", (files) => named(files, Q, (tensor) => ({ ...tensor, dtype: "I32" })), "checkpoint/dtype", [Q, "I32"]],
    [
      "a NaN, when asked to look",
      (files) => named(files, Q, (tensor) => withElement(tensor, 17, Number.NaN)),
      "checkpoint/not-finite",
      [Q, "NaN"],
      { checkFinite: true },
    ],
    [
      "an infinity in a norm, when asked to look",
      (files) => named(files, "model.norm.weight", (tensor) => withElement(tensor, 31, Number.NEGATIVE_INFINITY)),
      "checkpoint/not-finite",
      ["model.norm.weight"],
      { checkFinite: true },
    ],
  ];
  it.each(cases)("%s", async (_, change, code, texts, options) => {
    const source = sourceOf(change(await fixtureFiles("llama")));
    const before = memory();
    const error = await failure<CheckpointError>(() => loadParts(source, { ...options, gpu }));
    expect(error).toMatchObject({ name: "CheckpointError", code });
    for (const text of texts) expect(error.message).toContain(text);
    expect(memory()).toEqual(before);
  });

  it("fewer learned positions than the config has", async () => {
    const files = named(await fixtureFiles("gpt2"), "transformer.wpe.weight", (tensor) => ({
      ...tensor,
      shape: [10, tensor.shape[1] as number],
      data: new Float32Array(10 * (tensor.shape[1] as number)),
    }));
    const before = memory();
    const error = await failure<CheckpointError>(() => loadParts(sourceOf(files), { gpu }));
    expect(error).toMatchObject({ code: "checkpoint/shape" });
    expect(error.message).toContain("transformer.wpe.weight");
    expect(memory()).toEqual(before);
  });

  it("heads of a width no kernel runs", async () => {
    const files = await fixtureFiles("llama");
    const model = await loadFixture("llama", { gpu });
    const spec = {
      ...model.spec,
      dHead: 6,
      ropes: [],
      layers: model.spec.layers.map(() => ({ window: null, rope: null })),
    };
    model.destroy();
    const before = memory();
    const source = sourceOf({ ...files, config: { model_type: "custom", spec } });
    const error = await failure<ConfigError>(() => loadParts(source, { gpu }));
    expect(error).toMatchObject({ name: "ConfigError", code: "config/unsupported" });
    expect(error.message).toContain("dHead = 6");
    expect(memory()).toEqual(before);
  });

  it("a NaN is loaded when nobody asked to look", async () => {
    const Q0 = "model.layers.0.self_attn.q_proj.weight";
    const files = named(await fixtureFiles("llama"), Q0, (tensor) => withElement(tensor, 0, Number.NaN));
    using model = new Model(await loadParts(sourceOf(files), { gpu }));
    expect((await readLogits(model.forward([1, 2, 3]))).some(Number.isNaN)).toBe(true);
  });

  it("an abort ends loading", async () => {
    const before = memory();
    const reason = new Error("enough");
    await expect(loadFixture("llama", { gpu, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(memory()).toEqual(before);
  });
});

describe("input that cannot be run", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadFixture("llama", { gpu });
    expect(model.spec).toMatchObject({ maxPositions: 128, vocabSize: 96, dModel: 32 });
    await readLogits(model.forward([1, 2]));
  });
  afterAll(() => model.destroy());

  const ids = (count: number) => Array.from({ length: count }, () => 1);
  const cases: [name: string, run: () => Promise<unknown>, code: string, text: string][] = [
    ["a token id beyond the vocabulary", () => model.forward([1, 96]), "input/token-range", "token id 96"],
    [
      "no token id",
      () => model.forward([1, undefined] as never),
      "input/token-range",
      "has token id undefined (entry 1)",
    ],
    ["a hole among ids", () => model.forward(HOLE), "input/token-range", "has token id undefined (entry 1)"],
    ["a negative token id", () => model.forward([[1], [2, -1]]), "input/token-range", "Sequence 1 has token id -1"],
    ["a token id that is no whole number", () => model.forward([1.5]), "input/token-range", "1.5"],
    ["an empty batch", () => model.forward([]), "input/empty", "batch is empty"],
    ["an empty sequence", () => model.forward([[1], []]), "input/empty", "Sequence 1 is empty"],
    ["text without a tokenizer", () => model.forward("hello"), "input/no-tokenizer", "tokenizer.json"],
    ["a prompt longer than the context", () => model.forward(ids(129)), "input/too-long", "129 tokens"],
    ["a prompt far longer", () => model.forward(ids(3_000_000)), "input/too-long", "3000000 tokens"],
    [
      "logits of a position that is not there",
      () => model.forward([1, 2], { logits: [2] }),
      "input/position-range",
      "position 2",
    ],
    [
      "embeddings of a broken shape",
      () => model.forward({ inputsEmbeds: [new Float32Array(33)] }),
      "input/embeds-shape",
      "33 numbers",
    ],
    ["no embeddings", () => model.forward({ inputsEmbeds: [] }), "input/empty", "inputsEmbeds"],
  ];
  it.each(cases)("%s", async (_, run, code, text) => {
    const before = memory();
    const error = await failure<InputError>(run);
    expect(error).toMatchObject({ name: "InputError", code });
    expect(error.message).toContain(text);
    expect(memory()).toEqual(before);
  });

  it("a cache that ends before the prompt does keeps what it had", async () => {
    using cache = model.createKvCache({ sequences: 2 });
    (await model.forward([[1, 2, 3], [4]], { kv: cache, logits: "none" })).destroy();
    const error = await failure<InputError>(() => model.forward([[5], ids(128)], { kv: cache }));
    expect(error).toMatchObject({ name: "InputError", code: "input/too-long" });
    expect(error.message).toContain("Sequence 1");
    const range = await failure<InputError>(() => model.forward([[5], [96]], { kv: cache }));
    expect(range.code).toBe("input/token-range");
    expect(cache.lengths).toEqual([3, 1]);
  });

  it("caches that do not fit the input", async () => {
    const before = memory();
    using other = await loadFixture("gpt2", { gpu });
    const foreign = other.createKvCache();
    const cache = model.createKvCache();
    const embeds = { inputsEmbeds: [new Float32Array(32), new Float32Array(32)] };
    expect((await failure(() => model.forward([1], { kv: foreign }))).code).toBe("input/cache-model");
    expect((await failure(() => model.forward(embeds, { kv: cache }))).code).toBe("input/cache-batch");
    expect((await failure(() => cache.fork([1]))).code).toBe("input/no-sequence");
    cache.destroy();
    expect((await failure(() => model.forward({ inputsEmbeds: [new Float32Array(32)] }, { kv: cache }))).code).toBe(
      "input/cache-destroyed",
    );
    foreign.destroy();
    other.destroy();
    expect((await failure(() => other.forward([1]))).code).toBe("input/model-destroyed");
    expect(memory()).toEqual(before);
  });

  it("an abort between chunks leaves the cache as it was", async () => {
    using cache = model.createKvCache();
    model.engine.maxRowsPerPass = 2;
    const stop = new AbortController();
    const forward = model.forward(ids(50), { kv: cache, signal: stop.signal });
    setTimeout(() => stop.abort(), 0);
    await expect(forward).rejects.toMatchObject({ name: "AbortError" });
    model.engine.maxRowsPerPass = 2048;
    expect(cache.lengths).toEqual([0]);
    const again = await readLogits(model.forward(ids(5), { kv: cache }));
    expect(again).toEqual(await readLogits(model.forward(ids(5))));
  });
});

describe("memory that is not there", () => {
  it("a cache beyond the adapter's binding", async () => {
    using model = await loadFixture("llama", { gpu });
    const before = memory();
    const error = await failure<GpuError>(() => model.createKvCache({ capacity: 2 ** 31 }));
    expect(error).toMatchObject({ name: "GpuError", code: "gpu/out-of-memory" });
    expect(error.message).toContain("cache of 2147483648 tokens");
    expect(memory()).toEqual(before);
  });

  it("a buffer beyond the adapter's largest", async () => {
    const error = await failure<GpuError>(() => gpu.tensor([gpu.limits.maxBufferSize], "giant"));
    expect(error).toMatchObject({ name: "GpuError", code: "gpu/out-of-memory" });
    expect(error.message).toContain("giant");
  });

  it("temporaries the device refuses; the next recording is fine", async () => {
    // lavapipe grants any amount; SwiftShader not one buffer of the largest size it allows, and GPUs not 500.
    const own = await newGpu(process.platform === "linux" ? "swiftshader" : "auto");
    const x = own.tensorFrom(Float32Array.of(1, 2, 3), [3], "x");
    const sum = own.tensor([3], "sum");
    const before = { ...own.memory };
    const record = (recorder: Recorder) => {
      for (let i = 0; i < 500; i++) recorder.temp(Math.floor(own.limits.maxBufferSize / 4));
      combine(recorder, x, recorder.temp(3), 3, "add");
    };
    const error = await failure<GpuError>(() => Recorder.run(own, "too much", record));
    expect(error).toMatchObject({ name: "GpuError", code: "gpu/out-of-memory" });
    expect(error.message).toMatch(/no memory for \d+ bytes \(temporary/);
    // Nothing of it is in the pool: asking again is refused again.
    expect((await failure<GpuError>(() => Recorder.run(own, "too much again", record))).code).toBe("gpu/out-of-memory");
    await Recorder.run(own, "again", (recorder) => combine(recorder, x, sum, 3, "add"));
    expect([...(await sum.read())]).toEqual([1, 2, 3]);
    own.trim();
    // What stays: parameters, the operand that was used, a readback buffer.
    expect(own.memory.bytes - before.bytes).toBeLessThan(100_000);
    own.destroy();
  });
});

describe("a device that is lost", () => {
  it("in mid-run fails the run, and everything after it", async () => {
    const own = await newGpu();
    const model = await loadFixture("llama", { gpu: own });
    const logits = await model.forward([1, 2, 3]);
    const reading = failure<GpuError>(() => logits.read());
    const running = failure<GpuError>(() => readLogits(model.forward(randomIds(model, 1, 100))));
    own.device.destroy();
    for (const error of [await reading, await running, await failure<GpuError>(() => model.forward([1]))]) {
      expect(error).toBeInstanceOf(GpuError);
      expect(error.code).toBe("gpu/device-lost");
      expect(error.message).toContain("load the model again");
    }
    expect((await failure<GpuError>(() => loadFixture("llama", { gpu: own }))).code).toBe("gpu/device-lost");
    logits.destroy();
    model.destroy();
  });

  it("while weights are loading fails the loading", async () => {
    const own = await newGpu();
    const before = { ...own.memory };
    const loading = failure<GpuError>(() => loadFixture("gpt2", { gpu: own }));
    setTimeout(() => own.device.destroy(), 0);
    expect((await loading).code).toBe("gpu/device-lost");
    expect(own.memory).toEqual(before);
  });
});

describe("kernels that are wrong", () => {
  const HEAD = `struct Params { count: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read_write> out: array<f32>;`;
  const kernel = (name: string, body: string) =>
    defineKernel({ name, sources: [HEAD, body], bindings: { out: "write" }, params: { count: "u32" } });
  const run = (wrong: ReturnType<typeof kernel>) =>
    Recorder.run(gpu, "wrong kernel", (recorder) => {
      recorder.dispatch(wrong, { params: { count: 1 }, buffers: { out: recorder.temp(4) }, workgroups: [1] });
    });

  it("a shader that does not compile: kernel, line, text", async () => {
    const before = memory();
    const broken = kernel("broken kernel", "@compute @workgroup_size(1)\nfn main() {\n  out[0] = nothing;\n}");
    const error = await failure<GpuError>(() => run(broken));
    expect(error).toMatchObject({ name: "GpuError", code: "gpu/shader" });
    for (const text of ["broken kernel", "line 6", "out[0] = nothing;"]) expect(error.message).toContain(text);
    expect((await failure<GpuError>(() => run(broken))).code).toBe("gpu/shader");
    expect(memory()).toEqual(before);
  });

  it("a buffer that is missing or misspelt, which does not compile: kernel, names", async () => {
    const right = kernel("right kernel", "@compute @workgroup_size(1)\nfn main() {\n  out[0] = f32(params.count);\n}");
    using out = gpu.tensor([1], "out");
    const call = { params: { count: 1 }, workgroups: [1] } as const;
    const wrong: Record<string, (recorder: Recorder) => void> = {
      // @ts-expect-error `out` is missing.
      none: (recorder) => recorder.dispatch(right, { ...call, buffers: {} }),
      // @ts-expect-error `out` is misspelt.
      output: (recorder) => recorder.dispatch(right, { ...call, buffers: { output: out } }),
    };
    for (const [names, record] of Object.entries(wrong)) {
      const error = await failure<GpuError>(() => Recorder.run(gpu, "wrong call", record));
      expect(error).toMatchObject({ name: "GpuError", code: "gpu/binding" });
      expect(error.message).toContain(`right kernel has no buffer for out; it was given ${names}.`);
    }
    await run(right);
  });
});

describe("what runs often", () => {
  it("200 forwards leave memory and bind groups where they were", async () => {
    using model = await loadFixture("gemma2", { gpu });
    const twoForwards = async (index: number) => {
      using cache = model.createKvCache({ capacity: 4 });
      await readLogits(model.forward(randomIds(model, index, 1 + (index % 13)), { kv: cache }));
      await readLogits(model.forward([3], { kv: cache, logits: "last" }));
    };
    for (let index = 0; index < 13; index++) await twoForwards(index);
    const held = () => ({ ...gpu.pipelines.held, ...gpu.bindGroups.held });
    const [before, early] = [{ ...gpu.memory }, held()];
    for (let index = 0; index < 100; index++) await twoForwards(index);
    expect(gpu.memory).toEqual(before);
    expect(held()).toEqual(early);
  });

  it("a model that is destroyed leaves nothing", async () => {
    const live = async () => {
      const model = await loadFixture("bloom", { gpu });
      await readLogits(model.forward(randomIds(model, 1, 100)));
      model.destroy();
      model.destroy();
      return memory();
    };
    expect(await live()).toEqual(await live());
  });
});
