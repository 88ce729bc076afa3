/** The tuner: what it chooses is right and is used, what is wrong is not chosen, and a race is run once. */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { applyChoices, productFor, ROW_CLASSES, type ShapeClass } from "../../src/model/choices.ts";
import { defaultProduct, REFERENCE_PRODUCT } from "../../src/model/products.ts";
import { classesOf, keyOf, type TuneProgress, tune } from "../../src/model/tuner.ts";
import { FolderTuningStore } from "../../src/model/tuning-store.node.ts";
import { entryText, parseEntry, registerTuningStore, tuningKey } from "../../src/model/tuning-store.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { loadFixture } from "../support/fixtures.ts";
import { newGpu } from "../support/gpu.ts";
import { BROKEN, HASTY, productNamed } from "./altered.ts";

const ONE_ROW: ShapeClass = { rows: ROW_CLASSES[0], layout: "linear", storage: "f32" };
const KEY = keyOf(ONE_ROW);
/** Time enough for every candidate of a class on any adapter. */
const AMPLE = 60_000;

/** Three of one row, among them the default of CPUs and that of GPUs. */
const FEW = [productNamed("lanes 8x8"), productNamed("lanes 4x8"), productNamed("shared 4x16")];

async function withGpu(use: (gpu: Gpu) => Promise<void>): Promise<void> {
  const gpu = await newGpu();
  try {
    await use(gpu);
  } finally {
    gpu.destroy();
  }
}

const MANY_ROWS: ShapeClass = { rows: ROW_CLASSES[3], layout: "linear", storage: "f32" };

describe("tune", () => {
  it("chooses a product that fits, and lets the device use it", async () => {
    await withGpu(async (gpu) => {
      const events: TuneProgress[] = [];
      const report = await tune(gpu, {
        classes: [ONE_ROW],
        budgetMs: AMPLE,
        products: FEW,
        onProgress: (event) => events.push(event),
      });
      const { products, choice } = report.timings[0] as (typeof report.timings)[0];
      expect(products[0]?.product).toBe(defaultProduct(gpu, 1, "linear").name);
      expect(products).toHaveLength(FEW.length);
      for (const { ms, gflops } of products) expect(Math.min(ms, gflops)).toBeGreaterThan(0);
      expect(report.choices).toEqual({ [KEY]: choice });
      expect(report).toMatchObject({ rejected: [], skipped: [] });
      expect(productFor(gpu, 1, "linear", "f32").name).toBe(choice);
      expect(events.map(({ done, total }) => [done, total])).toEqual(FEW.map((_, done) => [done, FEW.length]));
    });
  });

  it("rejects a product that is fast and wrong", async () => {
    await withGpu(async (gpu) => {
      const report = await tune(gpu, { classes: [MANY_ROWS], budgetMs: AMPLE, products: [HASTY] });
      const { products, choice } = report.timings[0] as (typeof report.timings)[0];
      const fastest = [...products].sort((a, b) => a.ms - b.ms)[0];
      expect(fastest?.product).toBe("hasty");
      expect(choice).not.toBe("hasty");
      expect(report.rejected).toEqual([
        {
          class: keyOf(MANY_ROWS),
          product: "hasty",
          reason: expect.stringMatching(/^differs from the reference by \d/),
        },
      ]);
    });
  });

  it("rejects a product that the driver does not take", async () => {
    await withGpu(async (gpu) => {
      const report = await tune(gpu, { classes: [ONE_ROW], budgetMs: AMPLE, products: [BROKEN] });
      expect(report.choices[KEY]).toBe(defaultProduct(gpu, 1, "linear").name);
      expect(report.rejected).toMatchObject([
        { product: "broken", reason: expect.stringContaining("does not compile") },
      ]);
    });
  });

  it("may choose the reference, which is where everything else is wrong", async () => {
    await withGpu(async (gpu) => {
      applyChoices(gpu, { [KEY]: REFERENCE_PRODUCT.name });
      expect(productFor(gpu, 1, "linear", "f32")).toBe(REFERENCE_PRODUCT);
    });
  });

  it("compiles nothing twice", async () => {
    await withGpu(async (gpu) => {
      const compiles = vi.spyOn(gpu.device, "createComputePipelineAsync");
      const options = { classes: [ONE_ROW], budgetMs: AMPLE, products: FEW };
      await tune(gpu, options);
      const first = compiles.mock.calls.length;
      await tune(gpu, options);
      const labels = compiles.mock.calls.map(([{ label }]) => label);
      expect(new Set(labels).size).toBe(labels.length);
      // Another winner is checked at a width that its kernel is compiled for on its own.
      expect(labels.length - first).toBeLessThanOrEqual(1);
    });
  });

  it("leaves the defaults when there is no time", async () => {
    await withGpu(async (gpu) => {
      const report = await tune(gpu, { budgetMs: 0 });
      expect(report).toMatchObject({ choices: {}, timings: [], rejected: [] });
      expect(report.skipped).toHaveLength(2 * ROW_CLASSES.length);
      expect(productFor(gpu, 1, "linear", "f32")).toBe(defaultProduct(gpu, 1, "linear"));
    });
  });

  it("ends with the signal's reason, and frees what it had", async () => {
    await withGpu(async (gpu) => {
      const before = gpu.memory.buffers;
      await expect(tune(gpu, { signal: AbortSignal.abort("enough") })).rejects.toBe("enough");
      expect(gpu.memory.buffers).toBe(before);
    });
  });

  it("knows a model's classes", async () => {
    using gpt2 = await loadFixture("gpt2");
    const classes = classesOf(gpt2.engine.weights);
    expect(classes.slice(0, 2).map(({ rows }) => rows.name)).toEqual(["1 row", "1 row"]);
    expect(new Set(classes.map(({ layout }) => layout))).toEqual(new Set(["linear", "conv1d"]));
    expect(classes).toHaveLength(2 * ROW_CLASSES.length);
  });
});

