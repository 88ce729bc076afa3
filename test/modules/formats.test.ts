/** Every format of dictionaries, written here by hand and computed by its formula in plain numbers. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CheckpointSource } from "../../src/checkpoint/index.ts";
import { type DictionaryOptions, type HookedModel, loadDictionary, metric } from "../../src/hooks/index.ts";
import { relativeError } from "../support/numbers.ts";
import { type Arrays, filesOf, linear, npy, randomArrays, stored, topK, zip } from "./files.ts";
import { hooked } from "./support.ts";

const WIDTH = 32;
const FEATURES = 37;
const IDS = [
  [5, 6, 7, 8, 9, 10, 11],
  [12, 13, 14],
];
const SAE_SHAPES = { W_enc: [WIDTH, FEATURES], W_dec: [FEATURES, WIDTH], b_enc: [FEATURES], b_dec: [WIDTH] };

let model: HookedModel;
beforeAll(async () => {
  model = await hooked("gpt2");
});
afterAll(() => model.destroy());

const relu = (x: Float64Array) => x.map((value) => Math.max(0, value));
const jump = (x: Float64Array, threshold: ArrayLike<number>) =>
  x.map((value, i) => (value > threshold[i % threshold.length]! ? Math.max(0, value) : 0));
const minus = (x: ArrayLike<number>, b: ArrayLike<number>) =>
  Float64Array.from(x, (value, i) => value - b[i % b.length]!);
const plus = (x: ArrayLike<number>, y: ArrayLike<number>) => Float64Array.from(x, (value, i) => value + y[i]!);

/** Rows of the second sequence's padding are left out: they hold nothing. */
const real = (values: Float32Array, width: number) =>
  Float64Array.from([...values.subarray(0, 7 * width), ...values.subarray(7 * width, 10 * width)]);

interface Seen {
  readonly input: Float64Array;
  readonly acts: Float64Array;
  readonly output: Float64Array;
}

/** What a dictionary of one block reads and gives in the model. */
async function seen(source: CheckpointSource, options: DictionaryOptions = {}): Promise<Seen> {
  using dictionary = await loadDictionary(model, source, options);
  using spliced = model.withModules(dictionary, { error: false });
  const [module] = dictionary.modules;
  const [input, acts] = ["hook_sae_input", "hook_sae_acts_post"].map((point) => `${dictionary.hook}.${point}`) as [
    string,
    string,
  ];
  using result = await spliced.forward(IDS, { capture: [input, acts, module!.hookOut] });
  const read = async (name: string, width: number) => real(await result.cache.read(name), width);
  return {
    input: await read(input, module!.dIn),
    acts: await read(acts, module!.dSae),
    output: await read(module!.hookOut, module!.dOut),
  };
}

function expectSeen({ acts, output }: Seen, expectedActs: Float64Array, expectedOutput: Float64Array): void {
  expect(expectedActs.filter((value) => value > 0).length).toBeGreaterThan(20);
  expect(relativeError(acts, expectedActs)).toBeLessThan(1e-5);
  expect(relativeError(output, expectedOutput)).toBeLessThan(1e-5);
}

