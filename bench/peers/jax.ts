/**
 * GPT-2 in jax-js, written as its authors write decoders (their chat demonstration): one compiled function a block, run once
 * a layer; attention by `nn.dotProductAttention`; the cache an array of fixed length that each token is merged into with
 * `where`, since jax-js updates no array in place. A function spends the arrays it is given; `ref` keeps one for later.
 *
 * jax-js binds each array whole, and GPT-2's embedding (154 MB) is more than some adapters bind (lavapipe: 128 MB). So it is
 * kept in parts of rows where it has to be, and so are the logits.
 */
import { blockUntilReady, defaultDevice, getWebGPUDevice, init, jit, nn, numpy as np, tree } from "@jax-js/jax";
import { argmax, type Runtime } from "./runtime.ts";
import { PROMPT, promptIds, STEPS } from "./shapes.ts";
import { type Weights, weight } from "./weights.ts";

type Linear = { weight: np.Array; bias: np.Array };
type Norm = { weight: np.Array; bias: np.Array };
type Block = { ln1: Norm; qkv: Linear; proj: Linear; ln2: Norm; fc: Linear; out: Linear };
/** `wte` is in parts [rows, width], one after the other. */
type Params = { wte: np.Array[]; wpe: np.Array; blocks: Block[]; lnFinal: Norm };
/** Keys and values [capacity, head, dHead]. */
type Cache = { key: np.Array; value: np.Array };

/** Positions the cache has room for: no more than are needed, since attention looks at all of them. */
const CAPACITY = PROMPT + STEPS;

export async function jaxRuntime(weights: Weights): Promise<Runtime> {
  await startJax();
  const { prompt, next } = promptIds(weights.config);
  const params = makeParams(weights);
  await blockUntilReady(params);
  const run = compile(weights.config.n_head);
  const ids = np.array(prompt, { dtype: np.int32 });
  const filled = run.fill(tree.ref(params), ids.ref);
  await blockUntilReady(filled);
  return {
    name: "jax-js",
    note: "one jit a block; cache of fixed length, merged with where",
    async prefill() {
      const logits = run.prefill(tree.ref(params), ids.ref);
      await blockUntilReady(logits);
      tree.dispose(logits);
    },
    async prefillLogits() {
      return readColumns(run.prefill(tree.ref(params), ids.ref));
    },
    async decode(steps) {
      const tokens: number[] = [];
      let caches = tree.ref(filled);
      for (let token = next, step = 0; step < steps; step++) {
        const result = run.step(tree.ref(params), caches, token, PROMPT + step);
        caches = result.caches;
        token = argmax(await readColumns(result.logits));
        tokens.push(token);
      }
      tree.dispose(caches);
      return tokens;
    },
    async decodeLogits() {
      const { logits, caches } = run.step(tree.ref(params), tree.ref(filled), next, PROMPT);
      tree.dispose(caches);
      return readColumns(logits);
    },
    destroy() {
      tree.dispose(filled);
      tree.dispose(params);
      ids.dispose();
    },
  };
}

/** Has jax-js compute on WebGPU. */
export async function startJax(): Promise<void> {
  const devices = await init("webgpu");
  if (!devices.includes("webgpu")) throw new Error(`jax-js starts no webgpu device here, only: ${devices.join(", ")}`);
  defaultDevice("webgpu");
}

/** The compiled functions of a model with that many heads. */
function compile(heads: number) {
  const embed = jit((wte: np.Array[], wpe: np.Array, ids: np.Array, start: np.Array) => {
    const positions = np.arange(ids.shape[0] as number).add(start);
    return lookUp(wte, ids).add(wpe.slice(positions));
  });
  const unembed = jit((norm: Norm, wte: np.Array[], x: np.Array) => {
    const normed = layerNorm(norm, x);
    const logits = wte.map((part) => np.dot(normed.ref, part.transpose()));
    normed.dispose();
    return logits;
  });
  const promptBlock = jit((block: Block, x: np.Array) => runPromptBlock(block, x, heads).x);
  const fillBlock = jit((block: Block, x: np.Array) => runPromptBlock(block, x, heads));
  const tokenBlock = jit((block: Block, cache: Cache, x: np.Array, slot: np.Array) =>
    runTokenBlock(block, cache, x, slot, heads),
  );
  const scalar = (value: number) => np.array(value, { dtype: np.int32 });
  return {
    prefill({ wte, wpe, blocks, lnFinal }: Params, ids: np.Array): np.Array[] {
      let x = embed(tree.ref(wte), wpe, ids, scalar(0));
      for (const block of blocks) x = promptBlock(block, x);
      return unembed(lnFinal, wte, x);
    },
    fill({ wte, wpe, blocks, lnFinal }: Params, ids: np.Array): Cache[] {
      let x = embed(wte, wpe, ids, scalar(0));
      const caches = blocks.map((block) => {
        const { x: output, key, value } = fillBlock(block, x);
        x = output;
        return { key, value };
      });
      x.dispose();
      tree.dispose(lnFinal);
      return caches;
    },
    step({ wte, wpe, blocks, lnFinal }: Params, caches: Cache[], token: number, position: number) {
      const slot = scalar(position);
      let x = embed(tree.ref(wte), wpe, np.array([token], { dtype: np.int32 }), slot.ref);
      const updated = blocks.map((block, layer) => {
        const { x: output, key, value } = tokenBlock(block, caches[layer] as Cache, x, slot.ref);
        x = output;
        return { key, value };
      });
      slot.dispose();
      return { logits: unembed(lnFinal, wte, x), caches: updated };
    },
  };
}

