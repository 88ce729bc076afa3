/// <reference types="@webgpu/types" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The main entry, `superlens`: engine and hooks, for any host with WebGPU. A browser gets this file; Node and Deno get
 * their own entries, which add what those hosts have beyond it (see `node.ts`, `deno.ts`) and export the same names.
 * `theory.ts` and `bench.ts` are the other two entries; nothing here reaches them.
 */
export * from "./checkpoint/index.ts";
export * from "./errors.ts";
export { Gpu } from "./gpu/gpu.ts";
export type { AdapterInfo, AdapterKind, GpuHost, HostName } from "./gpu/host.ts";
export { Tensor } from "./gpu/tensor.ts";
export * from "./hooks/index.ts";
export {
  ADAPTER_CHOICES,
  type AdapterChoice,
  adapterLine,
  type GpuProvider,
  parseAdapterChoice,
} from "./hosts/adapters.ts";
export { type GpuRequest, registerGpuProvider, requestGpu } from "./hosts/request.ts";
export { registerTuningStore, type TuningStore } from "./kernels/tuning/store.ts";
export type { TuneProgress } from "./kernels/tuning/tuner.ts";
export type { EmbedsInput, EncodeInputOptions, ModelInput, SequenceInput } from "./model/input.ts";
export { KvCache } from "./model/kv-cache.ts";
export { type LoadOptions, type ModelSource, openModelSource, readSpec } from "./model/load.ts";
export { Logits } from "./model/logits.ts";
export type { ForwardOptions, LogitsSelection } from "./model/runner.ts";
export type * from "./model/spec.ts";
export type { WeightValues } from "./model/weights/read.ts";
export type { Tokenizer } from "./tokenizer/index.ts";