describe("SAELens", () => {
  const hook = "blocks.1.hook_resid_pre";
  const arrays = randomArrays(1, SAE_SHAPES);
  const flat = {
    hook_point: hook,
    hook_point_layer: 1,
    d_in: WIDTH,
    d_sae: FEATURES,
    lr: 1e-3,
    model_name: "gpt2-small",
  };
  const folder = (config: object, tensors: Arrays = arrays) =>
    filesOf({ "cfg.json": config, "sae_weights.safetensors": stored(tensors, "F32") });
  const encoded = (x: Float64Array) => linear(minus(x, arrays.b_dec!.data), arrays.W_enc!, arrays.b_enc!.data);

  it("reads the flat settings of before version 6, whose decoder's bias is subtracted unless they say otherwise", async () => {
    const found = await seen(folder({ ...flat, activation_fn_str: "relu" }));
    const acts = relu(encoded(found.input));
    expectSeen(found, acts, linear(acts, arrays.W_dec!, arrays.b_dec!.data));
    const other = await seen(folder({ ...flat, apply_b_dec_to_input: false }));
    const plain = relu(linear(other.input, arrays.W_enc!, arrays.b_enc!.data));
    expectSeen(other, plain, linear(plain, arrays.W_dec!, arrays.b_dec!.data));
  });

  it("takes what older files say of training, and tells when the model's weights had been processed", async () => {
    const older = {
      ...flat,
      feature_sampling_method: null,
      resample_batches: 1028,
      feature_reinit_scale: 0.2,
      dead_feature_estimation_method: "no_fire",
    };
    const told: string[] = [];
    const load = (config: object) => loadDictionary(model, folder(config), { onNotice: (notice) => told.push(notice) });
    (await load(older)).destroy();
    (await load({ ...older, model_from_pretrained_kwargs: { center_writing_weights: false } })).destroy();
    expect(told).toEqual([]);
    (await load({ ...older, model_from_pretrained_kwargs: { center_writing_weights: true, fold_ln: true } })).destroy();
    expect(told).toEqual([
      expect.stringMatching(/center_writing_weights, fold_ln.* splice it into model\.processed\(\)/),
    ]);
  });

  it("takes k from the arguments of the activation", async () => {
    const found = await seen(folder({ ...flat, activation_fn_str: "topk", activation_fn_kwargs: { k: 5 } }));
    const acts = topK(encoded(found.input), FEATURES, 5);
    expectSeen(found, acts, linear(acts, arrays.W_dec!, arrays.b_dec!.data));
  });

  it("scales what is read and what is given by the factor that training found", async () => {
    const found = await seen(
      folder({ ...flat, normalize_activations: "expected_average_only_in", scaling_factor: 2.5 }),
    );
    const scaled = found.input.map((value) => value * 2.5);
    const acts = relu(encoded(scaled));
    const out = linear(acts, arrays.W_dec!, arrays.b_dec!.data).map((value) => value / 2.5);
    expectSeen(found, acts, out);
  });

  it("scales features by factors of their own where finetuning gave them some, and refuses such factors otherwise", async () => {
    const factors = randomArrays(2, { scaling_factor: [FEATURES] });
    const config = { ...flat, finetuning_scaling_factor: true };
    const found = await seen(folder(config, { ...arrays, ...factors }));
    const acts = relu(encoded(found.input));
    const scaled = acts.map((value, i) => value * factors.scaling_factor!.data[i % FEATURES]!);
    expectSeen(found, acts, linear(scaled, arrays.W_dec!, arrays.b_dec!.data));
    await expect(loadDictionary(model, folder(flat, { ...arrays, ...factors }))).rejects.toMatchObject({
      code: "module/setting",
    });
    const ones = { scaling_factor: { shape: [FEATURES], data: new Float32Array(FEATURES).fill(1) } };
    expectSeen(await seen(folder(flat, { ...arrays, ...ones })), acts, linear(acts, arrays.W_dec!, arrays.b_dec!.data));
  });

  it.each(["layer_norm", "constant_norm_rescale"])("brings rows to a standard spread and back: %s", async (name) => {
    const found = await seen(folder({ ...flat, normalize_activations: name }));
    const statistics = Array.from({ length: found.input.length / WIDTH }, (_, row) => {
      const x = found.input.subarray(row * WIDTH, (row + 1) * WIDTH);
      const mean = name === "layer_norm" ? x.reduce((sum, value) => sum + value, 0) / WIDTH : 0;
      const squares = x.reduce((sum, value) => sum + (value - mean) ** 2, 0);
      const [spread, eps] =
        name === "layer_norm" ? [Math.sqrt(squares / (WIDTH - 1)), 1e-5] : [Math.sqrt(squares / WIDTH), 0];
      return { mean, spread: spread!, eps: eps! };
    });
    const at = (i: number) => statistics[Math.floor(i / WIDTH)]!;
    const standard = found.input.map((value, i) => (value - at(i).mean) / (at(i).spread + at(i).eps));
    const acts = relu(encoded(standard));
    const out = linear(acts, arrays.W_dec!, arrays.b_dec!.data).map((value, i) => value * at(i).spread + at(i).mean);
    expectSeen(found, acts, out);
  });

  it("is of all heads' vectors as one at hook_z", async () => {
    const config = { ...flat, hook_point: "blocks.1.attn.hook_z" };
    const found = await seen(folder(config));
    const acts = relu(encoded(found.input));
    expectSeen(found, acts, linear(acts, arrays.W_dec!, arrays.b_dec!.data));
    using before = await model.forward(IDS, { capture: "blocks.1.attn.hook_z" });
    expect(relativeError(found.input, real(await before.cache.read("blocks.1.attn.hook_z"), WIDTH))).toBeLessThan(1e-6);
  });

  it.each(["F16", "BF16"] as const)("keeps weights in %s", async (dtype) => {
    const rounded = Object.fromEntries(
      Object.entries(arrays).map(([name, { shape, data }]) => {
        const keep = dtype === "BF16" ? 16 : 13;
        const bits = new Uint32Array(data.buffer.slice(0)).map((value) => (value >> keep) << keep);
        return [name, { shape, data: new Float32Array(bits.buffer) }];
      }),
    ) as Arrays;
    const found = await seen(filesOf({ "cfg.json": flat, "sae_weights.safetensors": stored(rounded, dtype) }));
    const acts = relu(linear(minus(found.input, rounded.b_dec!.data), rounded.W_enc!, rounded.b_enc!.data));
    expectSeen(found, acts, linear(acts, rounded.W_dec!, rounded.b_dec!.data));
  });
});

