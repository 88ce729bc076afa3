/**
 * The kernels that a real GPU takes (tiled matmul, matvec, attention in blocks), on every family. Software adapters
 * take others, so a `Gpu` here believes its adapter to be hardware.
 */
import { describe, expect, it } from "vitest";
import { FAMILIES, golden, loadFixture, readLogits } from "../support/fixtures.ts";
import { gpuTakenForHardware } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
import { relativeError } from "../support/numbers.ts";

/** Weights stored [in, out]; grouped queries, soft caps and windows. */
const DAY = ["gpt2", "gemma2"];

describe("the kernels of a hardware adapter", () => {
  it.each(byDay(FAMILIES, DAY))("%s: prompt, and token by token", async (family) => {
    using model = await loadFixture(family, { gpu: await gpuTakenForHardware() });
    const { ids, values } = await golden(family);
    const expected = values.get("logits") as Float32Array;
    expect(relativeError(await readLogits(model.forward(ids)), expected)).toBeLessThan(1e-5);
    const [first = []] = ids;
    using cache = model.createKvCache();
    const rows: number[] = [];
    for (const id of first) rows.push(...(await readLogits(model.forward([id], { kv: cache }))));
    expect(relativeError(rows, expected.slice(0, expected.length / 2))).toBeLessThan(1e-5);
  });
});
