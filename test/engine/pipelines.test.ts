/** What a pipeline is found by, and how many are kept of kernels that people write. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { defineKernel, type Kernel, pipelineKey } from "../../src/gpu/kernel.ts";
import { MOST_TRANSIENT } from "../../src/gpu/pipelines.ts";
import { RecentMap } from "../../src/gpu/recent.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { newGpu } from "../support/gpu.ts";

type Count = Kernel<"count", "out">;

/** Writes `value` to `out`; `other` is another entry point of the same code, which writes one more. */
function writing(value: string, options: { entryPoint?: string; transient?: boolean; name?: string } = {}): Count {
  const code = `struct Params { count: u32 }
    override SCALE: f32 = 1.0;
    @group(0) @binding(0) var<uniform> params: Params;
    @group(1) @binding(0) var<storage, read_write> out: array<f32>;
    @compute @workgroup_size(1) fn main() { out[0] = SCALE * f32(params.count) * ${value}; }
    @compute @workgroup_size(1) fn other() { out[0] = SCALE * f32(params.count) * ${value} + 1.0; }`;
  return defineKernel({
    name: "write",
    sources: code,
    bindings: { out: "write" },
    params: { count: "u32" },
    ...options,
  });
}

let gpu: Gpu;
let out: Tensor;
beforeAll(async () => {
  gpu = await newGpu();
  out = gpu.tensor([1], "out");
});
afterAll(() => gpu.destroy());

const dispatch = (recorder: Recorder, kernel: Count, SCALE?: number, buffer = out) =>
  recorder.dispatch(kernel, {
    params: { count: 1 },
    buffers: { out: buffer },
    workgroups: [1],
    ...(SCALE !== undefined && { constants: { SCALE } }),
  });

async function written(kernel: Count, SCALE?: number): Promise<number> {
  await Recorder.run(gpu, "write", (recorder) => dispatch(recorder, kernel, SCALE));
  return (await out.read())[0] as number;
}

describe("a pipeline belongs to code, entry point and constants", () => {
  it.each([false, true])("whatever the kernel is called (transient: %s)", async (transient) => {
    const [two, three] = [writing("2.0", { transient }), writing("3.0", { transient })];
    expect([await written(two), await written(three), await written(two)]).toEqual([2, 3, 2]);
    expect(await written({ ...three, code: three.code.replaceAll("3.0", "4.0") })).toBe(4);
    expect([await written(writing("2.0", { transient, entryPoint: "other" })), await written(two)]).toEqual([3, 2]);
    expect([await written(two, 5), await written(two)]).toEqual([10, 2]);
  });

  it("and is shared by kernels that compile to the same", async () => {
    expect(await written(writing("7.0"))).toBe(7);
    const { pipelines, modules } = gpu.pipelines.held;
    expect(await written(writing("7.0", { name: "another name" }))).toBe(7);
    expect(gpu.pipelines.held).toMatchObject({ pipelines, modules });
    expect(await written(writing("7.0", { entryPoint: "other" }))).toBe(8);
    expect(gpu.pipelines.held).toMatchObject({ pipelines: pipelines + 1, modules });
  });

  it("and of bindings", () => {
    const kernel = writing("2.0");
    expect(pipelineKey({ ...kernel, bindings: { out: "read" } }, {})).not.toBe(pipelineKey(kernel, {}));
    expect(pipelineKey({ ...kernel }, { SCALE: 2 })).toBe(pipelineKey(kernel, { SCALE: 2 }));
  });
});

describe("transient kernels", () => {
  const FULL = { transientPipelines: MOST_TRANSIENT, transientModules: MOST_TRANSIENT };
  let lasting: number;
  beforeEach(async () => {
    await written(writing("0.5"));
    const { pipelines, transientPipelines } = gpu.pipelines.held;
    lasting = pipelines - transientPipelines;
  });

  it("are kept up to a number; the others stay", async () => {
    for (let value = 0; value < 3 * MOST_TRANSIENT; value++) {
      expect(await written(writing(`${value}.0`, { transient: true }))).toBe(value);
    }
    expect(gpu.pipelines.held).toMatchObject({ ...FULL, pipelines: lasting + MOST_TRANSIENT });
    const before = gpu.pipelines.held;
    expect(await written(writing("0.5"))).toBe(0.5);
    expect(gpu.pipelines.held).toEqual(before);
  });

  it("are all there for a recording that needs more of them than are kept", async () => {
    const count = 3 * MOST_TRANSIENT;
    const kernels = Array.from({ length: count }, (_, value) => writing(`${value}.25`, { transient: true }));
    const recorder = new Recorder(gpu, "many");
    const results = kernels.map((kernel) => {
      const result = recorder.temp(1);
      dispatch(recorder, kernel, undefined, result);
      return recorder.readback(result);
    });
    await recorder.submit();
    expect(results.map(({ bytes }) => new Float32Array(bytes)[0])).toEqual(kernels.map((_, value) => value + 0.25));
    expect(gpu.pipelines.held).toMatchObject(FULL);
  });

  it("stay with a recording that waits for the host, and with a program", async () => {
    const mine = writing("0.125", { transient: true });
    const crowdOut = async () => {
      for (let value = 0; value < MOST_TRANSIENT; value++) await written(writing(`${value}.75`, { transient: true }));
    };
    const kept = gpu.tensor([1], "kept");
    const recorder = new Recorder(gpu, "program");
    dispatch(recorder, mine, undefined, kept);
    const program = await recorder.keep();
    await crowdOut();
    expect([...new Float32Array(await program.run(kept))]).toEqual([0.125]);
    program.destroy();
    await Recorder.run(gpu, "with a step on the host", (split) => {
      split.host(async () => {
        await crowdOut();
        return () => undefined;
      });
      dispatch(split, mine, 2);
    });
    expect([...(await out.read())]).toEqual([0.25]);
    kept.destroy();
  });

  it("that do not compile leave as little", async () => {
    for (let turn = 0; turn < 2 * MOST_TRANSIENT; turn++) {
      const broken = writing(`nothing${turn}`, { transient: true });
      await expect(written(broken)).rejects.toMatchObject({ code: "gpu/shader" });
    }
    expect(gpu.pipelines.held.transientModules).toBeLessThanOrEqual(MOST_TRANSIENT);
    await gpu.pipelines.settled();
  });
});

it("a map of recent entries lets go of the one not asked for longest", () => {
  const map = new RecentMap<string, number>(2);
  map.set("a", 1);
  map.set("b", 2);
  expect(map.get("a")).toBe(1);
  map.set("c", 3);
  expect([map.get("a"), map.get("b"), map.get("c"), map.size]).toEqual([1, undefined, 3, 2]);
});
