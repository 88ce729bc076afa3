/** How many workgroups a kernel gets, and how many invocations each has. */
import type { Constants } from "../gpu/kernel.ts";
import { foldGrid, type Recorder } from "../gpu/recorder.ts";

export type Grid = [number, number, number];

/** A grid of one invocation an element. */
export function elementGrid(recorder: Recorder, elements: number): [number, number] {
  return foldGrid(recorder.gpu, Math.ceil(elements / 64));
}

/** Constants of `reduce.wgsl` and `argmax.wgsl`: narrow workgroups on CPUs, where barriers between many invocations cost most. */
export function reduceConstants(recorder: Recorder): Constants {
  return recorder.gpu.host.adapterInfo.isSoftware ? { THREADS: 16, FOLDS: 4 } : {};
}