describe("Gemma Scope", () => {
  const arrays = randomArrays(3, { ...SAE_SHAPES, threshold: [FEATURES] });
  const entries = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [`${name}.npy`, npy(array)]));

  it.each([false, true])(
    "is JumpReLU of what it reads, without the decoder's bias; deflated: %s",
    async (isDeflated) => {
      const files = filesOf(
        { "params.npz": await zip(entries, isDeflated) },
        "hf:google/gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_71",
      );
      const found = await seen(files);
      const acts = jump(linear(found.input, arrays.W_enc!, arrays.b_enc!.data), arrays.threshold!.data);
      expectSeen(found, acts, linear(acts, arrays.W_dec!, arrays.b_dec!.data));
      using before = await model.forward(IDS, { capture: "blocks.1.hook_resid_post" });
      expect(relativeError(found.input, real(await before.cache.read("blocks.1.hook_resid_post"), WIDTH))).toBeLessThan(
        1e-6,
      );
    },
  );

  it("refuses pickled objects, and asks for the hook that no path says", async () => {
    const pickled = { ...entries, "W_enc.npy": npy(arrays.W_enc!, "|O") };
    const options = { hook: "blocks.1.hook_resid_post" };
    await expect(loadDictionary(model, filesOf({ "params.npz": await zip(pickled) }), options)).rejects.toMatchObject({
      code: "checkpoint/pickle",
    });
    await expect(loadDictionary(model, filesOf({ "params.npz": await zip(entries) }))).rejects.toMatchObject({
      code: "module/setting",
    });
  });
});

describe("sparsify", () => {
  const shapes = {
    "encoder.weight": [FEATURES, WIDTH],
    "encoder.bias": [FEATURES],
    W_dec: [FEATURES, WIDTH],
    b_dec: [WIDTH],
  };
  const arrays = randomArrays(4, shapes);
  const config = { d_in: WIDTH, num_latents: FEATURES, expansion_factor: 32, k: 6, normalize_decoder: true };

  it("is of the k largest features of x - b_dec, at the module that its folder names", async () => {
    const files = filesOf({ "cfg.json": config, "sae.safetensors": stored(arrays, "F32") }, "saes/layers.1.mlp");
    const found = await seen(files);
    const acts = topK(
      linear(minus(found.input, arrays.b_dec!.data), arrays["encoder.weight"]!, arrays["encoder.bias"]!.data, true),
      FEATURES,
      6,
    );
    expectSeen(found, acts, linear(acts, arrays.W_dec!, arrays.b_dec!.data));
  });

  it("is a skip transcoder where it says so", async () => {
    const skip = randomArrays(5, { W_skip: [WIDTH, WIDTH] });
    const settings = { ...config, skip_connection: true, transcode: true };
    const files = filesOf(
      { "cfg.json": settings, "sae.safetensors": stored({ ...arrays, ...skip }, "F32") },
      "x/layers.1.mlp",
    );
    const found = await seen(files);
    const acts = topK(linear(found.input, arrays["encoder.weight"]!, arrays["encoder.bias"]!.data, true), FEATURES, 6);
    const out = plus(
      linear(acts, arrays.W_dec!, arrays.b_dec!.data),
      linear(found.input, skip.W_skip!, undefined, true),
    );
    expectSeen(found, acts, out);
  });
});

const HOOKS = { hook: "mlp.hook_in", hookOut: "mlp.hook_out" };
const YAML = 'model_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\nfeature_output_hook: "mlp.hook_out"\n';

