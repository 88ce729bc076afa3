/** Running kernels on their own: arrays in, dispatches recorded by the caller, arrays out. Knows no test runner. */
import type { Gpu } from "../../src/gpu/gpu.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";

type Arrays = Record<string, Float32Array | Uint32Array>;
type TensorsOf<Inputs extends Arrays> = { [Name in keyof Inputs]: Tensor };

/** Uploads `inputs`, runs what `record` records, and reads the tensors named by `outputs` as f32. */
export async function compute<const Inputs extends Arrays, const Output extends keyof Inputs>(
  gpu: Gpu,
  inputs: Inputs,
  outputs: readonly Output[],
  record: (recorder: Recorder, tensors: TensorsOf<Inputs>) => void,
): Promise<Record<Output, Float32Array>> {
  const tensors = Object.fromEntries(
    Object.entries(inputs).map(([name, data]) => [name, gpu.tensorFrom(data, [data.length], name)]),
  ) as TensorsOf<Inputs>;
  try {
    await Recorder.run(gpu, "kernel test", (recorder) => record(recorder, tensors));
    const read = await Promise.all(outputs.map(async (name) => [name, await tensors[name].read()] as const));
    return Object.fromEntries(read) as Record<Output, Float32Array>;
  } finally {
    for (const tensor of Object.values(tensors) as Tensor[]) tensor.destroy();
  }
}
