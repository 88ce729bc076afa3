/** What is captured when only some positions are asked for, the pass stops early, continues a cache, or is ragged. */
import { describe, expect, it } from "vitest";
import { FilesSource, openCheckpoint, parseHeader, toFloat32 } from "../../src/checkpoint/index.ts";
import { ActivationCache, type ActivationSlice, type ForwardResult } from "../../src/hooks/index.ts";
import { isHeadFirst } from "../../src/hooks/points.ts";
import type { LogitsSelection } from "../../src/model/runner.ts";
import { layoutOf as layoutOfShape } from "../../src/ops/places.ts";
import { relativeError, seeded } from "../support/numbers.ts";
import { failureOf, logitsOf, randomIds, readAll, withForward, withHooked } from "./support.ts";

const layoutOf = (name: string, shape: readonly number[]) => layoutOfShape(shape, isHeadFirst(name));

const TOLERANCE = 1e-5;

/** The entries of an activation at some rows, places and heads, in that order, picked on the host. */
function picked(
  name: string,
  shape: readonly number[],
  values: Float32Array,
  rows: readonly number[],
  places: readonly (readonly number[])[],
  heads?: readonly number[],
): number[] {
  const layout = layoutOf(name, shape);
  const allHeads = heads ?? Array.from({ length: layout.heads }, (_, head) => head);
  const vector = (row: number, place: number, head: number) => {
    const start = layout.rowIndex(row, place) * layout.rowStride + head * layout.headStride;
    return [...values.subarray(start, start + layout.width)];
  };
  return rows.flatMap((row, index) => {
    const here = places[index] as readonly number[];
    if (layout.headFirst) return allHeads.flatMap((head) => here.flatMap((place) => vector(row, place, head)));
    return here.flatMap((place) => allHeads.flatMap((head) => vector(row, place, head)));
  });
}

/** Every point of `result`, at some places, against the same of a full run. */
async function expectPart(
  part: ForwardResult,
  full: ForwardResult,
  places: readonly (readonly number[])[],
): Promise<void> {
  const all = await readAll(full.cache);
  for (const [name, values] of await readAll(part.cache)) {
    const expected = picked(
      name,
      full.cache.shape(name),
      all.get(name) as Float32Array,
      places.map((_, row) => row),
      places,
    );
    expect(relativeError(values, expected), name).toBeLessThan(TOLERANCE);
  }
}

describe("positions", () => {
  it("are counted from each sequence's end when negative, and come in ascending order", async () => {
    await withHooked("gemma2", async (model) => {
      const ids = [randomIds(seeded(1), 9), randomIds(seeded(2), 5)];
      using full = await model.forward(ids, { capture: "*" });
      using part = await model.forward(ids, { capture: "*", positions: [-1, 0, -2, 0] });
      expect(part.cache.positions).toEqual([
        [0, 7, 8],
        [0, 3, 4],
      ]);
      expect(part.cache.shape("blocks.1.attn.hook_pattern")).toEqual([2, 4, 3, 9]);
      expect(part.cache.shape("blocks.1.attn.hook_k")).toEqual([2, 3, 2, 16]);
      expect(part.cache.names).toEqual(full.cache.names);
      await expectPart(part, full, part.cache.positions);
    });
  });

  it("of a shorter sequence that do not exist are zeros at the end", async () => {
    await withHooked("llama", async (model) => {
      const ids = [randomIds(seeded(1), 4), randomIds(seeded(2), 7)];
      using both = await model.forward(ids, { capture: "*" });
      expect(both.cache.positions.map((list) => list.length)).toEqual([4, 7]);
      const all = await readAll(both.cache);
      for (const [name, values] of all) {
        expect(
          picked(name, both.cache.shape(name), values, [0], [[4, 5, 6]]).every((value) => value === 0),
          name,
        ).toBe(true);
      }
      for (const row of [0, 1]) {
        using alone = await model.forward(ids[row] as number[], { capture: "*" });
        for (const [name, values] of await readAll(alone.cache)) {
          const places = [(ids[row] as number[]).map((_, place) => place)];
          const mine = picked(name, both.cache.shape(name), all.get(name) as Float32Array, [row], places);
          // The rows of scores and pattern are as wide as the longest sequence.
          const width = layoutOf(name, both.cache.shape(name)).width;
          const inner = layoutOf(name, alone.cache.shape(name)).width;
          expect(
            relativeError(
              mine.filter((_, index) => index % width < inner),
              values,
            ),
            name,
          ).toBeLessThan(TOLERANCE);
        }
      }
    });
  });
});

