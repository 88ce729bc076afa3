/** Attention step by step: scores and pattern, both [rows, nHeads, keys], then z [rows, nHeads, dHead]. */
import { type BufferSlice, type Dispatch, foldGrid, type Recorder } from "../gpu/recorder.ts";
import { ATTENTION_MIX, type ATTENTION_PARAMS, ATTENTION_SCORES, ATTENTION_SOFTMAX } from "./definitions.ts";
import { elementGrid } from "./launch.ts";

export type AttentionParam = keyof typeof ATTENTION_PARAMS;

/** Row table, slot table, ALiBi slopes, queries, keys and values; parameters and constants of `attention_shared.wgsl`. */
export interface AttentionCall extends Omit<Dispatch<AttentionParam>, "workgroups" | "buffers"> {
  buffers: readonly [BufferSlice, BufferSlice, BufferSlice, BufferSlice, BufferSlice, BufferSlice];
}

export function attentionScores(recorder: Recorder, call: AttentionCall, scores: BufferSlice): void {
  const { rowCount, nHeads, keyCount } = call.params;
  const [rowTable, slotTable, slopes, queries, keys] = call.buffers;
  const masked = recorder.upload(new Float32Array([Number.NEGATIVE_INFINITY]));
  recorder.dispatch(ATTENTION_SCORES, {
    ...call,
    buffers: [rowTable, slotTable, slopes, queries, keys, masked, scores],
    workgroups: elementGrid(recorder, rowCount * nHeads * keyCount),
  });
}

/** In place of the scores. */
export function attentionSoftmax(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  x: BufferSlice,
) {
  const [rowTable, slotTable, slopes] = buffers;
  recorder.dispatch(ATTENTION_SOFTMAX, {
    params,
    constants,
    buffers: [rowTable, slotTable, slopes, x],
    workgroups: foldGrid(recorder.gpu, params.rowCount * params.nHeads),
  });
}

export function attentionMix(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  pattern: BufferSlice,
  z: BufferSlice,
): void {
  const [rowTable, slotTable, slopes, , , values] = buffers;
  recorder.dispatch(ATTENTION_MIX, {
    params,
    constants,
    buffers: [rowTable, slotTable, slopes, pattern, values, z],
    workgroups: elementGrid(recorder, (params.rowCount * params.nHeads * params.dHead) / 4),
  });
}
