/** Elements times a number that lies on the GPU. */
import scaleBySource from "../../shaders/scale_by.wgsl";
import { defineKernel, u32 } from "../gpu/kernel.ts";
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import { elementGrid } from "./launch.ts";
import type { View } from "./view.ts";

const SCALE_BY = defineKernel({
  name: "scale by",
  sources: scaleBySource,
  bindings: { factor: "read", x: "write" },
  params: u32("count", "start"),
});

/** x *= factor[0], in place; x packed [rows, heads, width]. */
export function scaleBy(recorder: Recorder, x: View, rows: number, factor: BufferSlice): void {
  const count = rows * x.heads * x.width;
  recorder.dispatch(SCALE_BY, {
    params: { count, start: x.start },
    buffers: { factor, x: x.buffer },
    workgroups: elementGrid(recorder, count),
  });
}