describe("captures", () => {
  it.each<[LogitsSelection]>([["last"], ["none"], [[0, -2]]])(
    "do not depend on which logits are asked for: %j",
    async (logits) => {
      await withHooked("gpt_neox", async (model) => {
        const ids = [randomIds(seeded(1), 6), randomIds(seeded(2), 6)];
        const capture = (name: string) => name !== "logits";
        using full = await model.forward(ids, { capture });
        // All together, and each alone: what is looked at decides how many rows go through the last block.
        for (const each of [capture, ...model.pointNames(["blocks.2.*", "ln_final.*"])]) {
          using part = await model.forward(ids, { capture: each, logits });
          await expectPart(part, full, full.cache.positions);
        }
      });
    },
  );
});

describe("stopAtLayer", () => {
  it.each([0, 1, 3])("%i runs only the blocks before it, without logits", async (stopAtLayer) => {
    await withHooked("olmo2", async (model) => {
      const ids = randomIds(seeded(3), 6);
      using full = await model.forward(ids, { capture: "*" });
      using stopped = await model.runWithCache(ids, { stopAtLayer });
      expect(stopped.logits.shape).toEqual([1, 0, 96]);
      expect((await stopped.logits.read()).length).toBe(0);
      const blocks = [0, 1, 2].slice(0, stopAtLayer).map((layer) => `blocks.${layer}.hook_resid_post`);
      expect(stopped.cache.names.filter((name) => name.endsWith("resid_post"))).toEqual(blocks);
      expect(stopped.cache.names[0]).toBe("hook_embed");
      await expectPart(stopped, full, stopped.cache.positions);
    });
  });
});

describe("stopAtLayer with a cache", () => {
  it("is refused, for the cache would lack the layers after it; up to the last block it is continued", async () => {
    await withHooked("gpt2", async (model) => {
      using kv = model.createKvCache();
      await expect(model.forward([1, 2, 3], { kv: kv, stopAtLayer: 2 })).rejects.toMatchObject({
        code: "input/stop-layer",
        message: /^stopAtLayer is 2, so that the cache would lack keys and values of the 1 blocks after it\./,
      });
      expect(kv.lengths).toEqual([0]);
      (await model.forward([1, 2, 3], { kv: kv, stopAtLayer: 3 })).destroy();
      using rest = await model.forward([4], { kv: kv });
      using whole = await model.forward([1, 2, 3, 4], { logits: "last" });
      expect(relativeError(await rest.logits.read(), await whole.logits.read())).toBeLessThan(1e-5);
    });
  });
});

describe("runWithCache", () => {
  it("captures everything but what is quadratic or wide, unless told", async () => {
    await withHooked("gpt2", async (model) => {
      const heavy = /hook_(attn_scores|pattern|result|._input|mlp_in)$|^logits$|\.(attn|mlp)\.hook_(in|out)$/;
      using usual = await model.runWithCache([1, 2, 3]);
      expect(usual.cache.names).toEqual(model.pointNames().filter((name) => !heavy.test(name)));
      using told = await model.runWithCache([1, 2, 3], { capture: "*hook_pattern" });
      expect(told.cache.names).toEqual([0, 1, 2].map((layer) => `blocks.${layer}.attn.hook_pattern`));
    });
  });
});

