/** What `inspect` says a model will take on the GPU, against what a loaded one takes, for every family. */
import { readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Gpu } from "../../src/gpu/gpu.ts";
import { requestGpu } from "../../src/hosts/request.ts";
import { loadParts, openModelSource, readSpec } from "../../src/model/load.ts";
import { fitCheckpoint } from "../../src/model/weights/fit.ts";
import { gpuMemory } from "../../src/model/weights/residency.ts";
import { weightBuffers } from "../../src/model/weights/weights.ts";
import "../../src/node.ts";
import { ROOT } from "./support.ts";

const FAMILIES = `${ROOT}test/fixtures/families`;

let gpu: Gpu;
beforeAll(async () => {
  gpu = new Gpu(await requestGpu({ quiet: true }));
});
afterAll(() => gpu.destroy());

describe("GPU memory foretold from headers", () => {
  it.each(readdirSync(FAMILIES))("%s", async (family) => {
    const checkpoint = await openModelSource(`${FAMILIES}/${family}`);
    const { spec, unused } = await fitCheckpoint((await readSpec(checkpoint)).spec, checkpoint);
    const foretold = gpuMemory(spec, checkpoint);
    await checkpoint.close();
    const { weights } = await loadParts(`${FAMILIES}/${family}`, { gpu });
    const buffers = [...weightBuffers(weights)];
    expect(foretold.weights).toBe(buffers.reduce((sum, { size }) => sum + size, 0));
    expect(unused).toEqual([]);
    for (const buffer of buffers) gpu.destroyBuffer(buffer);
    const streamed = await loadParts(`${FAMILIES}/${family}`, { gpu, residency: "streamed" });
    const held = [...weightBuffers(streamed.weights)];
    expect(foretold.streamed).toBe(held.reduce((sum, { size }) => sum + size, 0));
    expect(foretold.streamedBlocks).toBe(spec.nLayers);
    streamed.weights.stream?.close();
    for (const buffer of held) gpu.destroyBuffer(buffer);
  });
});
