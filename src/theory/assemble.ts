/**
 * From heads and MLPs to the tensors of an ordinary model.
 *
 * Every layer gets the same number of heads and the same head width (a multiple of 4): the largest in use, the rest
 * zero. MLPs are as wide as each layer needs. A layer that lacks a part has zero weights there, and a zero part adds
 * nothing.
 */
import type { ModelSpec, TensorSource, WeightName } from "../model/spec.ts";
import type { AttentionHead } from "./attention.ts";
import type { Mlp } from "./mlp.ts";
import type { MapEntry, ResidualLayout } from "./spaces.ts";
import { SparseMatrix } from "./sparse.ts";

/** One step of the construction: an attention layer or an MLP layer. */
export interface Stage {
  name: StageName;
  heads?: AttentionHead[];
  mlp?: Mlp | null;
}

/** A part of a constructed model, in the order of its layers. */
export type StageName = "derive" | "decode" | "match" | "round" | "weigh" | "logit" | "superpose" | "log";

/** A model of the `custom` family: its spec and its weights, in float64. */
export interface AssembledModel {
  spec: ModelSpec;
  /** Tensor name -> float64 entries. Matrices are `[out, in]`. */
  weights: Map<string, SparseMatrix>;
  /** Layer of each stage. */
  stages: Partial<Record<StageName, number>>;
}

/** Weights outside the blocks, and the sizes only they know. */
export interface Ends {
  vocabSize: number;
  maxPositions: number;
  embed: SparseMatrix;
  positions: SparseMatrix;
  unembed: SparseMatrix;
  unembedBias: SparseMatrix;
}

/** A dense float32 tensor, as a safetensors file stores it. */
export interface DenseTensor {
  shape: readonly number[];
  data: Float32Array<ArrayBuffer>;
}

const END_WEIGHTS = ["embed.W_E", "embed.W_pos", "unembed.W_U", "unembed.b_U"] as const;
const BLOCK_WEIGHTS = [
  "attn.W_Q",
  "attn.W_K",
  "attn.W_V",
  "attn.W_O",
  "mlp.W_in",
  "mlp.b_in",
  "mlp.W_out",
  "mlp.b_out",
] as const;

interface Sizes {
  nHeads: number;
  dHead: number;
  /** Width of each layer's MLP. */
  mlps: number[];
}

/** Puts `blocks` (each the stages that share a layer) and the ends into one model. */
export function assemble(layout: ResidualLayout, blocks: Stage[][], nHeads: number, ends: Ends): AssembledModel {
  const stages = blocks.flat();
  const widest = (widths: number[]) => Math.max(4, 4 * Math.ceil(Math.max(0, ...widths) / 4));
  const sizes: Sizes = {
    nHeads,
    dHead: widest(stages.flatMap(({ heads }) => (heads ?? []).map((head) => head.width))),
    mlps: blocks.map((block) => widest(block.map(({ mlp }) => mlp?.width ?? 0))),
  };
  const weights = new Map<string, SparseMatrix>([
    ["embed.W_E", ends.embed],
    ["embed.W_pos", ends.positions],
    ["unembed.W_U", ends.unembed],
    ["unembed.b_U", ends.unembedBias],
  ]);
  blocks.forEach((block, layer) => {
    const matrices = emptyBlock(layout.dModel, sizes, sizes.mlps[layer] as number);
    for (const { heads, mlp } of block) {
      (heads ?? []).forEach((head, h) => {
        addHead(matrices, head, h * sizes.dHead);
      });
      if (mlp) addMlp(matrices, mlp);
    }
    for (const name of BLOCK_WEIGHTS) weights.set(`blocks.${layer}.${name}`, matrices[name]);
  });
  return {
    spec: customSpec(layout.dModel, sizes, ends),
    weights,
    stages: Object.fromEntries(blocks.flatMap((block, layer) => block.map(({ name }) => [name, layer]))),
  };
}

