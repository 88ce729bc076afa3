/** Buffers of results and readbacks that are used again: which, how many are kept, and that nothing of the last shows. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { STORAGE_USAGE } from "../../src/gpu/usage.ts";
import { loadFixture } from "../support/fixtures.ts";
import { newGpu } from "../support/gpu.ts";

const MB = 1 << 20;

describe("the reuse cache", () => {
  let gpu: Gpu;
  beforeEach(async () => {
    gpu = await newGpu();
  });
  afterEach(() => gpu.destroy());

  it("hands out a buffer again for the same size and use alone", () => {
    const first = gpu.reuseCache.acquire(MB, STORAGE_USAGE, "first");
    gpu.reuseCache.release(first);
    const other = gpu.reuseCache.acquire(MB + 4, STORAGE_USAGE, "other");
    const staging = gpu.reuseCache.acquire(MB, 0x1 | 0x8, "staging");
    expect([other, staging]).not.toContain(first);
    expect(gpu.reuseCache.acquire(MB, STORAGE_USAGE, "second")).toBe(first);
    expect(first.label).toBe("second");
    expect(gpu.reuseCache.acquire(MB, STORAGE_USAGE, "third")).not.toBe(first);
  });

  it("keeps 128 MB at most, the newest, and none of the small ones", () => {
    const before = gpu.memory.bytes;
    const buffers = Array.from({ length: 40 }, (_, index) =>
      gpu.reuseCache.acquire(4 * MB + 4 * index, STORAGE_USAGE, "result"),
    );
    for (const buffer of buffers) gpu.reuseCache.release(buffer);
    gpu.reuseCache.release(gpu.reuseCache.acquire(1024, STORAGE_USAGE, "small"));
    expect(gpu.memory.bytes - before).toBeLessThanOrEqual(128 * MB);
    expect(gpu.memory.bytes - before).toBeGreaterThan(120 * MB);
    const newest = buffers[39] as GPUBuffer;
    expect(gpu.reuseCache.acquire(newest.size, STORAGE_USAGE, "again")).toBe(newest);
    const oldest = buffers[0] as GPUBuffer;
    expect(gpu.reuseCache.acquire(oldest.size, STORAGE_USAGE, "again")).not.toBe(oldest);
  });

  it("frees what it keeps when asked, and destroys what had no memory", () => {
    const before = { ...gpu.memory };
    const bad = gpu.reuseCache.acquire(MB, STORAGE_USAGE, "bad");
    gpu.reuseCache.evict(bad);
    gpu.reuseCache.release(bad);
    expect(gpu.memory).toEqual(before);
    gpu.reuseCache.release(gpu.reuseCache.acquire(MB, STORAGE_USAGE, "good"));
    expect(gpu.memory.bytes).toBe(before.bytes + MB);
    gpu.trim();
    expect(gpu.memory).toEqual(before);
  });
});

it("the pool of temporaries keeps what recordings have had in use at once, or 128 MB", async () => {
  const gpu = await newGpu();
  const before = gpu.memory.bytes;
  const use = (sizes: readonly number[]) => {
    for (const buffer of sizes.map((size) => gpu.pool.acquire(size))) gpu.pool.release(buffer);
  };
  // 4 to 64 MB, each a class of its own, one at a time.
  for (let step = 0; step <= 16; step++) use([4 * MB * 2 ** (step / 4)]);
  expect(gpu.memory.bytes - before).toBeLessThanOrEqual(128 * MB);
  expect(gpu.memory.bytes - before).toBeGreaterThan(60 * MB);
  use([128 * MB, 64 * MB]);
  expect(gpu.memory.bytes - before).toBe(192 * MB);
  const buffer = gpu.pool.acquire(64 * MB);
  gpu.pool.release(buffer);
  expect(gpu.memory.bytes - before).toBe(192 * MB);
  gpu.destroy();
  expect(gpu.memory.bytes).toBeLessThanOrEqual(before);
});

it("logits in a used buffer are those of a fresh one, and are not read after destroy()", async () => {
  const model = await loadFixture("gpt2");
  const ids = Array.from({ length: 4 }, (_, sequence) => Array.from({ length: 100 }, (_, at) => (at + sequence) % 50));
  const logitsOf = async (batch: number[][]) => {
    const logits = await model.forward(batch);
    return { logits, values: await logits.read() };
  };
  const first = await logitsOf(ids);
  first.logits.destroy();
  const other = await logitsOf([...ids].reverse());
  expect(other.logits.tensor.buffer).toBe(first.logits.tensor.buffer);
  other.logits.destroy();
  const again = await logitsOf(ids);
  expect(again.values).toEqual(first.values);
  again.logits.destroy();
  await expect(again.logits.read()).rejects.toMatchObject({ code: "gpu/destroyed" });
  model.destroy();
});
