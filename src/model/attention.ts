/**
 * Attention of one block: queries, keys and values; rotation and the cache; the heads; the output projection.
 *
 * q, k and v of a row lie side by side, [row, nHeads + 2 nKvHeads, dHead], as one matrix product left them. Keys and
 * values are read from the cache by slot, so rows of this pass and of earlier ones look alike.
 */

import type { BufferSlice } from "../gpu/recorder.ts";
import { foldGrid } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { ATTENTION, type AttentionCall, recordSteps } from "../kernels/attention.ts";
import { elementGrid, matmul, projectHeads, reduceConstants, sumHeads } from "../kernels/calls.ts";
import * as kernels from "../kernels/definitions.ts";
import type { NormWeights } from "../kernels/matrix.ts";
import { isCausal } from "./causality.ts";
import { type BlockContext, offer, rowsView } from "./context.ts";
import { addBranch } from "./norms.ts";
import type { LayerSpec, RopeSpec } from "./spec.ts";
import type { ActivationView } from "./taps.ts";
import type { BlockWeights } from "./weights.ts";

const layerOf = ({ spec, layer }: BlockContext) => spec.layers[layer] as LayerSpec;

/**
 * Projects x [rows, dModel] to queries, keys and values, norms and rotates them, and stores keys and values.
 * Returns [rows, nHeads + 2 nKvHeads, dHead], rotated; keys and values in it are left out where the product itself stores
 * them, which it does when nothing happens to them in between.
 */
export function recordQkv(context: BlockContext, block: BlockWeights, x: Tensor): Tensor {
  const { recorder, spec, rows, layer } = context;
  const { nHeads, nKvHeads, dHead } = spec;
  const width = (nHeads + 2 * nKvHeads) * dHead;
  const qkv = recorder.temp(rows.count, width);
  const at = `blocks.${layer}.attn`;
  const hasQkNorm = spec.attention.qkNorm !== "none" && spec.attention.qkNormSpec.kind !== "none";
  const ropeIndex = layerOf(context).rope;
  const isWanted = ["q", "k", "v"].some((name) => context.taps.wants(`${at}.hook_${name}`));
  if (ropeIndex === null && !hasQkNorm && !isWanted) {
    const [keys, values] = cacheOf(context);
    const cache = { rowTable: context.rowTable, keys, values, kvWidth: nKvHeads * dHead };
    matmul(recorder, x, rows.count, block.qkv, qkv, { bias: block.qkvBias, cache });
    return qkv;
  }
  matmul(recorder, x, rows.count, block.qkv, qkv, { bias: block.qkvBias });
  const view = (start: number, heads: number) => (): ActivationView => ({
    buffer: qkv,
    start: start * dHead,
    rowStride: width,
    heads,
    headStride: dHead,
    width: dHead,
  });
  offer(context, `${at}.hook_q`, view(0, nHeads));
  offer(context, `${at}.hook_k`, view(nHeads, nKvHeads));
  offer(context, `${at}.hook_v`, view(nHeads + nKvHeads, nKvHeads));
  if (hasQkNorm) {
    recordQkNorm(context, qkv, 0, nHeads, block.qNorm);
    recordQkNorm(context, qkv, nHeads * dHead, nKvHeads, block.kNorm);
  }
  if (ropeIndex === null) {
    storeKeysAndValues(context, qkv);
  } else if (context.taps.wants(`${at}.hook_rot_q`) || context.taps.wants(`${at}.hook_rot_k`)) {
    rotate(context, qkv, ropeIndex, { store: false });
    offer(context, `${at}.hook_rot_q`, view(0, nHeads));
    offer(context, `${at}.hook_rot_k`, view(nHeads, nKvHeads));
    storeKeysAndValues(context, qkv);
  } else {
    rotate(context, qkv, ropeIndex, { store: true });
  }
  return qkv;
}