type BlockMatrices = Record<(typeof BLOCK_WEIGHTS)[number], SparseMatrix>;

function emptyBlock(dModel: number, { nHeads, dHead }: Sizes, dMlp: number): BlockMatrices {
  const intoHeads = () => new SparseMatrix([nHeads * dHead, dModel]);
  return {
    "attn.W_Q": intoHeads(),
    "attn.W_K": intoHeads(),
    "attn.W_V": intoHeads(),
    "attn.W_O": new SparseMatrix([dModel, nHeads * dHead]),
    "mlp.W_in": new SparseMatrix([dMlp, dModel]),
    "mlp.b_in": new SparseMatrix([dMlp]),
    "mlp.W_out": new SparseMatrix([dModel, dMlp]),
    "mlp.b_out": new SparseMatrix([dModel]),
  };
}

function addReads(matrix: SparseMatrix, entries: readonly MapEntry[], firstUnit = 0): void {
  for (const { unit, dimension, value } of entries) matrix.add(firstUnit + unit, dimension, value);
}

function addWrites(matrix: SparseMatrix, entries: readonly MapEntry[], firstUnit = 0): void {
  for (const { unit, dimension, value } of entries) matrix.add(dimension, firstUnit + unit, value);
}

function addHead(matrices: BlockMatrices, head: AttentionHead, firstUnit: number): void {
  addReads(matrices["attn.W_Q"], head.queryMap.readEntries, firstUnit);
  addReads(matrices["attn.W_K"], head.keyMap.readEntries, firstUnit);
  addReads(matrices["attn.W_V"], head.valueMap.readEntries, firstUnit);
  addWrites(matrices["attn.W_O"], head.valueMap.writeEntries, firstUnit);
}

function addMlp(matrices: BlockMatrices, mlp: Mlp): void {
  addReads(matrices["mlp.W_in"], mlp.map.readEntries);
  addWrites(matrices["mlp.W_out"], mlp.map.writeEntries);
  addWrites(matrices["mlp.b_out"], mlp.outputBias.writeEntries);
  mlp.inputBias.forEach((bias, unit) => {
    matrices["mlp.b_in"].add(unit, 0, bias);
  });
}

function customSpec(dModel: number, { nHeads, dHead, mlps }: Sizes, ends: Ends): ModelSpec {
  const noNorm = { kind: "none", eps: 0, weightOffset: 0 } as const;
  const sources: [WeightName, TensorSource][] = [
    ...END_WEIGHTS.map((name): [WeightName, TensorSource] => [name, { tensor: name }]),
    ...BLOCK_WEIGHTS.map((name): [WeightName, TensorSource] => [name, { tensor: `blocks.{i}.${name}` }]),
  ];
  return {
    family: "custom",
    nLayers: mlps.length,
    dModel,
    nHeads,
    nKvHeads: nHeads,
    dHead,
    dMlp: Math.max(...mlps),
    vocabSize: ends.vocabSize,
    maxPositions: ends.maxPositions,
    embed: { scale: 1, norm: false },
    positions: { kind: "learned", offset: 0 },
    norm: noNorm,
    block: { norms: "pre", residual: "sequential", parallelSharedNorm: false, residualScale: 1 },
    attention: { scale: 1, softCap: null, qkNorm: "none", qkNormSpec: noNorm },
    mlp: { kind: "plain", activation: "relu" },
    layers: mlps.map((dMlp) => ({ window: null, rope: null, dMlp })),
    ropes: [],
    unembed: { tied: false, scale: 1, softCap: null },
    weights: Object.fromEntries(sources),
  };
}

/** The tensors of a model, dense and rounded to float32, one at a time (they are large; a writer needs one). */
export function* denseTensors({ weights }: { weights: Map<string, SparseMatrix> }): Generator<[string, DenseTensor]> {
  for (const [name, matrix] of weights) yield [name, { shape: matrix.shape, data: matrix.toFloat32() }];
}
