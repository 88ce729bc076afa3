export type { WeightGradients } from "../model/weights/gradients.ts";
export type { HookFunction, HookResult } from "../ops/bindings.ts";
export type { EditOp } from "../ops/edit-call.ts";
export { ActivationCache, type ActivationSlice, type CacheEntry, type EntryPlace } from "./activation-cache.ts";
export * from "./attribution/index.ts";
export * from "./attribution-graph/index.ts";
export type { BackwardOptions, BackwardResult } from "./backward.ts";
export * from "./circuits/index.ts";
export { compareModels, type ModelComparison } from "./compare-models.ts";
export { beamSearch, superposedDecode } from "./drafts.ts";
export type { Edit, EditValue } from "./edit.ts";
export type { GenerateEdit, HookedGenerateOptions, HookedGenerateStep } from "./generate.ts";
export { HookedModel, loadModel } from "./hooked-model.ts";
export { type Metric, metric, type WgslMetric } from "./metrics.ts";
export * from "./modules/index.ts";
export { type Cut, NdArray, type NestedNumbers } from "./nd-array.ts";
export * from "./patching/index.ts";
export * from "./paths/index.ts";
export type { Hook, HookedForwardOptions, Hooks } from "./plan.ts";
export {
  type Axis,
  POINT_KINDS,
  type Point,
  type PointKind,
  type PointPattern,
  pointTable,
  resolvePoints,
} from "./points.ts";
export * from "./readouts/index.ts";
export type { ForwardResult } from "./result.ts";
export type { SweepResult } from "./sweep.ts";
export type { SweepOptions } from "./sweep-options.ts";
