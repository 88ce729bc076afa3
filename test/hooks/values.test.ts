/**
 * Every point of every family is what the table says, shaped as it says, and looking at it changes nothing: the kernels
 * with points between them compute what the fused ones do.
 */
import { describe, expect, it } from "vitest";
import { type Axis, type ForwardResult, HookedModel, POINT_KINDS, pointTable } from "../../src/hooks/index.ts";
import { isHeadFirst, LATENT_POINT_KINDS } from "../../src/hooks/points.ts";
import { layoutOf as layoutOfShape } from "../../src/ops/places.ts";
import { lookupIn } from "../engine/forward.reference.ts";
import { EXPERT_TYPES, FAMILIES, fixtureFiles, golden, loadChanged } from "../support/fixtures.ts";
import { byDay, isNight } from "../support/nightly.ts";
import { relativeError } from "../support/numbers.ts";
import { expectedRow, FORMULAS, LATENT_FORMULAS, type Seen } from "./formulas.ts";
import { logitsOf, readAll, withForward, withHooked } from "./support.ts";

const layoutOf = (name: string, shape: readonly number[]) => layoutOfShape(shape, isHeadFirst(name));

/** float32 against float64, one step at a time. Seen: up to 3.9e-6 (lavapipe). */
const TOLERANCE = 1e-5;

/** Rows of a captured tensor, heads side by side. */
function rowsOf(name: string, shape: readonly number[], values: Float32Array, sequence: number) {
  const layout = layoutOf(name, shape);
  return (position: number) => {
    const start = layout.rowIndex(sequence, position) * layout.rowStride;
    const row = new Float32Array(layout.heads * layout.width);
    for (let head = 0; head < layout.heads; head++) {
      const at = start + head * layout.headStride;
      row.set(values.subarray(at, at + layout.width), head * layout.width);
    }
    return row;
  };
}

async function seenBy(
  family: string,
  { spec }: HookedModel,
  { cache }: ForwardResult,
  ids: number[][],
): Promise<Seen[]> {
  const weights = lookupIn(spec, (await fixtureFiles(family)).tensors);
  const values = await readAll(cache);
  return ids.map((list, sequence) => {
    const rows = new Map([...values].map(([name, each]) => [name, rowsOf(name, cache.shape(name), each, sequence)]));
    return { spec, ids: list, weights, row: (name, position) => rows.get(name)?.(position) };
  });
}

/** The largest error of each point over positions and sequences, where it is too large. */
function wrongPoints(model: HookedModel, runs: Seen[]): Record<string, number> {
  const wrong: Record<string, number> = {};
  for (const { name, kind, layer } of pointTable(model.spec).values()) {
    const positions = runs.flatMap((seen) => seen.ids.map((_, position) => ({ seen, position })));
    const actual = positions.flatMap(({ seen, position }) => [...(seen.row(name, position) as Float32Array)]);
    const expected = positions.flatMap(({ seen, position }) =>
      Array.from(expectedRow(seen, kind.name, layer, position)),
    );
    const error = relativeError(actual, expected);
    if (!(error <= TOLERANCE)) wrong[name] = error;
  }
  return wrong;
}

function expectedShape(model: HookedModel, name: string, batch: number, length: number): number[] {
  const { spec } = model;
  const layer = spec.layers[Number(/^blocks\.(\d+)/.exec(name)?.[1] ?? 0)];
  const sizes = {
    batch,
    pos: length,
    query: length,
    key: length,
    one: 1,
    head: spec.nHeads,
    kvHead: layer?.nKvHeads ?? spec.nKvHeads,
    vocab: spec.vocabSize,
    ...{ feature: 0, dIn: 0, dOut: 0 }, // of dictionaries; see test/modules
  };
  const { experts } = spec.mlp;
  const ofExperts = {
    expert: experts?.count,
    slot: experts?.perToken,
    dExpert: experts?.dExpert,
    dShared: experts?.shared?.dMlp,
  };
  const all: Partial<Record<Axis, number | undefined>> = {
    ...sizes,
    ...ofExperts,
    ...{ dHead: layer?.dHead ?? spec.dHead, dValue: spec.dValue ?? layer?.dHead ?? spec.dHead },
    ...{ dRope: spec.attention.latent?.dRope, dPerLayer: spec.embed.perLayer?.width },
    ...{ dQLatent: spec.attention.latent?.dQ, dKvLatent: spec.attention.latent?.dKv },
    dModel: spec.dModel,
    dMlp: spec.dMlp,
  };
  return (pointTable(spec).get(name)?.kind.axes ?? []).map((axis) => all[axis] as number);
}

