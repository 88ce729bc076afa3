/**
 * What a cache gives of a point can be set there again: values of edits have the axes that the point has when it is read,
 * [batch, head, query, key] for scores and pattern.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ActivationSlice,
  type Edit,
  type EditOp,
  type ForwardResult,
  type HookedModel,
  metric,
  pointTable,
} from "../../src/hooks/index.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { captured, failureOf, hooked, logitsOf, randomIds } from "./support.ts";

/** Of unequal lengths; as many tokens in the first as the model has heads, so that exchanged axes have one size. */
const IDS = [randomIds(seeded(1), 4), randomIds(seeded(2), 3)];
/** Of float32; an edited point is computed by itself, others by fused kernels. */
const TOLERANCE = 1e-5;
const SCORES = "blocks.1.attn.hook_attn_scores";
const PATTERN = "blocks.1.attn.hook_pattern";

let model: HookedModel;
let read: ForwardResult;
let logits: Float32Array;
/** Points of one block, and those outside the blocks. */
let points: string[];

// Grouped heads, soft caps, a window and post-norms.
beforeAll(async () => {
  model = await hooked("gemma2");
  read = await model.forward(IDS, { capture: "*" });
  logits = await read.logits.read();
  points = [...pointTable(model.spec).values()].flatMap(({ name, layer = 1 }) => (layer === 1 ? [name] : []));
});

afterAll(() => {
  read.destroy();
  model.destroy();
});

/** The entries that are there: not beyond a sequence's end, nor where a query cannot see. */
async function isThere(name: string, slice?: ActivationSlice): Promise<(index: number) => boolean> {
  if (/scores|pattern/.test(name)) {
    const [scores, pattern] = [await read.cache.read(SCORES, slice), await read.cache.read(PATTERN, slice)];
    return (index) => scores[index] !== -Infinity && pattern[index] !== 0;
  }
  const values = await read.cache.read(name, slice);
  return (index) => values[index] !== 0;
}

async function perturbed(name: string, slice?: ActivationSlice): Promise<Float32Array> {
  const [values, there] = [await read.cache.read(name, slice), await isThere(name, slice)];
  const noise = gaussians(seeded(3), values.length);
  return values.map((value, index) => (there(index) ? value + (noise[index] as number) : value));
}

/** A point, or a part of it, after an edit there. */
async function edited(edit: Edit, slice?: ActivationSlice): Promise<Float32Array> {
  using result = await model.forward(IDS, { capture: edit.at, edits: [edit] });
  return await result.cache.read(edit.at, slice);
}

describe("a point set to", () => {
  it("what was read of it changes nothing", async () => {
    for (const at of points) {
      const edits: Edit[] = [{ at, op: "set", value: await read.cache.read(at) }];
      expect(relativeError(await logitsOf(model, IDS, { edits }), logits), at).toBeLessThan(TOLERANCE);
    }
  });

  it("its own tensor changes nothing either", async () => {
    for (const at of points) {
      const edits: Edit[] = [{ at, op: "set", value: read.cache.tensor(at) }];
      expect(relativeError(await logitsOf(model, IDS, { edits }), logits), at).toBeLessThan(TOLERANCE);
    }
  });

  it("other numbers is read as these numbers", async () => {
    for (const at of points) {
      const value = await perturbed(at);
      expect(await edited({ at, op: "set", value }), at).toEqual(value);
    }
  });

  it("a part of it likewise, whatever is selected", async () => {
    const parts: ActivationSlice[] = [
      { positions: [-1, 0] },
      { batch: [1], positions: [2, 1] },
      { heads: [1] },
      { positions: [1], heads: [1, 0] },
      { batch: [1, 0], positions: [0, -1], heads: [1, 0] },
    ];
    for (const slice of parts) {
      for (const at of points) {
        const axes = pointTable(model.spec).get(at)?.kind.axes ?? [];
        if (slice.heads && axes.length < 4) continue;
        const value = await perturbed(at, slice);
        const edit = { at, op: "set", value, ...slice } as Edit;
        expect(await edited(edit, slice), `${at} ${JSON.stringify(slice)}`).toEqual(value);
      }
    }
  });
});

