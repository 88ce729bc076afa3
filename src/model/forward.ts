/**
 * The forward pass: a `ModelSpec` and a list of rows become a list of dispatches.
 *
 * Read top to bottom it is a decoder: embed, then for each block attention and MLP around the residual stream, then norm
 * and unembedding. The residual [row, dModel] is one buffer, updated in place. Each named point of the model is offered
 * to `taps`; where a point inside a fused kernel is wanted, the unfused kernels run instead.
 */
import { GpuError } from "../errors.ts";
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { add, copyRows, embed, gather, matmul, selectRows } from "../kernels/calls.ts";
import type { Matrix } from "../kernels/matrix.ts";
import type { RowTable } from "../ops/rows.ts";
import { recordAttentionOut, recordHeads, recordQkv } from "./attention.ts";
import { type BlockContext, offer, type PassContext, rowsView } from "./context.ts";
import type { SlotStore } from "./kv-cache.ts";
import { recordMlp } from "./mlp.ts";
import { inputNorm, recordNorm } from "./norms.ts";
import type { ModelSpec } from "./spec.ts";
import type { Taps } from "./taps.ts";
import type { BlockWeights, Weights } from "./weights/weights.ts";

/** What one pass computes. */
export interface Pass {
  /** Ordered so that the rows present at a layer are a prefix: rows that join later come later. */
  rows: RowTable;
  /** The same on the GPU, [rows] vec4. */
  rowTable: Tensor;
  store: SlotStore;
  /** [sequence, slotStride]: the slot of each position, as far as it is needed. */
  slotTable: Tensor;
  slotStride: number;
  /** Longest sequence once the pass is done; the width of score and pattern rows. */
  keyCount: number;
  /** RoPE tables by index of `spec.ropes`, [position, rotaryDim / 2, 2]. */
  ropeTables: Tensor[];
  /** ALiBi slopes [nHeads], when the model has them. */
  alibi: Tensor | undefined;
  /** Token ids [rows] on the GPU, in place of those in the row table. */
  tokens?: Tensor | undefined;
  /** In place of token embeddings: rows `firstRow`.. of [.., dModel]. */
  inputsEmbeds?: { tensor: Tensor; firstRow: number } | undefined;
  /** Rows present from each layer on, when not all enter at layer 0; see `joins`. */
  activeRows?: readonly number[];
  /** What to do when rows join at a layer: fill their residual. */
  join?: (recorder: Recorder, layer: number, residual: Tensor) => void;
  /** Rows that go through the last block's attention, its MLP and the unembedding. Undefined: all. */
  outputRows?: readonly number[] | undefined;
  /** Ends before this block and returns the residual alone. */
  stopAtLayer?: number | undefined;
}

export interface PassOutput {
  /** [output rows, dModel], the residual after the last block that ran. A temporary of the recorder. */
  residual: Tensor;
  /** The rows it has, on the host and on the GPU. */
  rows: RowTable;
  rowTable: Tensor;
}

/** Records embedding and blocks. */
export function recordBlocks(
  recorder: Recorder,
  spec: ModelSpec,
  weights: Weights,
  pass: Pass,
  taps: Taps,
): PassOutput {
  let rows = pass.activeRows ? pass.rows.slice(0, pass.activeRows[0] as number) : pass.rows;
  let { rowTable } = pass;
  let residual = recorder.temp(pass.rows.count, spec.dModel);
  recordEmbedding({ recorder, spec, pass, taps, rows, rowTable }, weights, residual);
  const end = Math.min(pass.stopAtLayer ?? spec.nLayers, spec.nLayers);
  for (let layer = 0; layer < end; layer++) {
    pass.join?.(recorder, layer, residual);
    if (pass.activeRows) rows = pass.rows.slice(0, pass.activeRows[layer] as number);
    if (rows.count === 0) continue;
    const context: BlockContext = { recorder, spec, pass, taps, layer, rows, rowTable };
    offer(context, `blocks.${layer}.hook_resid_pre`, () => rowsView(residual, spec.dModel));
    const narrow = layer === spec.nLayers - 1 ? pass.outputRows : undefined;
    ({ residual, rows, rowTable } = recordBlock(context, weights, residual, narrow));
    offer({ ...context, rows }, `blocks.${layer}.hook_resid_post`, () => rowsView(residual, spec.dModel));
  }
  return { residual, rows, rowTable };
}

