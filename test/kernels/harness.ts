/**
 * What the tests of single kernels share. Every table of cases runs on the plain GPU and on one that allows 7 workgroups
 * a dimension, which makes grids fold into y at small sizes.
 */
import { describe } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { Constants, Kernel } from "../../src/gpu/kernel.ts";
import { foldGrid, type Recorder } from "../../src/gpu/recorder.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { gpuWithLimits, testGpu } from "../support/gpu.ts";

/** One dispatch, of one workgroup a `group`, folded. */
export function dispatchGroups<Param extends string, Binding extends string>(
  recorder: Recorder,
  kernel: Kernel<Param, Binding>,
  params: NoInfer<Record<Param, number>>,
  buffers: NoInfer<Record<Binding, Tensor>>,
  groups: number,
  { constants = {}, slices = 1 }: { constants?: Constants; slices?: number } = {},
): void {
  recorder.dispatch(kernel, { params, buffers, constants, workgroups: [...foldGrid(recorder.gpu, groups), slices] });
}

/** Repeats a table on a GPU with its own limits and on one whose grids fold. */
export function describeOnGrids(name: string, body: (gpu: () => Promise<Gpu>) => void): void {
  let folding: Promise<Gpu> | undefined;
  describe(name, () => body(testGpu));
  describe(`${name}, grid folded`, () =>
    body(() => {
      folding ??= gpuWithLimits({ maxComputeWorkgroupsPerDimension: 7 });
      return folding;
    }));
}
