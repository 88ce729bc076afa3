/** Attention step by step: scores and pattern, both [rows, nHeads, keys], then z [rows, nHeads, dHead]. */
import { type BufferSlice, type Dispatch, foldGrid, type Recorder } from "../gpu/recorder.ts";
import {
  ATTENTION_MIX,
  type ATTENTION_PARAMS,
  ATTENTION_SCORES,
  ATTENTION_SOFTMAX,
  type ATTENTION_TABLES,
} from "./definitions.ts";
import { elementGrid, reduceConstants } from "./launch.ts";

export type AttentionParam = keyof typeof ATTENTION_PARAMS;

/** What attention reads. */
export type AttentionInput = keyof typeof ATTENTION_TABLES | "queries" | "keys" | "values";

/** What all attention kernels share; each adds what it writes, and its grid. */
export type AttentionCall = Omit<Dispatch<AttentionParam, AttentionInput>, "workgroups">;

export function attentionScores(recorder: Recorder, call: AttentionCall, scores: BufferSlice): void {
  const { rowCount, nHeads, keyCount } = call.params;
  const { rowTable, slotTable, headNumbers, queries, keys } = call.buffers;
  const masked = recorder.upload(new Float32Array([Number.NEGATIVE_INFINITY]));
  recorder.dispatch(ATTENTION_SCORES, {
    ...call,
    buffers: { rowTable, slotTable, headNumbers, queries, keys, masked, scores },
    workgroups: elementGrid(recorder, rowCount * nHeads * keyCount),
  });
}

/** In place of the scores. */
export function attentionSoftmax(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  x: BufferSlice,
) {
  const { rowTable, slotTable, headNumbers } = buffers;
  recorder.dispatch(ATTENTION_SOFTMAX, {
    params,
    constants: { ...constants, ...reduceConstants(recorder) },
    buffers: { rowTable, slotTable, headNumbers, x },
    workgroups: foldGrid(recorder.gpu, params.rowCount * params.nHeads),
  });
}

export function attentionMix(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  pattern: BufferSlice,
  z: BufferSlice,
): void {
  const { rowTable, slotTable, headNumbers, values } = buffers;
  recorder.dispatch(ATTENTION_MIX, {
    params,
    constants,
    buffers: { rowTable, slotTable, headNumbers, pattern, values, z },
    workgroups: elementGrid(recorder, (params.rowCount * params.nHeads * params.dHead) / 4),
  });
}
