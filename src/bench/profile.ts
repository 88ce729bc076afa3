/** Where the time of a test goes, kernel by kernel: one more run of it, with every dispatch between two timestamps. */
import type { Gpu } from "../gpu/gpu.ts";
import type { Profile } from "./report.ts";
import type { BenchTest } from "./tests.ts";

/** @throws GpuError `gpu/no-timestamps` */
export async function profileTest(gpu: Gpu, test: BenchTest): Promise<Profile> {
  const times = await gpu.profile(async () => void (await test.run()));
  const total = [...times.values()].reduce((sum, { ms }) => sum + ms, 0);
  const kernels = [...times]
    .map(([kernel, { dispatches, ms }]) => ({ kernel, dispatches, ms, share: total === 0 ? 0 : ms / total }))
    .sort((a, b) => b.ms - a.ms);
  return { test: test.plan.name, kernels };
}

/** Fails before anything is measured where kernels cannot be timed. @throws GpuError `gpu/no-timestamps` */
export async function assertTimestamps(gpu: Gpu): Promise<void> {
  await gpu.profile(async () => undefined);
}