function recordEmbedding(context: PassContext, weights: Weights, residual: Tensor): void {
  const { recorder, spec, pass, taps, rows, rowTable } = context;
  const count = rows.count;
  if (count === 0) return;
  if (pass.inputsEmbeds) {
    const { tensor, firstRow } = pass.inputsEmbeds;
    const whole = recorder.upload(new Uint32Array([0, 0]));
    // Only the rows of this pass are bound, since all of them may exceed a binding; it starts at a multiple of 256 bytes.
    const start = (firstRow * spec.dModel) % 64;
    const offset = (firstRow * spec.dModel - start) * 4;
    const slice = { buffer: tensor.buffer, offset, size: (start + count * spec.dModel) * 4 };
    const source = { buffer: slice, start, rowStride: 0 };
    gather(recorder, source, { buffer: residual, rowStride: 0 }, whole, 1, count * spec.dModel);
  } else {
    const lookup = { by: "token" as const, scale: spec.embed.scale, tokens: pass.tokens };
    const apart = taps.wants("hook_embed") || taps.wants("hook_pos_embed") || weights.W_pos?.parts.length !== 1;
    const positions = apart ? undefined : positionsOf(spec, weights);
    embed(recorder, rowTable, count, weights.W_E, residual, { ...lookup, positions });
    if (positions) {
      finishEmbedding(context, weights, residual);
      return;
    }
  }
  offer(context, "hook_embed", () => rowsView(residual, spec.dModel));
  recordPositions(context, weights, residual);
  finishEmbedding(context, weights, residual);
}

/** The table of learned positions, if the model has one. */
function positionsOf({ positions }: ModelSpec, { W_pos }: Weights): { table: Matrix; offset: number } | undefined {
  return W_pos && positions.kind === "learned" ? { table: W_pos, offset: positions.offset } : undefined;
}

/** Adds learned positions in a step of its own, where the embedding without them or they themselves are looked at. */
function recordPositions(context: PassContext, weights: Weights, residual: Tensor): void {
  const { recorder, spec, rows, rowTable } = context;
  const learned = positionsOf(spec, weights);
  if (!learned) return;
  const positions = recorder.temp(rows.count, spec.dModel);
  embed(recorder, rowTable, rows.count, learned.table, positions, { by: "position", indexOffset: learned.offset });
  offer(context, "hook_pos_embed", () => rowsView(positions, spec.dModel));
  add(recorder, positions, residual, rows.count * spec.dModel);
  recorder.release(positions);
}

function finishEmbedding(context: PassContext, weights: Weights, residual: Tensor): void {
  const { recorder, spec, rows } = context;
  if (!spec.embed.norm) return;
  const normed = recorder.temp(rows.count, spec.dModel);
  recordNorm(context, residual, weights.embedNorm, normed);
  copyRows(recorder, normed, residual, rows.count * spec.dModel);
  recorder.release(normed);
}

/**
 * One block. `narrow` lists the rows that something after it reads; the others end once their keys and values are stored.
 */
function recordBlock(
  context: BlockContext,
  weights: Weights,
  residual: Tensor,
  narrow: readonly number[] | undefined,
): PassOutput {
  const { recorder, spec } = context;
  const block = weights.blocks[context.layer] as BlockWeights;
  const parallel = spec.block.residual === "parallel";
  const attentionInput = inputNorm(context, "ln1", residual, block.ln1);
  const parallelInput =
    parallel && !spec.block.parallelSharedNorm ? inputNorm(context, "ln2", residual, block.ln2) : attentionInput;
  const qkv = recordQkv(context, block, attentionInput);
  let here = { context, residual, qkv, mlpInput: parallelInput };
  if (narrow) here = narrowTo(here, narrow);
  if (here.context.rows.count > 0) {
    const z = recordHeads(here.context, here.qkv);
    recordAttentionOut(here.context, block, z, here.residual);
    if (!parallel) {
      offer(here.context, `blocks.${context.layer}.hook_resid_mid`, () => rowsView(here.residual, spec.dModel));
      here.mlpInput = inputNorm(here.context, "ln2", here.residual, block.ln2);
    }
    if (block.W_in) recordMlp(here.context, block, here.mlpInput, here.residual);
    if (here.mlpInput !== here.residual) recorder.release(here.mlpInput);
  }
  if (attentionInput !== residual) recorder.release(attentionInput);
  if (parallelInput !== residual) recorder.release(parallelInput);
  return { residual: here.residual, rows: here.context.rows, rowTable: here.context.rowTable };
}

interface Narrowable {
  context: BlockContext;
  residual: Tensor;
  qkv: Tensor;
  mlpInput: Tensor;
}

