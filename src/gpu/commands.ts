/** Dispatches that are ready to be encoded, and their encoding into one compute pass. */
import { countDispatch, type Work } from "./counters.ts";
import type { Gpu } from "./gpu.ts";

/** Bytes from one dispatch's parameters to the next: the largest minUniformBufferOffsetAlignment WebGPU allows. */
export const PARAM_STRIDE = 256;

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
  gpu: Gpu,
  encoder: GPUCommandEncoder,
  label: string,
  commands: readonly Command[],
): void {
  if (gpu.profiler) {
    for (const command of commands) {
      const pass = encoder.beginComputePass({ label, timestampWrites: gpu.profiler.next(command.name) });
      encodeCommand(gpu, pass, command, undefined);
      pass.end();
    }
    gpu.profiler.resolve(encoder);
    return;
  }
  const pass = encoder.beginComputePass({ label });
  let current: GPUComputePipeline | undefined;
  for (const command of commands) {
    encodeCommand(gpu, pass, command, current);
    current = command.pipeline;
  }
  pass.end();
}

function encodeCommand(
  gpu: Gpu,
  pass: GPUComputePassEncoder,
  { pipeline, params, buffers, workgroups, work }: Command,
  current: GPUComputePipeline | undefined,
): void {
  if (pipeline !== current) pass.setPipeline(pipeline);
  pass.setBindGroup(0, params);
  pass.setBindGroup(1, buffers);
  pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
  countDispatch(gpu.counters, work);
}
