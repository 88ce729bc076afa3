/**
 * The transformer's kernels: the WGSL files of each, its bindings and its parameters. The first comment of a kernel's file in
 * `shaders/` says what it computes.
 */
import activation from "../../shaders/activation.wgsl";
import activationSlope from "../../shaders/activation_slope.wgsl";
import angleFour from "../../shaders/angle_four.wgsl";
import angleOne from "../../shaders/angle_one.wgsl";
import argmax from "../../shaders/argmax.wgsl";
import attentionMix from "../../shaders/attention_mix.wgsl";
import attentionParams from "../../shaders/attention_params.wgsl";
import attentionScores from "../../shaders/attention_scores.wgsl";
import attentionShared from "../../shaders/attention_shared.wgsl";
import attentionSlots from "../../shaders/attention_slots.wgsl";
import attentionSoftmax from "../../shaders/attention_softmax.wgsl";
import combine from "../../shaders/combine.wgsl";
import eachFour from "../../shaders/each_four.wgsl";
import eachOne from "../../shaders/each_one.wgsl";
import elementwise from "../../shaders/elementwise.wgsl";
import embed from "../../shaders/embed.wgsl";
import gate from "../../shaders/gate.wgsl";
import gateGradient from "../../shaders/gate_gradient.wgsl";
import gather from "../../shaders/gather.wgsl";
import logProb from "../../shaders/log_prob.wgsl";
import logSumExp from "../../shaders/log_sum_exp.wgsl";
import norm from "../../shaders/norm.wgsl";
import normAffine from "../../shaders/norm_affine.wgsl";
import normParams from "../../shaders/norm_params.wgsl";
import normRows from "../../shaders/norm_rows.wgsl";
import normShared from "../../shaders/norm_shared.wgsl";
import normStageAffine from "../../shaders/norm_stage_affine.wgsl";
import normStageNormalize from "../../shaders/norm_stage_normalize.wgsl";
import normStageScale from "../../shaders/norm_stage_scale.wgsl";
import normalizer from "../../shaders/normalizer.wgsl";
import orderedKey from "../../shaders/ordered_key.wgsl";
import packRows from "../../shaders/pack_rows.wgsl";
import qkNorm from "../../shaders/qk_norm.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import ropeStore from "../../shaders/rope_store.wgsl";
import rowsAligned from "../../shaders/rows_aligned.wgsl";
import rowsAny from "../../shaders/rows_any.wgsl";
import sample from "../../shaders/sample.wgsl";
import samplePenalty from "../../shaders/sample_penalty.wgsl";
import slope from "../../shaders/slope.wgsl";
import storeKv from "../../shaders/store_kv.wgsl";
import sumHeads from "../../shaders/sum_heads.wgsl";
import { defineKernel, f32, u32 } from "../gpu/kernel.ts";
import { byStorage, STORAGE_SOURCE, type StorageType } from "./storage.ts";

const WEIGHT_AT = {
  one: "alias Element = f32;\nfn weightAt(index: u32) -> Element { return weight(index); }",
  four: "alias Element = vec4<f32>;\nfn weightAt(index: u32) -> Element { return weight4(index); }",
};

function embedKernel(storage: StorageType, step: keyof typeof WEIGHT_AT) {
  return defineKernel({
    name: `embed ${storage} ${step}`,
    sources: [STORAGE_SOURCE[storage], WEIGHT_AT[step], embed],
    bindings: { indices: "read", weights: "read", out: "write", rowTable: "read", positions: "read" },
    params: {
      ...u32("rowCount", "width", "tableStride", "firstRow", "tableRows"),
      ...u32("indexStart", "indexStride", "indexOffset", "positionOffset", "positionStride"),
      ...f32("scale"),
    },
  });
}

function packKernel(rows: "aligned" | "any") {
  return defineKernel({
    name: `pack rows ${rows}`,
    sources: [{ aligned: rowsAligned, any: rowsAny }[rows], packRows],
    bindings: { rows: "read", packed: "write" },
    params: u32("rowCount", "width", "rowStart", "rowStride"),
  });
}

