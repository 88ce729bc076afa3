/** Types without a fixture of their own, as models of other types under other names: they must give the others' logits. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import type { TensorEntry } from "../../src/checkpoint/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { entryOf, fixtureFiles, golden, readLogits, sourceOf, tensorsOf, valuesOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";

/** InternLM 2's names of Llama's tensors. */
const INTERNLM2: readonly (readonly [RegExp, string])[] = [
  [/embed_tokens/, "tok_embeddings"],
  [/^lm_head/, "output"],
  [/self_attn\.o_proj/, "attention.wo"],
  [/mlp\.gate_proj/, "feed_forward.w1"],
  [/mlp\.up_proj/, "feed_forward.w3"],
  [/mlp\.down_proj/, "feed_forward.w2"],
  [/input_layernorm/, "attention_norm"],
  [/post_attention_layernorm/, "ffn_norm"],
];

/** q, k and v by key-value head: its queries, its key, its value. */
function packed(layer: number, tensors: ReadonlyMap<string, TensorEntry>, kvHeads: number, dHead: number): TensorEntry {
  const values = ["q", "k", "v"].map((part) => {
    const tensor = tensors.get(`model.layers.${layer}.self_attn.${part}_proj.weight`) as TensorEntry;
    return { values: valuesOf(tensor), width: tensor.shape[1] as number };
  });
  const width = values[0]?.width as number;
  const rows = Array.from({ length: kvHeads }, (_, head) =>
    values.flatMap(({ values: all }) => {
      const each = all.length / kvHeads;
      return [...all.subarray(head * each, (head + 1) * each)];
    }),
  ).flat();
  expect(rows.length % (dHead * width)).toBe(0);
  return entryOf(`model.layers.${layer}.attention.wqkv.weight`, [rows.length / width, width], Float32Array.from(rows));
}

it("internlm2 is llama, packed", async () => {
  const { config, tensors } = await fixtureFiles("llama");
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const { num_hidden_layers, num_key_value_heads, hidden_size, num_attention_heads } = config as Record<string, number>;
  const dHead = (hidden_size as number) / (num_attention_heads as number);
  const own = tensors
    .filter(({ name }) => !/[qkv]_proj/.test(name))
    .map((tensor) => ({
      ...tensor,
      name: INTERNLM2.reduce((name, [from, to]) => name.replace(from, to), tensor.name),
    }));
  const layers = Array.from({ length: num_hidden_layers as number }, (_, layer) =>
    packed(layer, byName, num_key_value_heads as number, dHead),
  );
  const source = sourceOf({
    config: { ...config, model_type: "internlm2", bias: false },
    tensors: [...own, ...layers],
  });
  const notices: string[] = [];
  using model = new Model(await loadParts(source, { gpu: await testGpu(), onNotice: (text) => notices.push(text) }));
  expect(notices).toEqual([]);
  const { ids, values } = await golden("llama");
  expect(relativeError(await readLogits(model.forward(ids)), values.get("logits") as Float32Array)).toBeLessThan(3e-6);
});

/** Tensor2tensor's sinusoids, written from their description alone. */
function sinusoids(rows: number, width: number): Float32Array {
  const half = width / 2;
  return Float32Array.from({ length: rows * width }, (_, i) => {
    const [position, column] = [Math.floor(i / width), i % width];
    const frequency = 10000 ** (-(column % half) / (half - 1));
    return column < half ? Math.sin(position * frequency) : Math.cos(position * frequency);
  });
}

it("xglm is biogpt with sines and cosines for its learned positions", async () => {
  const folder = fileURLToPath(new URL("../fixtures/types/biogpt/", import.meta.url));
  const config = JSON.parse(await readFile(`${folder}config.json`, "utf8"));
  const tensors = tensorsOf(await readFile(`${folder}model.safetensors`));
  const table = (tensor: TensorEntry) =>
    /embed_positions/.test(tensor.name)
      ? entryOf(tensor.name, tensor.shape, sinusoids(tensor.shape[0] as number, tensor.shape[1] as number))
      : tensor;
  const load = async (source: ReturnType<typeof sourceOf>) =>
    new Model(await loadParts(source, { gpu: await testGpu() }));
  using learned = await load(sourceOf({ config, tensors: tensors.map(table) }));
  const renamed = tensors
    .filter(({ name }) => !/embed_positions/.test(name))
    .map((tensor) => ({ ...tensor, name: tensor.name.replace(/^biogpt/, "model") }));
  const { num_hidden_layers, hidden_size, num_attention_heads, intermediate_size, max_position_embeddings } = config;
  const sizes = { num_layers: num_hidden_layers, d_model: hidden_size, attention_heads: num_attention_heads };
  const xglm = { model_type: "xglm", ...sizes, ffn_dim: intermediate_size, vocab_size: 96, max_position_embeddings };
  using fixed = await load(sourceOf({ config: xglm, tensors: renamed }));
  const ids = [
    [3, 17, 80, 2, 41, 9, 66],
    [5, 1],
  ];
  const expected = await readLogits(learned.forward(ids));
  expect(relativeError(await readLogits(fixed.forward(ids)), expected)).toBeLessThan(3e-6);
});