/** Keeps only some rows of what the rest of the block reads. */
function narrowTo({ context, residual, qkv, mlpInput }: Narrowable, keep: readonly number[]): Narrowable {
  const { recorder, spec } = context;
  const rows = context.rows.select(keep);
  if (rows.count === 0) return { context: { ...context, rows }, residual, qkv, mlpInput };
  const pick = (tensor: Tensor, width: number) => selectRows(recorder, tensor, keep, width);
  const kept = {
    context: { ...context, rows, rowTable: recorder.upload(rows.data) },
    residual: pick(residual, spec.dModel),
    qkv: pick(qkv, (spec.nHeads + 2 * spec.nKvHeads) * spec.dHead),
    mlpInput: spec.block.residual === "parallel" ? pick(mlpInput, spec.dModel) : mlpInput,
  };
  recorder.release(residual);
  recorder.release(qkv);
  return kept;
}

/** An unembedding: the model's own, or the rows of some tokens alone. */
export interface Head {
  /** [tokens, dModel]. */
  W_U: Matrix;
  b_U?: Tensor | undefined;
}

/**
 * Final norm and unembedding: logits [rows, tokens] = scale * cap(norm(residual) W_U^T + b_U).
 * `pick` selects rows after the norm, so that the norm's points keep every row; the first goes to row `firstRow`.
 */
export function recordLogits(
  context: PassContext,
  weights: Weights,
  residual: Tensor,
  pick: readonly number[] | undefined,
  logits: Tensor,
  firstRow = 0,
  head: Head = weights,
): void {
  const { recorder, spec } = context;
  let normed = recorder.temp(context.rows.count, spec.dModel);
  recordNorm(context, residual, weights.lnFinal, normed, { points: "ln_final" });
  if (pick) {
    const picked = selectRows(recorder, normed, pick, spec.dModel);
    recorder.release(normed);
    normed = picked;
  }
  const count = pick ? pick.length : context.rows.count;
  const tokens = head.W_U.outWidth;
  for (const { first, rows, slice, outStart } of logitBlocks(recorder, logits, firstRow, count, tokens)) {
    recordUnembed(recorder, spec, head, normed, first, rows, slice, outStart);
  }
  recorder.release(normed);
  const rows = pick ? context.rows.select(pick) : context.rows;
  offer({ ...context, rows }, "logits", () => rowsView(logits, tokens, firstRow * tokens));
}

/** Logits [rows, tokens], from element `outStart` of `logits`, of the rows `first`.. of normed [.., dModel]. */
export function recordUnembed(
  recorder: Recorder,
  spec: ModelSpec,
  { W_U, b_U }: Head,
  normed: Tensor,
  first: number,
  rows: number,
  logits: BufferSlice,
  outStart = 0,
): void {
  matmul(recorder, normed, rows, W_U, logits, {
    bias: b_U,
    scale: spec.unembed.scale,
    softCap: spec.unembed.softCap,
    rowStart: first * spec.dModel,
    rowStride: spec.dModel,
    outStart,
  });
}

/**
 * Cuts rows `firstRow .. firstRow + count` of [rows, width] into blocks that fit in one binding. A binding starts at a
 * multiple of 64 rows, which is one of 256 bytes, and `outStart` elements before the block's first row.
 */
export function logitBlocks(recorder: Recorder, tensor: Tensor, firstRow: number, count: number, width: number) {
  const rowBytes = width * 4;
  const limit = recorder.gpu.limits.maxStorageBufferBindingSize;
  const perBinding = tensor.length * 4 <= limit ? Number.POSITIVE_INFINITY : Math.floor(limit / rowBytes / 64) * 64;
  if (perBinding === 0) {
    throw new GpuError(
      "gpu/binding-limit",
      `64 rows of logits take ${64 * rowBytes} bytes; this adapter binds at most ${limit}. Ask for the logits of fewer positions at once.`,
    );
  }
  const blocks: { first: number; rows: number; slice: BufferSlice; outStart: number }[] = [];
  for (let row = firstRow; row < firstRow + count; ) {
    const start = Number.isFinite(perBinding) ? Math.floor(row / 64) * 64 : 0;
    const rows = Math.min(firstRow + count, start + perBinding) - row;
    const size = (row - start + rows) * rowBytes;
    blocks.push({
      first: row - firstRow,
      rows,
      slice: { buffer: tensor.buffer, offset: start * rowBytes, size },
      outStart: (row - start) * width,
    });
    row += rows;
  }
  return blocks;
}