export const PACK_ROWS = { aligned: packKernel("aligned"), any: packKernel("any") };

const embedKernels = (storage: StorageType) => ({
  one: embedKernel(storage, "one"),
  four: embedKernel(storage, "four"),
});

export const EMBED = byStorage(embedKernels);

const NORM_BINDINGS = { x: "read", weights: "read", bias: "read", out: "write" } as const;
const NORM_PARAMS = { ...u32("rowCount", "width"), ...f32("eps", "weightOffset") };

export const NORM = defineKernel({
  name: "norm",
  sources: [normParams, normAffine, reduce, normShared, norm],
  bindings: NORM_BINDINGS,
  params: NORM_PARAMS,
});

/** The same, a row an invocation: for CPUs, and widths of whole vec4. */
export const NORM_ROWS = defineKernel({
  name: "norm rows",
  sources: [normParams, normAffine, normRows],
  bindings: NORM_BINDINGS,
  params: NORM_PARAMS,
});

export const NORM_SCALE = defineKernel({
  name: "norm stage",
  sources: [normParams, reduce, normShared, normStageScale],
  bindings: { x: "read", scales: "write" },
  params: NORM_PARAMS,
});

export const NORM_NORMALIZE = defineKernel({
  name: "norm stage",
  sources: [normParams, reduce, normShared, normStageNormalize],
  bindings: { x: "read", scales: "read", out: "write" },
  params: NORM_PARAMS,
});

export const NORM_AFFINE = defineKernel({
  name: "norm stage",
  sources: [normParams, normAffine, normStageAffine],
  bindings: NORM_BINDINGS,
  params: NORM_PARAMS,
});

export const QK_NORM = defineKernel({
  name: "qk norm",
  sources: [reduce, normShared, qkNorm],
  bindings: { weights: "read", bias: "read", x: "write" },
  params: {
    ...u32("rowCount", "rowStride", "start", "groups", "width", "weightStride"),
    ...f32("eps", "weightOffset"),
  },
});

const ropeOf = (name: string, angle: string) =>
  defineKernel({
    name,
    sources: [angle, ropeStore],
    bindings: { rowTable: "read", ropeTable: "read", qkv: "write", keys: "write", values: "write" },
    params: u32("rowCount", "nHeads", "nKvHeads", "dHead", "rotaryDim", "start", "rowStride"),
  });

export const ROPE_STORE = { one: ropeOf("rope and store", angleOne), four: ropeOf("rope and store four", angleFour) };

export const STORE_KV = defineKernel({
  name: "store keys and values",
  sources: storeKv,
  bindings: { rowTable: "read", k: "read", v: "read", keys: "write", values: "write" },
  params: u32("rowCount", "width", "keyStart", "keyStride", "valueStart", "valueStride"),
});

export const ATTENTION_PARAMS = {
  ...u32("rowCount", "nHeads", "nKvHeads", "dHead", "queryStride", "slotStride", "window", "keyCount"),
  ...f32("scale", "softCap"),
  ...u32("splitKeys", "gradStart", "gradStride"),
};

/** What all kernels of attention begin with, and its bindings. */
export const ATTENTION_SHARED: readonly string[] = [attentionParams, attentionSlots, attentionShared];
export const ATTENTION_TABLES = { rowTable: "read", slotTable: "read", headNumbers: "read" } as const;

export const ATTENTION_SCORES = defineKernel({
  name: "attention scores",
  sources: [...ATTENTION_SHARED, attentionScores],
  bindings: { ...ATTENTION_TABLES, queries: "read", keys: "read", masked: "read", scores: "write" },
  params: ATTENTION_PARAMS,
});

export const ATTENTION_SOFTMAX = defineKernel({
  name: "attention softmax",
  sources: [...ATTENTION_SHARED, reduce, attentionSoftmax],
  bindings: { ...ATTENTION_TABLES, x: "write" },
  params: ATTENTION_PARAMS,
});