function storeKeysAndValues(context: BlockContext, qkv: Tensor): void {
  const { recorder, spec, rows, rowTable } = context;
  const { nHeads, nKvHeads, dHead } = spec;
  recorder.dispatch(kernels.STORE_KV, {
    params: { rowCount: rows.count, nHeads, nKvHeads, dHead },
    buffers: [rowTable, qkv, ...cacheOf(context)],
    workgroups: elementGrid(recorder, (rows.count * nKvHeads * dHead) / 4),
  });
}

function recordQkNorm(
  { recorder, spec, rows }: BlockContext,
  qkv: Tensor,
  start: number,
  heads: number,
  weights: NormWeights | undefined,
): void {
  const { qkNorm, qkNormSpec } = spec.attention;
  const full = qkNorm === "full";
  const groups = full ? 1 : heads;
  recorder.dispatch(kernels.QK_NORM, {
    params: {
      rowCount: rows.count,
      rowStride: (spec.nHeads + 2 * spec.nKvHeads) * spec.dHead,
      start,
      groups,
      width: full ? heads * spec.dHead : spec.dHead,
      weightStride: qkNorm === "perHead" ? spec.dHead : 0,
      eps: qkNormSpec.eps,
      weightOffset: qkNormSpec.weightOffset,
    },
    buffers: [weights?.w ?? recorder.gpu.zeros, weights?.b ?? recorder.gpu.zeros, qkv],
    workgroups: foldGrid(recorder.gpu, rows.count * groups),
    constants: {
      SUBTRACT_MEAN: qkNormSpec.kind === "layer" ? 1 : 0,
      HAS_BIAS: weights?.b ? 1 : 0,
      ...reduceConstants(recorder),
    },
  });
}

/** Rotates queries and keys in place, and stores keys and values in the same step unless somebody looks between. */
function rotate(context: BlockContext, qkv: Tensor, ropeIndex: number, { store }: { store: boolean }): void {
  const { recorder, spec, rows, rowTable, pass } = context;
  const rope = spec.ropes[ropeIndex] as RopeSpec;
  const table = pass.ropeTables[ropeIndex] as Tensor;
  const heads = spec.nHeads + 2 * spec.nKvHeads;
  recorder.dispatch(kernels.ROPE_STORE, {
    params: {
      rowCount: rows.count,
      nHeads: spec.nHeads,
      nKvHeads: spec.nKvHeads,
      dHead: spec.dHead,
      rotaryDim: rope.rotaryDim,
    },
    buffers: [rowTable, table, qkv, ...cacheOf(context)],
    workgroups: elementGrid(recorder, (rows.count * heads * spec.dHead) / 2),
    constants: { STORE: store ? 1 : 0, ...(rope.style === "interleaved" && { INTERLEAVED: 1 }) },
  });
}

/**
 * Keys and values of the layer, looked up when the pass is encoded: another pass over a fork of the cache may grow the
 * store between recording and then.
 */
function cacheOf({ pass: { store }, layer }: BlockContext): [BufferSlice, BufferSlice] {
  const keys = {
    get buffer() {
      return store.keys[layer] as GPUBuffer;
    },
  };
  const values = {
    get buffer() {
      return store.values[layer] as GPUBuffer;
    },
  };
  return [keys, values];
}

/** Attends: qkv as above to z [rows, nHeads, dHead]. In one kernel, or in three where scores or pattern are wanted. */
export function recordHeads(context: BlockContext, qkv: Tensor): Tensor {
  const { recorder, spec, rows, layer, taps } = context;
  const z = recorder.temp(rows.count, spec.nHeads * spec.dHead);
  const at = `blocks.${layer}.attn`;
  if (taps.wants(`${at}.hook_attn_scores`) || taps.wants(`${at}.hook_pattern`)) recordPattern(context, qkv, z);
  else recordFusedHeads(context, qkv, z);
  recorder.release(qkv);
  offer(context, `${at}.hook_z`, () => ({
    buffer: z,
    start: 0,
    rowStride: spec.nHeads * spec.dHead,
    heads: spec.nHeads,
    headStride: spec.dHead,
    width: spec.dHead,
  }));
  return z;
}

