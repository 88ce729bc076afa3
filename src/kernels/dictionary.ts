/** What a dictionary's features need beyond matmuls: which of them are active. */
import keepSource from "../../shaders/keep.wgsl";
import keepLargestSource from "../../shaders/keep_largest.wgsl";
import { defineKernel, u32 } from "../gpu/kernel.ts";
import { type BufferSlice, foldGrid, type Recorder } from "../gpu/recorder.ts";
import { elementGrid } from "./launch.ts";
import type { View } from "./view.ts";

const KEEP = defineKernel({
  name: "keep",
  sources: keepSource,
  bindings: { other: "read", x: "write" },
  params: u32("count", "width"),
});

const KEEP_LARGEST = defineKernel({
  name: "keep largest",
  sources: keepLargestSource,
  bindings: { x: "write" },
  params: u32("rowCount", "width", "keep"),
});

const KIND = { jumprelu: 0, gated: 1, gradient: 2 } as const;

/**
 * In place, x [rows, width]: `jumprelu` keeps what is above `other` [width], `gated` what has a positive number in `other`
 * [rows, width], both not below 0; `gradient` keeps what has a positive number there.
 */
export function keep(recorder: Recorder, kind: keyof typeof KIND, x: View, other: BufferSlice, rows: number): void {
  const count = rows * x.width;
  recorder.dispatch(KEEP, {
    params: { count, width: x.width },
    buffers: { other, x: x.buffer },
    workgroups: elementGrid(recorder, count),
    constants: { KIND: KIND[kind] },
  });
}

/** In place, x [rows, width]: the `count` largest of each row that are above 0, of equal ones the first; 0 elsewhere. */
export function keepLargest(recorder: Recorder, x: View, rows: number, count: number): void {
  recorder.dispatch(KEEP_LARGEST, {
    params: { rowCount: rows, width: x.width, keep: count },
    buffers: { x: x.buffer },
    workgroups: foldGrid(recorder.gpu, rows),
    constants: { THREADS: recorder.gpu.host.adapterInfo.isSoftware ? 16 : 256 },
  });
}