export const ATTENTION_MIX = defineKernel({
  name: "attention mix",
  sources: [...ATTENTION_SHARED, attentionMix],
  bindings: { ...ATTENTION_TABLES, pattern: "read", values: "read", z: "write" },
  params: ATTENTION_PARAMS,
});

export const ELEMENTWISE = defineKernel({
  name: "elementwise",
  sources: [activation, elementwise],
  bindings: { x: "write" },
  params: { ...u32("count", "start"), ...f32("scale", "softCap") },
});

export const SLOPE = defineKernel({
  name: "slope",
  sources: [activation, activationSlope, slope],
  bindings: { x: "write" },
  params: { ...u32("count", "start"), ...f32("softCap") },
});

const gateOf = (name: string, each: string) =>
  defineKernel({
    name,
    sources: [activation, activationSlope, each, gate],
    bindings: { gate: "read", x: "read", out: "write" },
    params: u32("count"),
  });

export const GATE = { one: gateOf("gate", eachOne), four: gateOf("gate four", eachFour) };

const gateGradientOf = (name: string, each: string) =>
  defineKernel({
    name,
    sources: [activation, activationSlope, each, gateGradient],
    bindings: { dy: "read", gate: "write", x: "write" },
    params: u32("count"),
  });

export const GATE_GRADIENT = {
  one: gateGradientOf("gate gradient", eachOne),
  four: gateGradientOf("gate gradient four", eachFour),
};

const combineOf = (name: string, element: string) =>
  defineKernel({
    name,
    sources: [`alias Element = ${element};`, combine],
    bindings: { x: "read", out: "write" },
    params: { ...u32("count"), ...f32("scale") },
  });

export const COMBINE = { one: combineOf("combine", "f32"), four: combineOf("combine four", "vec4<f32>") };

export const SUM_HEADS = defineKernel({
  name: "sum heads",
  sources: sumHeads,
  bindings: { result: "read", bias: "read", out: "write" },
  params: { ...u32("rowCount", "nHeads", "width"), ...f32("scale") },
});

const gatherOf = (name: string, element: string) =>
  defineKernel({
    name,
    sources: [`alias Element = ${element};`, gather],
    bindings: { list: "read", x: "read", out: "write" },
    params: {
      ...u32("entries", "heads", "width", "sourceStart", "sourceRowStride", "sourceHeadStride"),
      ...u32("targetStart", "targetRowStride", "targetHeadStride"),
    },
  });

export const GATHER = { one: gatherOf("gather", "f32"), four: gatherOf("gather four", "vec4<f32>") };

export const ARGMAX = defineKernel({
  name: "argmax",
  sources: [orderedKey, argmax],
  bindings: { logits: "read", tokens: "write" },
  params: u32("rowCount", "firstRow", "vocab"),
});

export const SAMPLE = defineKernel({
  name: "sample",
  sources: [orderedKey, sample],
  bindings: { logits: "read", uniforms: "read", tokens: "write" },
  params: { ...u32("rowCount", "firstRow", "vocab", "topK"), ...f32("topP", "minP", "temperature") },
});

export const SAMPLE_PENALTY = defineKernel({
  name: "sample penalty",
  sources: samplePenalty,
  bindings: { seen: "read", logits: "write" },
  params: { ...u32("count"), ...f32("penalty") },
});

export const LOG_SUM_EXP = defineKernel({
  name: "log sum exp",
  sources: [reduce, normalizer, logSumExp],
  bindings: { logits: "read", out: "write" },
  params: u32("rowCount", "firstRow", "vocab"),
});

export const LOG_PROB = defineKernel({
  name: "log prob",
  sources: logProb,
  bindings: { entries: "read", logits: "read", normalizers: "read", out: "write" },
  params: u32("count", "firstEntry", "firstRow", "vocab"),
});
