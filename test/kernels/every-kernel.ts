/**
 * Every kernel of the project. `defineKernel` is the one maker, so it is watched: a test that mocks `src/gpu/kernel.ts`
 * with `watched` sees each kernel as it is defined. Most are made when their module is imported; those of matmul and
 * attention when they are first asked for, so `everyKernel` asks for all.
 */

import type { Kernel } from "../../src/gpu/kernel.ts";
import type { Recorder } from "../../src/gpu/recorder.ts";
import { FLOAT_STORAGES, STORAGE_TYPES } from "../../src/kernels/storage.ts";

const made: Kernel[] = [];
/** The texts they are put together from. */
export const sourcesUsed = new Set<string>();

type KernelModule = typeof import("../../src/gpu/kernel.ts");

/** The module with a `defineKernel` that is seen. */
export function watched(module: KernelModule): KernelModule {
  const defineKernel: KernelModule["defineKernel"] = (definition) => {
    const kernel = module.defineKernel(definition);
    made.push(kernel);
    for (const source of [definition.sources].flat()) sourcesUsed.add(source);
    return kernel;
  };
  return { ...module, defineKernel };
}

/** Modules that make kernels, or that do when they are asked. */
const modules = async () => ({
  definitions: await import("../../src/kernels/definitions.ts"),
  matmul: await import("../../src/kernels/matmul.ts"),
  attention: await import("../../src/kernels/attention.ts"),
  experts: await import("../../src/kernels/experts.ts"),
  routing: await import("../../src/kernels/routing.ts"),
  gradients: await import("../../src/kernels/gradients.ts"),
  dictionary: await import("../../src/kernels/dictionary.ts"),
  standardize: await import("../../src/kernels/standardize.ts"),
  normGradients: await import("../../src/kernels/norm-gradients.ts"),
  attentionGradients: await import("../../src/kernels/attention-gradients.ts"),
  attentionTileGradients: await import("../../src/kernels/attention-tile-gradients.ts"),
  expressionMetric: await import("../../src/hooks/expression-metric.ts"),
  metricGradient: await import("../../src/hooks/metric-gradient.ts"),
  headElements: await import("../../src/kernels/head-elements.ts"),
  scaleBy: await import("../../src/kernels/scale-by.ts"),
  xielu: await import("../../src/kernels/xielu.ts"),
  adamw: await import("../../src/train/adamw.ts"),
  edits: await import("../../src/ops/edit.ts"),
  metrics: await import("../../src/hooks/metrics.ts"),
  readouts: await import("../../src/hooks/readouts/kernels.ts"),
  attribution: await import("../../src/hooks/attribution/attribution-patch.ts"),
  zeroGradients: await import("../../src/hooks/zero-gradients.ts"),
});

/** All of them. `recorder` is for kernels that are made when they are recorded; it is not submitted. */
export async function everyKernel(recorder: Recorder): Promise<readonly Kernel[]> {
  const { matmul, attention, attentionTileGradients, definitions, expressionMetric } = await modules();
  const { byBroadcast, byLanes, byTiles, gradientKernels } = attentionTileGradients;
  const tiles = [16, 128, 256].flatMap((dHead) => [true, false].map((isSoftware) => byTiles(dHead, isSoftware)));
  for (const way of [...tiles, byBroadcast(20, 4), byBroadcast(64, 8), byLanes(16, 4), byLanes(16, 8)])
    gradientKernels(way);
  expressionMetric.expressionKernel({ term: "p", gradient: "logP" });
  expressionMetric.sumKernel({ term: "p" });
  for (const way of reachable(matmul).filter(isMatmul)) {
    for (const layout of way.layouts) {
      // Weights in blocks are read by the same kernels: one that shows each storage is enough.
      const floats = way.inBlocks ? [] : FLOAT_STORAGES;
      const storages = way === matmul.MATMUL_FAMILY.reference ? STORAGE_TYPES : [...floats, "q8_0" as const];
      for (const storage of storages) {
        for (const at of ["aligned", "any", "turned"] as const) {
          for (const lookup of [way.kernel, way.cacheKernel]) lookup(storage, layout, at);
        }
      }
    }
  }
  const params = Object.fromEntries(Object.keys(definitions.ATTENTION_PARAMS).map((name) => [name, 4]));
  const { zeros } = recorder.gpu;
  const inputs = Object.fromEntries(
    ["rowTable", "slotTable", "headNumbers", "queries", "keys", "values"].map((name) => [name, zeros]),
  );
  for (const way of reachable(attention).filter(isAttention)) {
    for (const dHead of [16, 64, 128]) {
      way.record(recorder, { params: { ...params, dHead }, buffers: inputs }, zeros);
    }
  }
  return made;
}

/** What a module exports, and what lies in that. */
function reachable(value: unknown, seen = new Set<unknown>()): object[] {
  if (typeof value !== "object" || value === null || seen.has(value)) return [];
  seen.add(value);
  return [value, ...Object.values(value).flatMap((part) => reachable(part, seen))];
}

interface MatmulWay {
  layouts: readonly string[];
  inBlocks: boolean;
  kernel(storage: string, layout: string, at: string): Kernel;
  cacheKernel(storage: string, layout: string, at: string): Kernel;
}

interface AttentionWay {
  passes: readonly string[];
  record(recorder: Recorder, call: { params: object; buffers: object }, z: unknown): void;
}

const isMatmul = (value: object): value is MatmulWay => "layouts" in value && "cacheKernel" in value;
const isAttention = (value: object): value is AttentionWay => "passes" in value && "record" in value;
