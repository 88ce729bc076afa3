/** A saved dictionary says what it computes and where it belongs, whatever the files were that it was loaded from. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/checkpoint/index.ts";
import { type DictionaryOptions, type HookedModel, loadDictionary, saveDictionary } from "../../src/hooks/index.ts";
import { type Arrays, filesOf, npy, randomArrays, stored, zip } from "./files.ts";
import { hooked } from "./support.ts";

const [WIDTH, FEATURES] = [32, 24];
const IDS = [[5, 6, 7, 8, 9, 10]];
const HOOK = "blocks.1.hook_resid_post";
const AUTOENCODER = { W_enc: [WIDTH, FEATURES], W_dec: [FEATURES, WIDTH], b_enc: [FEATURES], b_dec: [WIDTH] };
const WITH_THRESHOLD = { ...AUTOENCODER, threshold: [FEATURES] };

const saeLens = (config: object, shapes: Record<string, readonly number[]> = AUTOENCODER) =>
  filesOf({ "cfg.json": config, "sae_weights.safetensors": stored(randomArrays(1, shapes), "F32") });

async function gemmaScope(arrays: Arrays) {
  const entries = Object.entries(arrays).map(([name, array]) => [`${name}.npy`, npy(array)]);
  return filesOf({ "params.npz": await zip(Object.fromEntries(entries)) });
}

/** The settings of every saved autoencoder of these tests. */
const SAVED = {
  ...{ d_in: WIDTH, d_sae: FEATURES, dtype: "float32", device: "cpu", apply_b_dec_to_input: false },
  ...{ normalize_activations: "none", reshape_activations: "none" },
};
const METADATA = { sae_lens_version: "6.0.0", sae_lens_training_version: null, hook_name: HOOK };

const CASES: {
  name: string;
  source: () => ReturnType<typeof filesOf> | Promise<ReturnType<typeof filesOf>>;
  options?: DictionaryOptions;
  saved: object;
}[] = [
  {
    name: "Gemma Scope, whose files have no settings",
    source: () => gemmaScope(randomArrays(2, WITH_THRESHOLD)),
    options: { hook: HOOK },
    saved: { ...SAVED, architecture: "jumprelu", metadata: METADATA },
  },
  {
    name: "SAELens before version 6, with k beside the activation and a factor that is in the weights by now",
    source: () =>
      saeLens({
        ...{ architecture: "standard", activation_fn_str: "topk", activation_fn_kwargs: { k: 4 } },
        ...{ d_in: WIDTH, d_sae: FEATURES, hook_name: HOOK, apply_b_dec_to_input: false, dtype: "torch.float32" },
        ...{ normalize_activations: "expected_average_only_in", scaling_factor: 2 },
        ...{ model_name: "a-model", prepend_bos: true, lr: 1e-3 },
      }),
    saved: {
      ...SAVED,
      architecture: "topk",
      k: 4,
      metadata: { ...METADATA, model_name: "a-model", prepend_bos: true },
    },
  },
  {
    name: "SAELens, at another hook than the file's",
    source: () =>
      saeLens({
        ...{ architecture: "standard", d_in: WIDTH, d_sae: FEATURES, apply_b_dec_to_input: false },
        metadata: { hook_name: "blocks.0.hook_resid_post", dataset_path: "a-text", sae_lens_training_version: "6.1.0" },
      }),
    options: { hook: HOOK },
    saved: {
      ...{ ...SAVED, architecture: "standard" },
      metadata: { ...METADATA, dataset_path: "a-text", sae_lens_training_version: "6.1.0" },
    },
  },
  {
    name: "circuit-tracer's transcoder of one block",
    source: () => {
      const shapes = { ...AUTOENCODER, W_enc: [FEATURES, WIDTH] };
      return filesOf({ "layer_0.safetensors": stored(randomArrays(3, shapes), "F32") });
    },
    options: { hook: "mlp.hook_in", hookOut: "mlp.hook_out" },
    saved: {
      ...{ ...SAVED, architecture: "transcoder", d_out: WIDTH },
      metadata: { ...METADATA, hook_name: "blocks.0.mlp.hook_in", hook_name_out: "blocks.0.mlp.hook_out" },
    },
  },
];

let model: HookedModel;
beforeAll(async () => {
  model = await hooked("llama");
});
afterAll(() => model.destroy());

describe("saveDictionary", () => {
  it.each(CASES)("$name", async ({ source, options = {}, saved }) => {
    using dictionary = await loadDictionary(model, await source(), options);
    const store = new MemoryStore();
    await saveDictionary(dictionary, store);
    using again = await loadDictionary(model, store.source());
    expect(again.config).toEqual(saved);
    const seen: Float32Array[] = [];
    for (const each of [dictionary, again]) {
      using spliced = model.withModules(each, { error: false });
      const acts = `${each.hook}.hook_sae_acts_post`;
      using result = await spliced.forward(IDS, { capture: acts });
      seen.push(await result.cache.read(acts), await result.logits.read());
    }
    expect(seen[2]).toEqual(seen[0]);
    expect(seen[3]).toEqual(seen[1]);
  });

  it("refuses what the format has no place for", async () => {
    const config = {
      d_in: WIDTH,
      d_sae: FEATURES,
      metadata: { hook_name: HOOK, hook_name_out: "blocks.1.mlp.hook_out" },
    };
    const refused = async (source: ReturnType<typeof filesOf>) => {
      using dictionary = await loadDictionary(model, source);
      await expect(saveDictionary(dictionary, new MemoryStore())).rejects.toMatchObject({
        code: "hook/unsupported",
        message: expect.stringMatching(/it must be standard, TopK \(no transcoder\) or JumpReLU/),
      });
    };
    await refused(saeLens({ ...config, architecture: "standard", apply_b_dec_to_input: true }));
    await refused(
      saeLens({
        ...config,
        architecture: "topk_transcoder",
        k: 4,
        metadata: { ...config.metadata, hook_name: "blocks.1.mlp.hook_in" },
      }),
    );
  });
});