describe("the tuning store", () => {
  const choices = { [KEY]: "lanes 4x8" };

  it("names adapter, host and the version of the kernels", async () => {
    await withGpu(async (gpu) => {
      const key = tuningKey(gpu);
      for (const part of [gpu.host.adapterInfo.name, "node", "kernels "]) expect(key).toContain(part);
    });
  });

  it("keeps choices under their key", async () => {
    await inTempFolder(async (folder) => {
      const store = new FolderTuningStore(join(folder, "tuning"));
      expect(await store.read("a")).toBeUndefined();
      await store.write("a", { x: "y" });
      await store.write("a", choices);
      expect(await store.read("a")).toEqual(choices);
      expect(await store.read("b")).toBeUndefined();
      expect(await readdir(join(folder, "tuning"))).toHaveLength(1);
    });
  });

  it("ignores an entry that is damaged or another key's", async () => {
    await inTempFolder(async (folder) => {
      const store = new FolderTuningStore(folder);
      await store.write("a", choices);
      const [name] = (await readdir(folder)) as [string];
      for (const text of [
        "",
        "{",
        "null",
        '"a"',
        '{"key":"a"}',
        entryText("b", choices),
        entryText("a", { x: 1 as never }),
      ]) {
        await writeFile(join(folder, name), text);
        expect(await store.read("a")).toBeUndefined();
      }
      expect(parseEntry(entryText("a", choices), "a")).toEqual(choices);
    });
  });

  it("ignores products of another version", async () => {
    await withGpu(async (gpu) => {
      applyChoices(gpu, { [KEY]: "lanes 99x99", "3 rows, sideways, f64": "lanes 4x8" });
      expect(productFor(gpu, 1, "linear", "f32")).toBe(defaultProduct(gpu, 1, "linear"));
    });
  });
});

describe("loading", () => {
  /** Loads the fixture with `tune`, tells what was timed. */
  async function timedOnLoad(gpu: Gpu, tune: boolean | undefined): Promise<string[]> {
    const timed: string[] = [];
    using _ = await loadFixture("llama", {
      gpu,
      ...(tune !== undefined && { tune }),
      onTune: (event) => timed.push(event.class),
    });
    return timed;
  }

  it("tunes what is not known, keeps it, and takes it over on the next device", async () => {
    await inTempFolder(async (folder) => {
      registerTuningStore(new FolderTuningStore(folder));
      try {
        await withGpu(async (gpu) => {
          expect(await timedOnLoad(gpu, undefined)).toEqual([]);
          expect(await readdir(folder)).toEqual([]);
          expect(await timedOnLoad(gpu, true)).not.toEqual([]);
        });
        await withGpu(async (gpu) => {
          const store = new FolderTuningStore(folder);
          const kept = (await store.read(tuningKey(gpu))) as Record<string, string>;
          // Marks the entry with what no race would choose, to see it taken.
          await store.write(tuningKey(gpu), { ...kept, [KEY]: "lanes 1x32" });
          await timedOnLoad(gpu, false);
          expect(productFor(gpu, 1, "linear", "f32")).toBe(defaultProduct(gpu, 1, "linear"));
          expect(await timedOnLoad(gpu, undefined)).toEqual([]);
          expect(productFor(gpu, 1, "linear", "f32").name).toBe("lanes 1x32");
          expect(await timedOnLoad(gpu, true)).not.toContain(KEY);
        });
      } finally {
        registerTuningStore(undefined);
      }
    });
  });

  it("frees the weights of a load that is ended while it tunes", async () => {
    await withGpu(async (gpu) => {
      await timedOnLoad(gpu, false);
      const before = gpu.memory.buffers;
      const stop = new AbortController();
      const load = loadFixture("llama", { gpu, tune: true, signal: stop.signal, onTune: () => stop.abort("enough") });
      await expect(load).rejects.toBe("enough");
      gpu.trim();
      expect(gpu.memory.buffers).toBeLessThanOrEqual(before + 1); // the parameters of kernels
    });
  });
});
