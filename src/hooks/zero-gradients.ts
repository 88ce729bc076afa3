/** Which gradients are 0 in every entry, so that a caller is told where the metric depends on nothing. */
import anyNonzero from "../../shaders/any_nonzero.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import type { Gpu } from "../gpu/gpu.ts";
import { defineKernel, u32 } from "../gpu/kernel.ts";
import { Recorder } from "../gpu/recorder.ts";
import { reduceConstants } from "../kernels/launch.ts";
import type { WeightGradients } from "../model/weights/gradients.ts";
import type { Region } from "../model/weights/tensors.ts";
import type { ActivationCache } from "./activation-cache.ts";

const ANY_NONZERO = defineKernel({
  name: "any nonzero",
  sources: [reduce, anyNonzero],
  bindings: { x: "read", out: "write" },
  params: u32("start", "rows", "width", "stride", "outStart"),
});

/** Workgroups a gradient: enough for a GPU to scan GPT-2's embedding, which is 0 but for the rows of a prompt's tokens. */
const GROUPS = 64;

/** The names, of points and of tensors, whose gradient is 0 in every entry. */
export async function zeroGradients(
  gpu: Gpu,
  points: ActivationCache,
  weights: WeightGradients,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const regions = [
    ...points.names.map((name) => ({ name, ...wholeOf(points, name) })),
    ...weights.names.flatMap((name) => weights.regions(name).map((region) => ({ name, ...region }))),
  ];
  using found = gpu.tensor([regions.length * GROUPS], "gradients that are not 0");
  const record = (recorder: Recorder) => {
    regions.forEach(({ buffer, name: _, ...params }, index) => {
      recorder.dispatch(ANY_NONZERO, {
        params: { ...params, outStart: index * GROUPS },
        buffers: { x: { buffer }, out: found },
        workgroups: [GROUPS],
        constants: reduceConstants(recorder),
      });
    });
  };
  await Recorder.run(gpu, "gradients that are not 0", record, { signal });
  const counts = await found.read();
  const isZero = (index: number) => counts.subarray(index * GROUPS, (index + 1) * GROUPS).every((each) => each === 0);
  const others = new Set(regions.filter((_, index) => !isZero(index)).map(({ name }) => name));
  return [...new Set(regions.map(({ name }) => name))].filter((name) => !others.has(name));
}

function wholeOf(cache: ActivationCache, name: string): Region {
  const { buffer, length } = cache.tensor(name);
  return { buffer, start: 0, rows: 1, width: length, stride: length };
}
