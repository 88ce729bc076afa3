/** Callbacks that are async: their failure ends the call, and is never a rejection that nobody handles. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Gpu } from "../../src/gpu/gpu.ts";
import { HookedModel, metric } from "../../src/hooks/index.ts";
import { tune } from "../../src/kernels/tuning/tuner.ts";
import { type LoadOptions, loadParts, openModelSource } from "../../src/model/load.ts";
import { fixtureFiles, loadFixture, sourceOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";

const unhandled: unknown[] = [];
const onUnhandled = (error: unknown) => unhandled.push(error);
let gpu: Gpu;
beforeAll(async () => {
  gpu = await testGpu();
  process.on("unhandledRejection", onUnhandled);
});
afterAll(async () => {
  await new Promise((resume) => setTimeout(resume, 10));
  process.off("unhandledRejection", onUnhandled);
  expect(unhandled).toEqual([]);
});

const reason = new RangeError("mine");
const fails = async () => {
  await Promise.resolve();
  throw reason;
};
const failsLate = async () => {
  await new Promise((resume) => setTimeout(resume, 50));
  throw reason;
};

/** A Llama with a tensor that the model leaves out, which is a notice. */
async function source() {
  const { config, tensors } = await fixtureFiles("llama");
  return sourceOf({
    config,
    tensors: [...tensors, { name: "left.out", dtype: "F32", shape: [1], data: new Uint8Array(4) }],
  });
}

describe("a callback of loadModel that fails ends the load, which leaves nothing behind", () => {
  it.each<[string, LoadOptions]>([
    ["onSpec", { onSpec: fails }],
    ["onProgress", { onProgress: fails }],
    ["onProgress, after the last byte", { onProgress: failsLate }],
    ["onNotice", { onNotice: fails }],
    ["onTune", { tune: true, onTune: fails }],
  ])("%s", async (_, options) => {
    const own = new Gpu(gpu.host);
    const before = { ...own.memory };
    await expect(loadParts(await source(), { quiet: true, ...options, gpu: own })).rejects.toBe(reason);
    own.trim();
    expect(own.memory.bytes).toBeLessThanOrEqual(before.bytes + 2 ** 17); // the parameters of kernels that were timed
  });
});

it("one of openModelSource ends what is read next", async () => {
  const checkpoint = await openModelSource(await source(), { onProgress: fails });
  const [name] = checkpoint.tensors.keys();
  await checkpoint.read(name as string);
  await new Promise((resume) => setTimeout(resume));
  await expect(checkpoint.read(name as string)).rejects.toBe(reason);
});

it("one of sweep and of tune ends it", async () => {
  using model = new HookedModel(await loadFixture("llama"));
  const cells = [{ at: "hook_embed", op: "zero" as const }];
  const sweep = model.sweep({ input: [1, 2], cells, metric: metric.logit(0), onProgress: fails });
  await expect(sweep).rejects.toBe(reason);
  await expect(tune(gpu, { onProgress: fails })).rejects.toBe(reason);
});