describe("captures of a pass that continues a cache", () => {
  it.each(["gemma3", "bloom", "gpt2"])("%s: show the new positions, and the keys of all", async (family) => {
    await withHooked(family, async (model) => {
      const ids = [randomIds(seeded(4), 11), randomIds(seeded(5), 8)];
      using full = await model.forward(ids, { capture: "*" });
      using kv = model.createKvCache({ sequences: 2 });
      const cuts = [6, 3];
      (
        await model.forward(
          ids.map((list, row) => list.slice(0, cuts[row])),
          { kv: kv },
        )
      ).destroy();
      using rest = await model.forward(
        ids.map((list, row) => list.slice(cuts[row])),
        { kv: kv, capture: "*" },
      );
      expect(rest.cache.positions).toEqual([
        [6, 7, 8, 9, 10],
        [3, 4, 5, 6, 7],
      ]);
      expect(rest.cache.shape("blocks.0.attn.hook_attn_scores")).toEqual([2, 4, 5, 11]);
      await expectPart(rest, full, rest.cache.positions);
      kv.truncate(0, cuts[0] as number);
      kv.truncate(1, cuts[1] as number);
      const tails = ids.map((list, row) => list.slice(cuts[row]));
      using some = await model.forward(tails, { kv: kv, capture: "*", positions: [-2, -4] });
      expect(some.cache.positions).toEqual([
        [7, 9],
        [4, 6],
      ]);
      await expectPart(some, full, some.cache.positions);
    });
  });
});

describe("slices", () => {
  const SLICES: { batch?: number[]; positions?: number[]; heads?: number[] }[] = [
    { batch: [1] },
    { positions: [-1, 2] },
    { batch: [1, 0], positions: [4, 0, 3] },
    { batch: [0, 0], positions: [-2] },
  ];

  it("of every point are what the host would cut from the whole", async () => {
    await withHooked("gemma2", async (model) => {
      const ids = [randomIds(seeded(1), 7), randomIds(seeded(2), 7)];
      using result = await model.forward(ids, { capture: "*", positions: [0, 2, 3, 4, 6] });
      const { cache } = result;
      const captured = [0, 2, 3, 4, 6];
      for (const name of model.pointNames(["blocks.1.*", "*embed", "logits"])) {
        const whole = await cache.read(name);
        const { hasHeads, heads } = layoutOf(name, cache.shape(name));
        const slices = [
          ...SLICES,
          ...(hasHeads ? [{ heads: [heads - 1] }, { batch: [1], positions: [3], heads: [1, 0] }] : []),
        ];
        for (const slice of slices) {
          const rows = [slice.batch ?? [0, 1]].flat();
          const places = rows.map(() =>
            [slice.positions ?? captured]
              .flat()
              .map((position) => (position < 0 ? 5 + position : captured.indexOf(position))),
          );
          expect([...(await cache.read(name, slice))], `${name} ${JSON.stringify(slice)}`).toEqual(
            picked(
              name,
              cache.shape(name),
              whole,
              rows,
              places,
              slice.heads === undefined ? undefined : [slice.heads].flat(),
            ),
          );
        }
      }
    });
  });

  it.each<[ActivationSlice, RegExp]>([
    [{ batch: [2] }, /^HookError hook\/batch-range: The cache has a batch of 2; there is no batch entry 2\./],
    [{ batch: [-1] }, /hook\/batch-range/],
    [{ positions: [6] }, /^HookError hook\/position-range: Batch entry 1 of the cache has positions 0, 1, 2, not 6\./],
    [{ positions: [-4] }, /hook\/position-range: Batch entry 1 of the cache/],
    [{ positions: [0.5] }, /^InputError input\/argument: .*positions\[0\] is 0\.5/],
    [{ heads: [4] }, /^HookError hook\/head-range: blocks\.0\.attn\.hook_z has 4 heads; there is no head 4\./],
    [{ batch: [] }, /^HookError hook\/empty-selection: The slice of blocks\.0\.attn\.hook_z has no batch\./],
    [{ positions: [] }, /no positions\. Leave positions out/],
  ])("%j is refused", async (slice, message) => {
    await withHooked("llama", async (model) => {
      const ids = [randomIds(seeded(1), 7), randomIds(seeded(2), 3)];
      using result = await model.forward(ids, { capture: "*hook_z" });
      expect(await failureOf(() => result.cache.read("blocks.0.attn.hook_z", slice))).toMatch(message);
    });
  });
});