describe("circuit-tracer", () => {
  it("has a transcoder for each layer, with thresholds and skips where there are some", async () => {
    const shapes = { W_enc: [FEATURES, WIDTH], W_dec: [FEATURES, WIDTH], b_enc: [FEATURES], b_dec: [WIDTH] };
    const layers = [
      randomArrays(6, { ...shapes, "activation_function.threshold": [FEATURES] }),
      randomArrays(7, { ...shapes, W_skip: [WIDTH, WIDTH] }),
    ];
    const names = Object.fromEntries(
      layers.map((arrays, layer) => [`layer_${layer}.safetensors`, stored(arrays, "F32")]),
    );
    using dictionary = await loadDictionary(model, filesOf({ ...names, "config.yaml": YAML }));
    expect(dictionary.modules.map(({ hookIn }) => hookIn)).toEqual(["blocks.0.mlp.hook_in", "blocks.1.mlp.hook_in"]);
    using spliced = model.withModules(dictionary, { error: false });
    using result = await spliced.forward(IDS, { capture: ["*.mlp.hook_in", "*.mlp.hook_out"] });
    for (const [layer, arrays] of layers.entries()) {
      const [x, y] = await Promise.all(
        ["in", "out"].map(async (side) => real(await result.cache.read(`blocks.${layer}.mlp.hook_${side}`), WIDTH)),
      );
      const pre = linear(x!, arrays.W_enc!, arrays.b_enc!.data, true);
      const acts = layer === 0 ? jump(pre, arrays["activation_function.threshold"]!.data) : relu(pre);
      const out = linear(acts, arrays.W_dec!, arrays.b_dec!.data);
      expect(
        relativeError(y!, layer === 0 ? out : plus(out, linear(x!, arrays.W_skip!, undefined, true))),
      ).toBeLessThan(1e-5);
    }
    const one = filesOf(names);
    await expect(loadDictionary(model, one)).rejects.toMatchObject({ code: "module/setting" });
    (await loadDictionary(model, one, HOOKS)).destroy();
  });

  it("writes to every layer from its own on where it goes across layers", async () => {
    const { nLayers } = model.spec;
    const layers = Array.from({ length: nLayers }, (_, i) =>
      randomArrays(8 + i, {
        ...{
          [`W_enc_${i}`]: [FEATURES, WIDTH],
          [`b_enc_${i}`]: [FEATURES],
          [`b_dec_${i}`]: [WIDTH],
          [`threshold_${i}`]: [FEATURES],
        },
        [`W_dec_${i}`]: [FEATURES, nLayers - i, WIDTH],
      }),
    );
    const files = layers.flatMap(({ ...arrays }, i): [string, Uint8Array][] => {
      const { [`W_dec_${i}`]: decoder, ...others } = arrays;
      return [
        [`W_enc_${i}.safetensors`, stored(others as Arrays, "F32")],
        [`W_dec_${i}.safetensors`, stored({ [`W_dec_${i}`]: decoder! }, "F32")],
      ];
    });
    using dictionary = await loadDictionary(model, filesOf(Object.fromEntries(files)), HOOKS);
    using spliced = model.withModules(dictionary, { error: false });
    for (const logits of ["all", "last"] as const) {
      using result = await spliced.forward(IDS, { logits, capture: ["*.mlp.hook_in", "*.mlp.hook_out"] });
      const written = Array.from({ length: nLayers }, () => new Float64Array(10 * WIDTH));
      for (const [i, arrays] of layers.entries()) {
        const x = real(await result.cache.read(`blocks.${i}.mlp.hook_in`), WIDTH);
        const acts = jump(
          linear(x, arrays[`W_enc_${i}`]!, arrays[`b_enc_${i}`]!.data, true),
          arrays[`threshold_${i}`]!.data,
        );
        for (let j = i; j < nLayers; j++) {
          const rows = Float32Array.from({ length: FEATURES * WIDTH }, (_, at) => {
            const [feature, d] = [Math.floor(at / WIDTH), at % WIDTH];
            return arrays[`W_dec_${i}`]!.data[(feature * (nLayers - i) + (j - i)) * WIDTH + d]!;
          });
          const bias = i === j ? arrays[`b_dec_${i}`]!.data : undefined;
          written[j] = plus(written[j]!, linear(acts, { shape: [FEATURES, WIDTH], data: rows }, bias));
        }
      }
      for (const [j, out] of written.entries())
        expect(relativeError(real(await result.cache.read(`blocks.${j}.mlp.hook_out`), WIDTH), out)).toBeLessThan(1e-5);
    }
    const measure = metric.logitDiff(3, 4);
    const cells = [0, 1, 2].map(
      (layer) =>
        ({
          at: `blocks.${layer}.mlp.hook_in.hook_sae_acts_post`,
          op: "set",
          value: 2,
          dims: [5],
          positions: [2],
        }) as const,
    );
    const [input] = IDS;
    const { values } = await spliced.sweep({ input: input!, cells, metric: measure });
    for (const [index, edits] of cells.entries()) {
      using one = await spliced.forward(input!, { edits, logits: "last" });
      const logits = await one.logits.at(0, -1);
      expect(values[index]).toBeCloseTo(logits[3]! - logits[4]!, 4);
    }
    using all = await spliced.forward(IDS);
    using last = await spliced.forward(IDS, { logits: "last" });
    expect(relativeError(await last.logits.at(1, -1), await all.logits.at(1, -1))).toBeLessThan(1e-6);
  });
});
