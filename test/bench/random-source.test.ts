/** Weights that are computed where they are read: the same whatever is read, and a checkpoint like any other. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { RandomSource, SHAPE_NAMES, SHAPES } from "../../src/bench/index.ts";
import { openCheckpoint, toFloat32 } from "../../src/checkpoint/index.ts";
import { loadModel } from "../../src/hooks/index.ts";
import "../../src/node.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { testGpu } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";

const IDS = [5, 6, 7, 8];

describe("random weights", () => {
  it("do not depend on the pieces they are read in", async () => {
    const source = await RandomSource.create(SHAPES.tiny);
    const size = await source.size("model.safetensors");
    const whole = await source.readAll("model.safetensors");
    expect(whole).toHaveLength(size);
    const pieces: Uint8Array[] = [];
    for (let start = 0; start < size; start += 100_001) {
      pieces.push(await source.read("model.safetensors", start, Math.min(size, start + 100_001)));
    }
    expect(Buffer.concat(pieces).equals(whole)).toBe(true);
  });

  it.each(["f16", "bf16"] as const)("in %s are those of f32, rounded, in half the bytes", async (storage) => {
    const full = await openCheckpoint(await RandomSource.create(SHAPES.tiny));
    const half = await openCheckpoint(await RandomSource.create(SHAPES.tiny, "half", storage));
    const name = "transformer.h.0.mlp.c_fc.weight";
    const [exact, rounded] = [await full.read(name), await half.read(name)];
    expect(rounded).toHaveLength(exact.length / 2);
    const values = toFloat32(rounded, storage === "f16" ? "F16" : "BF16");
    expect(relativeError(values, toFloat32(exact, "F32"))).toBeLessThan(storage === "f16" ? 2 ** -11 : 2 ** -8);
  });

  it("keep what goes through them in size: matrices by their inputs, norms near 1, biases off 0", async () => {
    const checkpoint = await openCheckpoint(await RandomSource.create(SHAPES.tiny));
    const read = async (name: string) => toFloat32(await checkpoint.read(name), "F32");
    const deviation = (values: Float32Array) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);
    expect(deviation(await read("transformer.h.0.mlp.c_fc.weight")) * Math.sqrt(64)).toBeCloseTo(1, 1);
    expect(deviation(await read("transformer.h.0.mlp.c_proj.weight")) * Math.sqrt(256)).toBeCloseTo(1, 1);
    expect(deviation(await read("transformer.ln_f.weight"))).toBeCloseTo(1, 1);
    expect(deviation(await read("transformer.h.1.ln_1.bias"))).toBeCloseTo(0.05 / Math.sqrt(3), 2);
    const [one, other] = [await read("transformer.h.0.ln_1.weight"), await read("transformer.h.1.ln_1.weight")];
    expect(one).not.toEqual(other);
  });

  it("load from memory and from a folder as the same model, whose logits tell tokens apart", async () => {
    const source = await RandomSource.create(SHAPES["llama-mini"]);
    const gpu = await testGpu();
    await inTempFolder(async (folder) => {
      for (const file of await source.list()) await writeFile(join(folder, file), await source.readAll(file));
      using made = await loadModel(source, { gpu });
      using loaded = await loadModel(folder, { gpu });
      using a = await made.forward([IDS], { logits: "last" });
      using b = await loaded.forward([IDS], { logits: "last" });
      const logits = await a.logits.read();
      expect(await b.logits.read()).toEqual(logits);
      const [first = 0, second = 0] = [...logits].sort((x, y) => y - x);
      expect(first - second).toBeGreaterThan(0.01);
    });
  });

  it.each(SHAPE_NAMES)("%s has a checkpoint that its family accepts", async (name) => {
    const checkpoint = await openCheckpoint(await RandomSource.create(SHAPES[name]));
    expect(checkpoint.tensors.size).toBeGreaterThan(10);
    await expect(RandomSource.create(SHAPES[name]).then((source) => source.read("x", 0, 1))).rejects.toMatchObject({
      code: "checkpoint/not-found",
    });
  });
});