it("has a formula for each point of the table, and no other", () => {
  expect(Object.keys(FORMULAS)).toEqual(POINT_KINDS.map(({ name }) => name));
  expect(Object.keys(LATENT_FORMULAS)).toEqual(LATENT_POINT_KINDS.map(({ name }) => name));
});

/**
 * Shared keys, values normed, embeddings for each block; the residual itself normed; a block without a norm, and a layer before the
 * unembedding.
 */
const FURTHER = ["../types/gemma4_text_ple", "../types/openai-gpt", "../types/modernbert-decoder"];

/**
 * Some types with experts: with a bias where they are chosen, with clamps, with an MLP beside them through a gate, and without; with
 * latent attention and with chunks.
 */
const TYPES = [
  ...EXPERT_TYPES.filter((name) =>
    (isNight ? /ernie|gpt_oss|qwen2_moe|deepseek|llama4/ : /gpt_oss|deepseek_v3/).test(name),
  ),
  ...byDay(FURTHER, ["../types/gemma4_text_ple", "../types/openai-gpt"]),
];

/** Each kind of norm and place of it, positions, blocks, caps and scales, projections in one tensor, norms of heads. */
const DAY = "bloom cohere falcon gemma2 gemma3 gpt2 gpt_neox gptj granite olmo2 phi3 qwen3 smollm3".split(" ");

describe.each([...byDay(FAMILIES, DAY), ...TYPES])("%s", (family) => {
  it("shows at each point what its formula says, and computes the same when nobody looks", async () => {
    const { ids: long } = await golden(family);
    // Beyond the window of 7 or 8 where there is one, and few enough for a float64 reference.
    const ids = long.map((list) => list.slice(0, 11));
    await withHooked(family, async (model) => {
      const plain = await logitsOf(model, ids);
      const residuals = await withForward(model, ids, { capture: "*hook_resid_post" }, ({ cache }) => readAll(cache));
      await withForward(model, ids, { capture: "*" }, async (result) => {
        expect(result.cache.names).toEqual(model.pointNames());
        for (const name of result.cache.names) {
          expect(result.cache.shape(name), name).toEqual(expectedShape(model, name, 2, 11));
        }
        expect(relativeError(await result.logits.read(), plain)).toBeLessThan(TOLERANCE);
        expect(await result.cache.read("logits")).toEqual(await result.logits.read());
        for (const [name, values] of residuals)
          expect(relativeError(await result.cache.read(name), values), name).toBeLessThan(TOLERANCE);
        expect(wrongPoints(model, await seenBy(family, model, result, ids))).toEqual({});
      });
    });
  });
});

it("shows what the formulas say where attention looks both ways, through a window and past it", async () => {
  const ids = (await golden("gemma2")).ids.map((list, row) => list.slice(0, 11 - row));
  using model = new HookedModel(await loadChanged("gemma2", { is_causal: false, sliding_window: 4 }));
  await withForward(model, ids, { capture: "*" }, async (result) => {
    expect(relativeError(await result.logits.read(), await logitsOf(model, ids))).toBeLessThan(TOLERANCE);
    const runs = await seenBy("gemma2", model, result, [ids[0] as number[]]);
    expect(wrongPoints(model, runs)).toEqual({});
  });
});

/** Fusions differ by norm, its place, the kind of MLP, and where positions enter. */
const FUSED = ["gpt2", "gemma2", "gpt_neox", "olmo2", "granite", "bloom", "cohere"];
describe.each(byDay(FUSED, ["gpt2", "gemma2", "gpt_neox"]))("%s", (family) => {
  it("computes and shows the same whichever point is looked at", async () => {
    const { ids } = await golden(family);
    await withHooked(family, async (model) => {
      const plain = await logitsOf(model, ids);
      const together = await withForward(model, ids, { capture: "*" }, ({ cache }) => readAll(cache));
      const wrong: Record<string, number[]> = {};
      for (const capture of model.pointNames(["blocks.1.*", (name) => !name.startsWith("blocks")])) {
        using alone = await model.forward(ids, { capture });
        const seen = relativeError(await alone.cache.read(capture), together.get(capture) as Float32Array);
        const errors = [relativeError(await alone.logits.read(), plain), seen];
        if (!errors.every((error) => error <= TOLERANCE)) wrong[capture] = errors;
      }
      expect(wrong).toEqual({});
    });
  });
});