/** Rows of an embedding in parts: each part gives the rows it has, and zeros. */
function lookUp(parts: np.Array[], ids: np.Array): np.Array {
  if (parts.length === 1) return (parts[0] as np.Array).slice(ids);
  let first = 0;
  const found = parts.map((part) => {
    const rows = part.shape[0] as number;
    const row = ids.ref.sub(first);
    const isHere = np.logicalAnd(row.ref.greaterEqual(0), row.ref.less(rows));
    first += rows;
    return np.where(isHere.reshape([-1, 1]), part.slice(np.clip(row, 0, rows - 1)), 0);
  });
  ids.dispose();
  return found.reduce((sum, rows) => sum.add(rows));
}

/** Reads logits whose columns are in parts. */
async function readColumns(parts: np.Array[]): Promise<Float32Array> {
  const rows = parts[0]?.shape[0] as number;
  const widths = parts.map((part) => part.shape[1] as number);
  const data = (await Promise.all(parts.map((part) => part.data()))) as Float32Array[];
  if (data.length === 1) return data[0] as Float32Array;
  const width = widths.reduce((sum, part) => sum + part);
  const all = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) {
    let at = row * width;
    for (const [index, part] of widths.entries()) {
      all.set((data[index] as Float32Array).subarray(row * part, (row + 1) * part), at);
      at += part;
    }
  }
  return all;
}

function runPromptBlock(block: Block, x: np.Array, heads: number) {
  const { q, k, v } = project(block, x.ref, heads);
  const z = nn.dotProductAttention(q, k.ref, v.ref, { isCausal: true });
  const room: [number, number] = [0, CAPACITY - (x.shape[0] as number)];
  const key = np.pad(k, { 0: room });
  const value = np.pad(v, { 0: room });
  return { x: finish(block, x, z), key, value };
}

function runTokenBlock(block: Block, cache: Cache, x: np.Array, slot: np.Array, heads: number) {
  const { q, k, v } = project(block, x.ref, heads);
  const here = np.arange(CAPACITY).equal(slot.ref).reshape([CAPACITY, 1, 1]);
  const key = np.where(here.ref, k, cache.key);
  const value = np.where(here, v, cache.value);
  const mask = np.arange(CAPACITY).lessEqual(slot);
  const z = nn.dotProductAttention(q, key.ref, value.ref, { mask });
  return { x: finish(block, x, z), key, value };
}

/** q, k and v [position, head, dHead]. */
function project({ ln1, qkv }: Block, x: np.Array, heads: number) {
  const [positions, width] = x.shape as [number, number];
  const parts = np.split(linear(qkv, layerNorm(ln1, x)), 3, -1);
  const [q, k, v] = parts.map((part) => part.reshape([positions, heads, width / heads])) as [
    np.Array,
    np.Array,
    np.Array,
  ];
  return { q, k, v };
}

/** What follows attention in a block: its output, then the MLP. */
function finish({ proj, ln2, fc, out }: Block, x: np.Array, z: np.Array): np.Array {
  const middle = x.add(linear(proj, z.reshape([z.shape[0] as number, -1])));
  const hidden = nn.gelu(linear(fc, layerNorm(ln2, middle.ref)));
  return middle.add(linear(out, hidden));
}

function layerNorm({ weight, bias }: Norm, x: np.Array): np.Array {
  return nn.standardize(x, -1, { epsilon: 1e-5 }).mul(weight).add(bias);
}

function linear({ weight, bias }: Linear, x: np.Array): np.Array {
  return np.dot(x, weight).add(bias);
}

function makeParams(weights: Weights): Params {
  const array = (name: string) => {
    const { data, shape } = weight(weights, `transformer.${name}`);
    return np.array(data.slice(), { shape: [...shape] });
  };
  const pair = (name: string) => ({ weight: array(`${name}.weight`), bias: array(`${name}.bias`) });
  const blocks = Array.from({ length: weights.config.n_layer }, (_, layer) => ({
    ln1: pair(`h.${layer}.ln_1`),
    qkv: pair(`h.${layer}.attn.c_attn`),
    proj: pair(`h.${layer}.attn.c_proj`),
    ln2: pair(`h.${layer}.ln_2`),
    fc: pair(`h.${layer}.mlp.c_fc`),
    out: pair(`h.${layer}.mlp.c_proj`),
  }));
  return { wte: embeddingParts(weights), wpe: array("wpe.weight"), blocks, lnFinal: pair("ln_f") };
}

/** The embedding in as few equal parts as the device can bind. */
function embeddingParts(weights: Weights): np.Array[] {
  const { data, shape } = weight(weights, "transformer.wte.weight");
  const [rows, width] = shape as [number, number];
  const count = Math.ceil(data.byteLength / getWebGPUDevice().limits.maxStorageBufferBindingSize);
  const most = Math.ceil(rows / count);
  return Array.from({ length: count }, (_, part) => {
    const values = data.slice(part * most * width, Math.min(rows, (part + 1) * most) * width);
    return np.array(values, { shape: [values.length / width, width] });
  });
}
