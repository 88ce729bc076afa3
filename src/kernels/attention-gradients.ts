/** Attention backwards, step by step: the gradients of pattern, scores, queries, and of keys and values. */
import capGradientSource from "../../shaders/attention_cap_gradient.wgsl";
import mixTransposedSource from "../../shaders/attention_mix_transposed.wgsl";
import patternGradientSource from "../../shaders/attention_pattern_gradient.wgsl";
import sinkGradientSource from "../../shaders/attention_sink_gradient.wgsl";
import sinkGradientByPatternSource from "../../shaders/attention_sink_gradient_by_pattern.wgsl";
import softmaxGradientSource from "../../shaders/attention_softmax_gradient.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import { defineKernel, u32 } from "../gpu/kernel.ts";
import { type BufferSlice, foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { AttentionCall } from "./attention-steps.ts";
import { ATTENTION_PARAMS, ATTENTION_SHARED, ATTENTION_TABLES } from "./definitions.ts";
import { elementGrid, reduceConstants } from "./launch.ts";
import type { View } from "./view.ts";

const PATTERN_GRADIENT = defineKernel({
  name: "attention pattern gradient",
  sources: [...ATTENTION_SHARED, patternGradientSource],
  bindings: { ...ATTENTION_TABLES, dz: "read", values: "read", lengths: "read", out: "write" },
  params: ATTENTION_PARAMS,
});

const SOFTMAX_GRADIENT = defineKernel({
  name: "attention softmax gradient",
  sources: [...ATTENTION_SHARED, reduce, softmaxGradientSource],
  bindings: { ...ATTENTION_TABLES, pattern: "read", grad: "write" },
  params: ATTENTION_PARAMS,
});

const CAP_GRADIENT = defineKernel({
  name: "attention cap gradient",
  sources: [...ATTENTION_SHARED, capGradientSource],
  bindings: { ...ATTENTION_TABLES, scores: "read", grad: "write" },
  params: ATTENTION_PARAMS,
});

const SINK_GRADIENT = defineKernel({
  name: "attention sink gradient",
  sources: sinkGradientSource,
  bindings: { statistics: "read", sinks: "read", out: "write" },
  params: u32("count", "nHeads"),
});

const SINK_GRADIENT_BY_PATTERN = defineKernel({
  name: "attention sink gradient by pattern",
  sources: [...ATTENTION_SHARED, reduce, sinkGradientByPatternSource],
  bindings: { ...ATTENTION_TABLES, pattern: "read", grad: "read", out: "write" },
  params: ATTENTION_PARAMS,
});

const MIX_TRANSPOSED = defineKernel({
  name: "attention mix transposed",
  sources: mixTransposedSource,
  bindings: { groups: "read", counts: "read", weights: "read", x: "read", out: "write" },
  params: u32("groupCount", "nHeads", "nKvHeads", "dHead", "start", "rowStride", "keyCount"),
});

/** out [rows, nHeads, keys] = dz · v; `lengths`: keys of each sequence. */
export function patternGradient(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  dz: BufferSlice,
  lengths: Tensor,
  out: BufferSlice,
): void {
  const { rowTable, slotTable, headNumbers, values } = buffers;
  recorder.dispatch(PATTERN_GRADIENT, {
    params,
    constants,
    buffers: { rowTable, slotTable, headNumbers, dz, values, lengths, out },
    workgroups: elementGrid(recorder, params.rowCount * params.nHeads * params.keyCount),
  });
}

/** The gradient of the scores in place of that of the pattern. */
export function softmaxGradient(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  pattern: BufferSlice,
  grad: BufferSlice,
): void {
  const { rowTable, slotTable, headNumbers } = buffers;
  recorder.dispatch(SOFTMAX_GRADIENT, {
    params,
    constants: { ...constants, ...reduceConstants(recorder) },
    buffers: { rowTable, slotTable, headNumbers, pattern, grad },
    workgroups: foldGrid(recorder.gpu, params.rowCount * params.nHeads),
  });
}

/** The gradient of scores before the soft cap in place of that of scores. */
export function capGradient(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  scores: BufferSlice,
  grad: BufferSlice,
): void {
  const { rowTable, slotTable, headNumbers } = buffers;
  recorder.dispatch(CAP_GRADIENT, {
    params,
    constants,
    buffers: { rowTable, slotTable, headNumbers, scores, grad },
    workgroups: elementGrid(recorder, params.rowCount * params.nHeads * params.keyCount),
  });
}

/** out [rows, nHeads]: what each query gives to the gradient of its head's sink, of its statistics. */
export function sinkGradient(
  recorder: Recorder,
  { params: { rowCount, nHeads }, buffers: { headNumbers: sinks } }: AttentionCall,
  statistics: BufferSlice,
  out: BufferSlice,
): void {
  const count = rowCount * nHeads;
  recorder.dispatch(SINK_GRADIENT, {
    params: { count, nHeads },
    buffers: { statistics, sinks, out },
    workgroups: elementGrid(recorder, count),
  });
}

/** The same of the pattern and its gradient, [rows, nHeads, keys]. */
export function sinkGradientByPattern(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  { pattern, grad }: { pattern: BufferSlice; grad: BufferSlice },
  out: BufferSlice,
): void {
  const { rowTable, slotTable, headNumbers } = buffers;
  recorder.dispatch(SINK_GRADIENT_BY_PATTERN, {
    params,
    constants: { ...constants, ...reduceConstants(recorder) },
    buffers: { rowTable, slotTable, headNumbers, pattern, grad, out },
    workgroups: foldGrid(recorder.gpu, params.rowCount * params.nHeads),
  });
}

/** Keys that lie together, for `mixTransposed`. */
export interface KeyGroups {
  /** [groups] vec4 (first key row, its position, first and end of the query rows that may see them). */
  readonly groups: Uint32Array;
  /** Keys of each group, at most four. */
  readonly counts: Uint32Array;
  readonly nKvHeads: number;
  readonly keyCount: number;
}

/** out [key rows, nKvHeads, dHead] = sum over query rows and heads of weights[query, head, key] x[query, head]. */
export function mixTransposed(
  recorder: Recorder,
  keys: KeyGroups,
  weights: BufferSlice,
  x: View,
  out: BufferSlice,
): void {
  const { groups, counts, nKvHeads, keyCount } = keys;
  recorder.dispatch(MIX_TRANSPOSED, {
    params: {
      groupCount: counts.length,
      nHeads: x.heads,
      nKvHeads,
      dHead: x.width,
      start: x.start,
      rowStride: x.rowStride,
      keyCount,
    },
    buffers: { groups: recorder.upload(groups), counts: recorder.upload(counts), weights, x: x.buffer, out },
    workgroups: elementGrid(recorder, (counts.length * nKvHeads * x.width) / 4),
  });
}