function attentionCall(context: BlockContext, qkv: Tensor): AttentionCall {
  const { recorder, spec, rows, rowTable, pass } = context;
  const layer = layerOf(context);
  return {
    params: {
      rowCount: rows.count,
      nHeads: spec.nHeads,
      nKvHeads: spec.nKvHeads,
      dHead: spec.dHead,
      queryStride: (spec.nHeads + 2 * spec.nKvHeads) * spec.dHead,
      slotStride: pass.slotStride,
      window: layer.window ?? 0,
      keyCount: pass.keyCount,
      scale: layer.attentionScale ?? spec.attention.scale,
      softCap: spec.attention.softCap ?? 0,
      splitKeys: 0,
    },
    work: { operations: 4 * keysSeen(context) * spec.nHeads * spec.dHead },
    buffers: [rowTable, pass.slotTable, pass.alibi ?? recorder.gpu.zeros, qkv, ...cacheOf(context)],
    constants: {
      ...(!isCausal(spec) && { CAUSAL: 0 }),
      ...(pass.alibi && { HAS_ALIBI: 1 }),
      ...(spec.attention.softCap && { HAS_SOFT_CAP: 1 }),
    },
  };
}

/** Keys that all rows see together; without causality, if every sequence were as long as the longest. */
function keysSeen(context: BlockContext): number {
  const { spec, rows, pass } = context;
  const { window } = layerOf(context);
  if (isCausal(spec)) return rows.keysSeen(window);
  return rows.count * Math.min(pass.keyCount, window === null ? pass.keyCount : 2 * window - 1);
}

function recordFusedHeads(context: BlockContext, qkv: Tensor, z: Tensor): void {
  const { recorder, rows } = context;
  const call = attentionCall(context, qkv);
  ATTENTION.choose(recorder, { ...call.params, runs: rows.runs }).record(recorder, call, z);
}

function recordPattern(context: BlockContext, qkv: Tensor, z: Tensor): void {
  const { recorder, spec, pass, layer } = context;
  recordSteps(recorder, attentionCall(context, qkv), z, (step, buffer) =>
    offer(context, `blocks.${layer}.attn.hook_${step === "scores" ? "attn_scores" : "pattern"}`, () => ({
      buffer,
      start: 0,
      rowStride: spec.nHeads * pass.keyCount,
      heads: spec.nHeads,
      headStride: pass.keyCount,
      width: pass.keyCount,
    })),
  );
}

/** Projects z [rows, nHeads, dHead] and adds it to the residual; in place where no point between is wanted. */
export function recordAttentionOut(context: BlockContext, block: BlockWeights, z: Tensor, residual: Tensor): void {
  const { recorder, spec, rows, layer, taps } = context;
  const point = `blocks.${layer}.hook_attn_out`;
  const resultPoint = `blocks.${layer}.attn.hook_result`;
  if (spec.block.norms === "pre" && !taps.wants(point) && !taps.wants(resultPoint)) {
    const scale = spec.block.residualScale;
    matmul(recorder, z, rows.count, block.W_O, residual, { bias: block.b_O, scale, combine: "add" });
    recorder.release(z);
    return;
  }
  const branch = recorder.temp(rows.count, spec.dModel);
  if (taps.wants(resultPoint)) recordHeadResults(context, block, z, branch, resultPoint);
  else matmul(recorder, z, rows.count, block.W_O, branch, { bias: block.b_O });
  recorder.release(z);
  addBranch(context, branch, block.ln1Post, point, residual);
}

/** Each head's own part of the output, [rows, nHeads, dModel], and their sum plus bias. */
function recordHeadResults(context: BlockContext, block: BlockWeights, z: Tensor, branch: Tensor, point: string): void {
  const { recorder, spec, rows } = context;
  const { nHeads, dModel } = spec;
  const result = projectHeads(recorder, z, rows.count, block.W_O, nHeads);
  offer(context, point, () => ({
    ...rowsView(result, dModel, 0, nHeads * dModel),
    heads: nHeads,
    headStride: dModel,
  }));
  sumHeads(recorder, result, rows.count, nHeads, block.b_O, branch);
  recorder.release(result);
}
