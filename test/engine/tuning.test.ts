/** Tuning as a model is loaded: what is timed, taken from the store and kept there. */
import { readdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { ATTENTION_FAMILY, PASSES, type PassKind } from "../../src/kernels/attention.ts";
import { MATMUL_FAMILY, ROW_CLASSES } from "../../src/kernels/matmul.ts";
import type { MatmulShape } from "../../src/kernels/matmul-kernels.ts";
import { type KernelClass, keyOf } from "../../src/kernels/tuning/classes.ts";
import { tuneAndKeep } from "../../src/kernels/tuning/keep.ts";
import { FolderTuningStore } from "../../src/kernels/tuning/store.node.ts";
import { registerTuningStore, tuningKey } from "../../src/kernels/tuning/store.ts";
import type { TuneProgress } from "../../src/kernels/tuning/tuner.ts";
import { classesOf } from "../../src/model/tuning.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { loadFixture } from "../support/fixtures.ts";
import { withGpu } from "../support/gpu.ts";

const ONE: MatmulShape = { rows: 1, layout: "linear", storage: "f32" };
const ONE_ROW: KernelClass = { family: "matmul", shape: ONE };
const KEY = MATMUL_FAMILY.keyOf(ONE);
const PASS_KINDS = Object.keys(PASSES) as PassKind[];

it("knows a model's classes", async () => {
  using gpt2 = await loadFixture("gpt2");
  const classes = classesOf(gpt2.engine.weights, gpt2.spec);
  const matmuls = classes.flatMap((each) => (each.family === "matmul" ? [each.shape] : []));
  const attentions = classes.flatMap((each) => (each.family === "attention" ? [each.shape] : []));
  expect(classes.slice(0, 2)).toMatchObject([{ shape: { rows: 1 } }, { shape: { rows: 1 } }]);
  expect(new Set(matmuls.map(({ layout }) => layout))).toEqual(new Set(["linear", "conv1d"]));
  expect(matmuls).toHaveLength(2 * ROW_CLASSES.length);
  const { dHead } = gpt2.spec;
  expect(new Set(attentions.map(ATTENTION_FAMILY.keyOf))).toEqual(
    new Set(PASS_KINDS.map((pass) => `attention of ${pass}, dHead ${dHead}`)),
  );
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
          // Marks the entry with what no benchmark would choose, to see it taken.
          await store.write(tuningKey(gpu), { ...kept, [KEY]: "shared 4x64" });
          await timedOnLoad(gpu, false);
          expect(MATMUL_FAMILY.choose({ gpu }, ONE)).toBe(MATMUL_FAMILY.defaultFor(gpu.host, ONE));
          expect(await timedOnLoad(gpu, undefined)).toEqual([]);
          expect(MATMUL_FAMILY.choose({ gpu }, ONE).name).toBe("shared 4x64");
          expect(await timedOnLoad(gpu, true)).not.toContain(KEY);
        });
      } finally {
        registerTuningStore(undefined);
      }
    });
  });

  it("keeps what was decided when the rest is aborted, and says what could not be kept", async () => {
    const kept = new Map<string, Record<string, string>>();
    const store = {
      read: async (key: string) => kept.get(key),
      write: async (key: string, choices: Record<string, string>) => void kept.set(key, choices),
    };
    const full = { ...store, write: () => Promise.reject(new Error("disk full")) };
    const second: KernelClass = { family: "matmul", shape: { ...ONE, storage: "f16" } };
    await withGpu(async (gpu) => {
      const tuneUntilSecond = async (told: string[] = []) => {
        const abort = new AbortController();
        const onProgress = (event: TuneProgress) => {
          if (event.class === keyOf(second)) abort.abort(new Error("enough"));
        };
        const options = {
          classes: [ONE_ROW, second],
          budgetMs: 60_000,
          matmuls: [],
          onProgress,
          signal: abort.signal,
        };
        await expect(tuneAndKeep(gpu, options, ({ message }) => told.push(message))).rejects.toThrow("enough");
        return told;
      };
      try {
        registerTuningStore(store);
        expect(await tuneUntilSecond()).toEqual([]);
        expect([...kept.keys()]).toEqual([tuningKey(gpu)]);
        expect(Object.keys(kept.get(tuningKey(gpu)) ?? {})).toEqual([KEY]);
        registerTuningStore(full);
        expect(await tuneUntilSecond()).toEqual(["disk full"]);
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