describe("a cache", () => {
  async function reopened(file: Uint8Array) {
    return openCheckpoint(
      new FilesSource([{ name: "model.safetensors", blob: new Blob([file as BlobPart]) }], "saved cache"),
    );
  }

  it("is a safetensors file when saved, whole or in pieces, and itself again when loaded", async () => {
    await withHooked("qwen3", async (model) => {
      const ids = [randomIds(seeded(1), 5), randomIds(seeded(2), 3)];
      using result = await model.forward(ids, { capture: "*", positions: [0, -1] });
      const file = await result.cache.save();
      const pieces: Uint8Array[] = [];
      for await (const piece of result.cache.stream()) pieces.push(piece);
      expect(Buffer.concat(pieces).equals(file)).toBe(true);
      const { tensors, metadata } = parseHeader(file, file.length, "saved");
      expect(metadata).toMatchObject({ positions: "[[0,4],[0,2]]" });
      const before = await readAll(result.cache);
      for (const { name, shape, dtype, byteStart, byteEnd } of tensors) {
        expect(dtype).toBe("F32");
        expect(shape).toEqual(result.cache.shape(name));
        expect(toFloat32(file.slice(byteStart, byteEnd), dtype)).toEqual(before.get(name));
      }
      using loaded = await ActivationCache.load(model.gpu, await reopened(file));
      expect(loaded.positions).toEqual(result.cache.positions);
      expect([...loaded.names].sort()).toEqual([...result.cache.names].sort());
      for (const [name, values] of before) expect(await loaded.read(name), name).toEqual(values);
      const edits = [
        {
          at: "blocks.1.hook_resid_pre",
          op: "set" as const,
          value: loaded.at("blocks.1.hook_resid_pre"),
          positions: [-1],
        },
      ];
      expect(relativeError(await logitsOf(model, ids, { edits }), await logitsOf(model, ids))).toBeLessThan(TOLERANCE);
    });
  });

  it.each([
    ["without the list of positions", '"positions"', '"Positions"'],
    ["with another text there", "[[0]]", "[[x]]"],
    ["with a list of something else there", "[[0]]", "[0,0]"],
  ])("is not made of a file %s", async (_, from, to) => {
    await withHooked("llama", async (model) => {
      using result = await model.forward([1], { capture: "logits" });
      const file = Buffer.from(await result.cache.save()).toString("latin1");
      expect(file).toContain(from);
      const changed = new Uint8Array(Buffer.from(file.replace(from, to), "latin1"));
      expect(await failureOf(async () => ActivationCache.load(model.gpu, await reopened(changed)))).toMatch(
        /^HookError hook\/not-a-cache: saved cache was not written by ActivationCache\.save\(\)/,
      );
    });
  });

  it("says what it holds, counts its memory, and ends once", async () => {
    await withHooked("llama", async (model) => {
      const result = await model.forward([1, 2, 3], { capture: ["*resid_pre", "*hook_v"] });
      const { cache } = result;
      result.logits.destroy();
      const before = { ...model.gpu.memory };
      const held = 3 * (3 * 32 + 3 * 16) * 4;
      expect(cache.byteLength).toBe(held);
      expect(await failureOf(() => cache.read("blocks.0.hook_resid_mid"))).toBe(
        'HookError hook/not-captured: "blocks.0.hook_resid_mid" is not in this cache. Nearest: blocks.0.hook_resid_pre, blocks.1.hook_resid_pre, blocks.2.hook_resid_pre. To have a point, name it in `capture`.',
      );
      cache.destroy();
      cache.destroy();
      expect(cache.destroyed).toBe(true);
      expect(cache.byteLength).toBe(0);
      expect(model.gpu.memory).toEqual({ bytes: before.bytes - held, buffers: before.buffers - 6 });
      const ended = /^HookError hook\/cache-destroyed: /;
      expect(await failureOf(() => cache.read("blocks.0.hook_v"))).toMatch(ended);
      expect(await failureOf(() => cache.shape("blocks.0.hook_v"))).toMatch(ended);
      expect(await failureOf(() => cache.at("blocks.0.hook_v"))).toMatch(ended);
      expect(await failureOf(() => cache.save())).toMatch(ended);
      expect(await failureOf(() => cache.stream())).toMatch(ended);
      await withForward(model, [1], {}, async (empty) => {
        expect(empty.cache.names).toEqual([]);
        expect(await failureOf(() => empty.cache.read("logits"))).toMatch(/not in this cache\. The cache is empty\./);
      });
    });
  });
});
