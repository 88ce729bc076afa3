/** Encodes dispatches that are ready into one compute pass. */
import { type Counters, countDispatch, type Work } from "./counters.ts";
import type { Profiler } from "./profiler.ts";

/** Bytes from one dispatch's parameters to the next: the largest minUniformBufferOffsetAlignment WebGPU allows. */
export const PARAM_STRIDE = 256;

/** Who is told of what is dispatched. */
interface Witnesses {
  readonly counters: Counters;
  readonly profiler: Profiler | undefined;
}

export interface Command {
  /** The kernel's. */
  readonly name: string;
  readonly pipeline: GPUComputePipeline;
  readonly params: GPUBindGroup;
  readonly buffers: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
  readonly work: Partial<Work> | undefined;
}

/** Encodes commands into one compute pass; into one pass each while `gpu.profile` is timing them. */
export function encodeCommands(
  { counters, profiler }: Witnesses,
  encoder: GPUCommandEncoder,
  label: string,
  commands: readonly Command[],
): void {
  if (profiler) {
    for (const command of commands) {
      const pass = encoder.beginComputePass({ label, timestampWrites: profiler.next(command.name) });
      encodeCommand(counters, pass, command, undefined);
      pass.end();
    }
    profiler.resolve(encoder);
    return;
  }
  const pass = encoder.beginComputePass({ label });
  let current: GPUComputePipeline | undefined;
  for (const command of commands) {
    encodeCommand(counters, pass, command, current);
    current = command.pipeline;
  }
  pass.end();
}

function encodeCommand(
  counters: Counters,
  pass: GPUComputePassEncoder,
  { pipeline, params, buffers, workgroups, work }: Command,
  current: GPUComputePipeline | undefined,
): void {
  if (pipeline !== current) pass.setPipeline(pipeline);
  pass.setBindGroup(0, params);
  pass.setBindGroup(1, buffers);
  pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
  countDispatch(counters, work);
}

/** Writes a parameter of a kernel as its WGSL type. */
export function writeParam(view: DataView, at: number, type: string, value: number): void {
  if (type === "f32") view.setFloat32(at, value, true);
  else if (type === "i32") view.setInt32(at, value, true);
  else view.setUint32(at, value, true);
}
