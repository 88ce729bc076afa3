/**
 * The entry `superlens`: the engine and its hooks, for anywhere WebGPU is. A browser gets this file; Node and Deno get
 * their own entries, which add what those hosts have beyond it (see `node.ts`, `deno.ts`) and export the same names.
 *
 * `superlens/theory` and `superlens/bench` are entries of their own, so that a page carries only what it imports:
 * `theory/index.ts` and `bench/index.ts` for a browser, `theory.node.ts` and its like for Node and Deno.
 *
 * @module superlens
 */
export * from "./checkpoint/index.ts";
export * from "./errors.ts";
export type {} from "./globals.ts";
export { Gpu } from "./gpu/gpu.ts";
export type { AdapterInfo, AdapterKind, GpuHost, HostName, MemoryLeft } from "./gpu/host.ts";
export type { KernelTime } from "./gpu/profiler.ts";
export { Tensor, type TensorType } from "./gpu/tensor.ts";
export * from "./hooks/index.ts";
export {
  ADAPTER_CHOICES,
  type AdapterChoice,
  adapterLine,
  type GpuProvider,
  type PowerPreference,
  parseAdapterChoice,
} from "./hosts/adapters.ts";
export { type GpuRequest, registerGpuProvider, requestGpu } from "./hosts/request.ts";
export { type Choices, registerTuningStore, type TuningStore } from "./kernels/tuning/store.ts";
export type { TuneProgress } from "./kernels/tuning/tuner.ts";
export type { Draft, DraftOptions, Drafts } from "./model/drafts/drafts.ts";
export { NgramModel, type NgramOptions } from "./model/drafts/ngrams.ts";
export type { SuperposedOptions } from "./model/drafts/superposed.ts";
export type { FinishReason, GenerateOptions, GenerateStep } from "./model/generate.ts";
export type {
  EmbedsInput,
  EncodeInputOptions,
  ModelInput,
  ResidualInput,
  SequenceInput,
  TokenInput,
} from "./model/input.ts";
export { KvCache } from "./model/kv-cache.ts";
export { type LoadOptions, type ModelSource, type OpenModelOptions, openModelSource, readSpec } from "./model/load.ts";
export type { IdsInput, KvCacheOptions, PerSequence, TokenPositionOptions } from "./model/loaded-model.ts";
export type { AnswerLogProb, LogProbsOptions } from "./model/log-probs.ts";
export { Logits } from "./model/logits.ts";
export type { AbortOptions, LongCallOptions } from "./model/long-call.ts";
export type { Model } from "./model/model.ts";
export type { ProcessOptions } from "./model/processed.ts";
export type { ForwardOptions, LogitsSelection } from "./model/runner.ts";
export type { SamplingOptions } from "./model/sampling.ts";
export type * from "./model/spec.ts";
export type { TuningOptions } from "./model/tuning.ts";
export type { WeightsAs } from "./model/weights/plan.ts";
export type { WeightValues } from "./model/weights/read.ts";
export type { Indices, NumberList, NumericArray } from "./schema/schema.ts";
export type { ChatMessage, ChatTemplateOptions } from "./tokenizer/chat.ts";
export type { Tokenizer } from "./tokenizer/index.ts";
export type { DecodeOptions, EncodeOptions, TextTokenizer, TokenStream } from "./tokenizer/types.ts";
