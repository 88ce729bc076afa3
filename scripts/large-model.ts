/**
 * Writes a random Llama of any size in bfloat16, in shards of 2 GB: to see how models run that are larger than memory likes.
 *
 *   npx tsx scripts/large-model.ts build/large       6 GB
 *   npx tsx scripts/large-model.ts build/large 0.5   half a gigabyte
 *
 * The seed decides every byte. Tensors are made when their turn to be written comes, so memory stays at the largest of them.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { type LazyTensorEntry, streamSafetensors } from "../src/checkpoint/index.ts";
import { FolderStore } from "../src/checkpoint/store.node.ts";

const SHARD_BYTES = 2e9;
const SEED = 1;

/** The shape of Llama 7B at its own width, or at a quarter of it, with as many blocks as make up the bytes. */
export function largeConfig(bytes: number): Record<string, unknown> & { num_hidden_layers: number } {
  const width = bytes > 2e9 ? 4096 : 1024;
  const sizes = { hidden_size: width, intermediate_size: 2.75 * width, vocab_size: 32_000 };
  const ofBlock = 2 * (4 * width ** 2 + 3 * width * sizes.intermediate_size);
  const outside = 2 * 2 * sizes.vocab_size * width;
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    ...sizes,
    num_hidden_layers: Math.max(1, Math.ceil((bytes - outside) / ofBlock)),
    num_attention_heads: width / 128,
    num_key_value_heads: width / 128,
    hidden_act: "silu",
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    tie_word_embeddings: false,
    torch_dtype: "bfloat16",
  };
}

/** Two bfloat16 a word, each of 1/64 to 1/32 and either sign: sign and mantissa are random (xorshift32). */
function randomWeights(count: number, seed: number): Uint8Array {
  const words = new Uint32Array(count / 2);
  let state = (seed * 0x9e3779b9) | 1;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = (state & 0x807f807f) | 0x3c803c80;
  }
  return new Uint8Array(words.buffer);
}

function tensorsOf(config: ReturnType<typeof largeConfig>): LazyTensorEntry[] {
  const { hidden_size, intermediate_size, vocab_size } = config as unknown as Record<string, number>;
  const [width, hidden, vocab] = [hidden_size, intermediate_size, vocab_size] as [number, number, number];
  const entries: LazyTensorEntry[] = [];
  const add = (name: string, ...shape: number[]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const seed = SEED + entries.length;
    const data = () => (shape.length === 1 ? new Uint16Array(count).fill(0x3f80) : randomWeights(count, seed));
    entries.push({ name: `${name}.weight`, dtype: "BF16", shape, data: async () => data() });
  };
  add("model.embed_tokens", vocab, width);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}`;
    for (const each of ["q_proj", "k_proj", "v_proj", "o_proj"]) add(`${at}.self_attn.${each}`, width, width);
    for (const each of ["gate_proj", "up_proj"]) add(`${at}.mlp.${each}`, hidden, width);
    add(`${at}.mlp.down_proj`, width, hidden);
    for (const each of ["input_layernorm", "post_attention_layernorm"]) add(`${at}.${each}`, width);
  }
  add("model.norm", width);
  add("lm_head", vocab, width);
  return entries;
}

const bytesOf = ({ shape }: LazyTensorEntry) => 2 * shape.reduce((product, size) => product * size, 1);

/** Writes the model to a folder. */
export async function writeLargeModel(folder: string, bytes: number): Promise<void> {
  const config = largeConfig(bytes);
  const shards: LazyTensorEntry[][] = [[]];
  let held = 0;
  for (const entry of tensorsOf(config)) {
    if (held > 0 && held + bytesOf(entry) > SHARD_BYTES) {
      shards.push([]);
      held = 0;
    }
    shards.at(-1)?.push(entry);
    held += bytesOf(entry);
  }
  mkdirSync(folder, { recursive: true });
  const numbered = (index: number) => String(index).padStart(5, "0");
  const weightMap: Record<string, string> = {};
  for (const [index, entries] of shards.entries()) {
    const file = `model-${numbered(index + 1)}-of-${numbered(shards.length)}.safetensors`;
    for (const { name } of entries) weightMap[name] = file;
    await new FolderStore(folder).write(file, streamSafetensors(entries, { format: "pt" }));
  }
  const total = shards.flat().reduce((sum, entry) => sum + bytesOf(entry), 0);
  const index = { metadata: { total_size: total }, weight_map: weightMap };
  writeFileSync(`${folder}/model.safetensors.index.json`, JSON.stringify(index));
  writeFileSync(`${folder}/config.json`, JSON.stringify(config, null, 2));
}

if (import.meta.url === pathToFileURL(process.argv[1] as string).href) {
  const [folder, gigabytes = "6"] = process.argv.slice(2);
  if (!folder) throw new Error("Give the folder to write to: npx tsx scripts/large-model.ts build/large");
  await writeLargeModel(folder, Number(gigabytes) * 1e9);
}