/** What each op makes of x and v of one row. */
const OPS: Partial<Record<EditOp, { edit?: Partial<Edit>; row(x: number[], v: number[]): number[] }>> = {
  set: { row: (_, v) => v },
  add: { edit: { alpha: -2 }, row: (x, v) => x.map((value, i) => value - 2 * (v[i] as number)) },
  scale: { row: (x, v) => x.map((value, i) => value * (v[i] as number)) },
  lerp: { edit: { alpha: 0.25 }, row: (x, v) => x.map((value, i) => value + 0.25 * ((v[i] as number) - value)) },
  wgsl: {
    edit: { expression: "x + v * v" },
    row: (x, v) => x.map((value, i) => value + (v[i] as number) ** 2),
  },
};

describe.each(Object.entries(OPS))("the values of %s", (op, { edit, row }) => {
  it.each([
    ["one for each key", 1],
    ["one for each query and key", 2],
    ["one for each head, query and key", 3],
    ["one for each entry of the batch too", 4],
  ])("at a pattern may be %s", async (_, axes) => {
    const shape = [2, 4, 4, 4];
    const value = gaussians(
      seeded(axes),
      shape.slice(4 - axes).reduce((product, size) => product * size, 1),
    );
    const [before, there] = [await read.cache.read(PATTERN), await isThere(PATTERN)];
    const expected = before.map((x, index) =>
      there(index) ? (row([x], [value[index % value.length] as number])[0] as number) : x,
    );
    const given = { at: PATTERN, op: op as EditOp, value, ...edit };
    expect(relativeError(await edited(given), expected)).toBeLessThan(TOLERANCE);
  });
});

it("project_out takes a direction for each row of a pattern as it is read", async () => {
  const before = await read.cache.read(PATTERN, { batch: [0], positions: [-1] }); // the last query sees all keys
  const value = gaussians(seeded(5), before.length); // [head, 1, key]
  const expected = before.map((x, index) => {
    const start = index - (index % 4);
    const v = [...value.subarray(start, start + 4)];
    const dot = (other: ArrayLike<number>) => v.reduce((sum, each, key) => sum + each * (other[key] as number), 0);
    return x - (v[index % 4] as number) * (dot(before.subarray(start, start + 4)) / dot(v));
  });
  const selection = { batch: [0], positions: [-1] };
  const got = await edited({ at: PATTERN, op: "project_out", value, ...selection }, selection);
  expect(relativeError(got, expected)).toBeLessThan(TOLERANCE);
});

it("cells of a sweep take values in the same shape", async () => {
  const ids = IDS[0] as number[];
  const pattern = await captured(model, ids, PATTERN);
  const turned = pattern.map((_, index) => {
    const [query, head, key] = [Math.floor(index / 16), Math.floor(index / 4) % 4, index % 4];
    return pattern[(head * 4 + query) * 4 + key] as number;
  });
  const cells = [pattern, turned].map((value): Edit[] => [{ at: PATTERN, op: "set", value }]);
  const { values, base } = await model.sweep({ input: ids, cells, metric: metric.logit(5) });
  expect(values[0]).toBeCloseTo(base[0] as number, 5);
  expect(Math.abs((values[1] as number) - (base[0] as number))).toBeGreaterThan(1e-3);
});

it("a tensor with queries before heads is refused where the sizes tell it", async () => {
  const selection = { batch: [0], positions: [1, 2] };
  const edit = (value: Edit["value"]): Edit => ({ at: PATTERN, op: "set", value, ...selection });
  using turned = model.gpu.tensorFrom(new Float32Array(32), [2, 4, 4], "queries, heads, keys");
  expect(await failureOf(() => model.forward(IDS, { edits: [edit(turned)] }))).toMatch(
    /^HookError hook\/value-shape: .*value is \[2, 4, 4\]; the selection is \[1, 4, 2, 4\]/,
  );
  using right = model.gpu.tensorFrom(new Float32Array(32), [4, 2, 4], "heads, queries, keys");
  (await model.forward(IDS, { edits: [edit(right)] })).destroy();
});
