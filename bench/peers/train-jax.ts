/**
 * The same training in jax-js: the loss of a Llama, its gradient by `valueAndGrad`, clipping and AdamW, all in one `jit`. A
 * function spends the arrays it is given; `ref` keeps one for later.
 */
import { blockUntilReady, jit, nn, numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import type { TaskBatch } from "../../src/paper/index.ts";
import { startJax } from "./jax.ts";
import { firstBatches, learningRate, MODEL, OPTIMIZER, type Plan, startWeights, type Trainer } from "./training.ts";
import { type TensorFile, weight } from "./weights.ts";

/** Matrices are [in, out]. */
type Block = Record<"norm1" | "q" | "k" | "v" | "o" | "norm2" | "gate" | "up" | "down", np.Array>;
type Params = { embed: np.Array; blocks: Block[]; norm: np.Array; head: np.Array };
/** Weights and the two moments of AdamW. */
type State = { params: Params; m: Params; v: Params };

const HEADS = MODEL.num_attention_heads;
const D_HEAD = MODEL.hidden_size / HEADS;

export async function jaxTrainer(): Promise<Trainer> {
  await startJax();
  const step = jit(trainStep);
  const start = makeParams(await startWeights());
  const zeros = () => tree.map((x: np.Array) => np.zeros(x.shape), start) as Params;
  return {
    name: "jax-js",
    note: "one jit a step: gradient, clipping and AdamW",
    async begin({ steps, every }: Plan) {
      let state: State = { params: tree.ref(start), m: zeros(), v: zeros() };
      let done = 0;
      const batches = firstBatches(steps);
      return {
        async advance() {
          let loss: np.Array | undefined;
          for (let i = 0; i < every; i++) {
            loss?.dispose();
            const batch = batches[done++] as TaskBatch;
            [state, loss] = step(state, ...inputs(batch), rates(done)) as [State, np.Array];
          }
          await blockUntilReady(state);
          return (await (loss as np.Array).jsAsync()) as number;
        },
        end: () => tree.dispose(state),
      };
    },
    destroy() {
      tree.dispose(start);
      step.dispose();
    },
  };
}

/** Ids [batch, T], and the targets [batch * T], -1 where none counts. */
function inputs({ ids, mask }: TaskBatch): [np.Array, np.Array] {
  const targets = mask.flatMap((row, sequence) =>
    row.map((isIn, t) => (isIn ? (ids[sequence]?.[t + 1] as number) : -1)),
  );
  return [
    np.array(
      ids.map((row) => row.slice(0, -1)),
      { dtype: np.int32 },
    ),
    np.array(targets, { dtype: np.int32 }),
  ];
}

/** What changes from step to step: learning rate and the corrections of the moments. */
function rates(step: number): np.Array {
  const [beta1, beta2] = OPTIMIZER.betas;
  return np.array([learningRate(step), 1 - beta1 ** step, 1 - beta2 ** step]);
}

function trainStep({ params, m, v }: State, ids: np.Array, targets: np.Array, rates: np.Array): [State, np.Array] {
  const [loss, gradient] = valueAndGrad(lossOf)(tree.ref(params), ids, targets) as [np.Array, Params];
  return [adamW({ params, m, v }, clipped(gradient), rates), loss];
}

/** The mean of -log p over the targets that count. */
function lossOf({ embed, blocks, norm, head }: Params, ids: np.Array, targets: np.Array): np.Array {
  const [batch, positions] = ids.shape as [number, number];
  let x = np.dot(nn.oneHot(ids.reshape([-1]), MODEL.vocab_size), embed);
  for (const block of blocks) x = runBlock(block, x, batch, positions);
  const logProbs = nn.logSoftmax(np.dot(rmsNorm(norm, x), head));
  const wanted = nn.oneHot(targets, MODEL.vocab_size);
  return logProbs.mul(wanted.ref).sum().div(wanted.sum()).neg();
}

function runBlock(block: Block, x: np.Array, batch: number, positions: number): np.Array {
  const { norm1, q, k, v, o, norm2, gate, up, down } = block;
  const read = rmsNorm(norm1, x.ref);
  const heads = (matrix: np.Array) => np.dot(read.ref, matrix).reshape([batch, positions, HEADS, D_HEAD]);
  const z = nn.dotProductAttention(rotate(heads(q)), rotate(heads(k)), heads(v), { isCausal: true });
  read.dispose();
  const middle = x.add(np.dot(z.reshape([batch * positions, -1]), o));
  const input = rmsNorm(norm2, middle.ref);
  const hidden = nn.silu(np.dot(input.ref, gate)).mul(np.dot(input, up));
  return middle.add(np.dot(hidden, down));
}

function rmsNorm(weight: np.Array, x: np.Array): np.Array {
  const meanSquare = np.mean(np.square(x.ref), -1, { keepdims: true });
  return x.div(np.sqrt(meanSquare.add(MODEL.rms_norm_eps))).mul(weight);
}

/** RoPE of x [batch, position, head, dHead]: dimension i turns with i + dHead / 2. */
function rotate(x: np.Array): np.Array {
  const half = D_HEAD / 2;
  const angles = Array.from(
    { length: (x.shape[1] as number) * half },
    (_, i) => Math.floor(i / half) * MODEL.rope_theta ** (-(i % half) / half),
  );
  // By the host: sines of SwiftShader are coarse.
  const [cos, sin] = [Math.cos, Math.sin].map((turn) => np.array(angles.map(turn)).reshape([-1, 1, half])) as [
    np.Array,
    np.Array,
  ];
  const [first, second] = np.split(x, 2, -1) as [np.Array, np.Array];
  return np.concatenate([first.ref.mul(cos.ref).sub(second.ref.mul(sin.ref)), second.mul(cos).add(first.mul(sin))], -1);
}

/** Gradients cut to a norm together, as PyTorch cuts them. */
function clipped(gradient: Params): Params {
  const squares = tree.leaves(tree.ref(gradient)).map((g) => np.square(g as np.Array).sum());
  const norm = np.sqrt(squares.reduce((sum, square) => sum.add(square)));
  const scale = np.minimum(np.array(OPTIMIZER.clip).div(norm.add(1e-6)), 1);
  const cut = tree.map((g: np.Array) => g.mul(scale.ref), gradient) as Params;
  scale.dispose();
  return cut;
}

function adamW({ params, m, v }: State, gradient: Params, rates: np.Array): State {
  const { betas, eps, weightDecay } = OPTIMIZER;
  const [lr, correction1, correction2] = np.split(rates, 3) as [np.Array, np.Array, np.Array];
  const mean = (beta: number) => (old: np.Array, value: np.Array) => old.mul(beta).add(value.mul(1 - beta));
  const newM = tree.map(mean(betas[0]), m, tree.ref(gradient)) as Params;
  const newV = tree.map(mean(betas[1]), v, tree.map(np.square, gradient) as Params) as Params;
  const moved = (w: np.Array, m: np.Array, v: np.Array) => {
    const kept = w.ndim === 1 ? w : w.mul(lr.ref.mul(-weightDecay).add(1));
    const root = np.sqrt(v.div(correction2.ref)).add(eps);
    return kept.sub(m.div(correction1.ref).div(root).mul(lr.ref));
  };
  const newParams = tree.map(moved, params, tree.ref(newM), tree.ref(newV)) as Params;
  tree.dispose([lr, correction1, correction2]);
  return { params: newParams, m: newM, v: newV };
}

function makeParams(weights: TensorFile): Params {
  const array = (name: string) => {
    const { data, shape } = weight(weights, name);
    return np.array(data.slice(), { shape: [...shape] });
  };
  /** Checkpoints have [out, in]. */
  const matrix = (name: string) => array(`${name}.weight`).transpose();
  const blocks = Array.from({ length: MODEL.num_hidden_layers }, (_, layer): Block => {
    const [attention, mlp] = [`model.layers.${layer}.self_attn`, `model.layers.${layer}.mlp`];
    return {
      norm1: array(`model.layers.${layer}.input_layernorm.weight`),
      q: matrix(`${attention}.q_proj`),
      k: matrix(`${attention}.k_proj`),
      v: matrix(`${attention}.v_proj`),
      o: matrix(`${attention}.o_proj`),
      norm2: array(`model.layers.${layer}.post_attention_layernorm.weight`),
      gate: matrix(`${mlp}.gate_proj`),
      up: matrix(`${mlp}.up_proj`),
      down: matrix(`${mlp}.down_proj`),
    };
  });
  return {
    embed: array("model.embed_tokens.weight"),
    blocks,
    norm: array("model.norm.weight"),
    head: matrix("lm_head"),
  };
}
