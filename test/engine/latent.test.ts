/**
 * Latent and chunked attention in whole models: caches, decoding, points and edits, sweeps, weights by name, and what is refused. Against one
 * full pass each, and against definitions.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  allCompositionScores,
  type Edit,
  edgeAttribution,
  type HookedModel,
  headCircuit,
  metric,
} from "../../src/hooks/index.ts";
import { generateSteps } from "../../src/model/generate.ts";
import { collect } from "../generate/support.ts";
import { captured, failureOf, hooked, logitsOf, withForward } from "../hooks/support.ts";
import { fixtureFiles, valuesOf } from "../support/fixtures.ts";
import { relativeError } from "../support/numbers.ts";

/** More than two chunks of 8. */
const IDS = [5, 17, 40, 3, 90, 61, 22, 8, 33, 71, 12, 4, 66, 29, 80, 51, 7, 19, 44];
const SAME = 2e-6;

describe.each(["deepseek_v2", "deepseek_v3", "llama4_text"])("%s", (name) => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await hooked(`../types/${name}`);
  });
  afterAll(() => model.destroy());

  it("gives a text in pieces, through a cache, and beside another the logits of one pass", async () => {
    const whole = await logitsOf(model, IDS);
    const width = model.spec.vocabSize;
    using cache = model.createKvCache();
    const parts: number[] = [];
    for (const [start, end] of [
      [0, 5],
      [5, 6],
      [6, 17],
      [17, 18],
      [18, IDS.length],
    ] as const)
      parts.push(...(await logitsOf(model, IDS.slice(start, end), { kv: cache })));
    expect(relativeError(parts, whole)).toBeLessThan(SAME);
    const both = await logitsOf(model, [IDS.slice(0, 7), IDS]);
    expect(relativeError(both.subarray(IDS.length * width), whole)).toBeLessThan(SAME);
  });

  it("decodes the tokens that whole passes give", async () => {
    const options = { maxNewTokens: 12 };
    const ahead = await collect(generateSteps(model.base, [IDS, [7, 2]], options));
    const passes = await collect(generateSteps(model.base, [IDS, [7, 2]], options, () => undefined));
    expect(ahead.tokens).toEqual(passes.tokens);
    const logits = await logitsOf(model, [...IDS, ...(ahead.tokens[0]?.slice(0, -1) ?? [])]);
    const last = logits.subarray(-model.spec.vocabSize);
    expect(last.indexOf(Math.max(...last))).toBe(ahead.tokens[0]?.at(-1));
  });

  it("sweeps as one pass a cell does it", async () => {
    const points = [
      "blocks.1.attn.hook_q",
      "blocks.1.attn.hook_k",
      "blocks.0.attn.hook_v",
      "blocks.1.attn.hook_z",
      "blocks.2.attn.hook_pattern",
      ...model.pointNames().filter((point) => /^blocks\.1\..*(latent|rot_k)$/.test(point)),
    ];
    const cells = points.flatMap((at) =>
      [3, 9].map((position): Edit[] => [{ at, op: "scale", value: 1.5, positions: [position] }]),
    );
    const { values } = await model.sweep({ input: IDS, cells, metric: metric.logitDiff(5, 7) });
    const expected: number[] = [];
    for (const edits of cells) {
      const logits = (await logitsOf(model, IDS, { edits })).subarray(-model.spec.vocabSize);
      expected.push((logits[5] as number) - (logits[7] as number));
    }
    expect(relativeError(values, expected)).toBeLessThan(1e-5);
    // What position 3 of a chunk of 8 holds reaches the last position all the same: layers without chunks hand it on.
    expect(new Set(values).size).toBeGreaterThan(points.length);
  });
});

it("lists queries of deepseek_v2, which has no latent vector for them, and no keys or values beside them", async () => {
  using model = await hooked("../types/deepseek_v2");
  const names = model.weightNames().filter((name) => name.startsWith("blocks.0.attn.W_"));
  expect(names.map((name) => name.slice(16)).sort()).toEqual(["DKV", "KR", "O", "Q", "UK", "UV"]);
  expect((await model.weight("blocks.0.attn.W_Q")).shape).toEqual([4, 32, 12]);
});

describe("points of deepseek_v3", () => {
  let model: HookedModel;
  beforeAll(async () => {
    model = await hooked("../types/deepseek_v3");
  });
  afterAll(() => model.destroy());
  const at = (name: string) => `blocks.1.attn.hook_${name}`;

  it("have the shapes of whole heads and of latent vectors", async () => {
    const shapes = {
      q: [1, 19, 4, 12],
      k: [1, 19, 4, 12],
      v: [1, 19, 4, 8],
      z: [1, 19, 4, 8],
      rot_q: [1, 19, 4, 4],
      rot_k: [1, 19, 4],
      q_latent: [1, 19, 8],
      kv_latent: [1, 19, 8],
    };
    const names = Object.keys(shapes);
    await withForward(model, IDS, { capture: names.map(at) }, async ({ cache }) => {
      expect(Object.fromEntries(names.map((name) => [name, cache.shape(at(name))]))).toEqual(shapes);
    });
    expect(model.pointNames().filter((name) => name.includes("_input"))).toEqual([]);
  });

  it("are what goes on: what was captured, set again, changes nothing, and zeros do what they must", async () => {
    const plain = await logitsOf(model, IDS);
    for (const name of ["q", "k", "v", "rot_q", "rot_k", "q_latent", "kv_latent"]) {
      const values = await captured(model, IDS, at(name));
      const size = values.length / IDS.length;
      const edits = IDS.map((_, position): Edit => {
        const own = values.slice(position * size, (position + 1) * size);
        return { at: at(name), op: "set", value: own, positions: [position] };
      });
      expect(relativeError(await logitsOf(model, IDS, { edits }), plain), name).toBeLessThan(SAME);
    }
    // Without the latent vector and the part that turns, keys and values are zero.
    const edits: Edit[] = ["kv_latent", "rot_k"].map((name) => ({ at: at(name), op: "zero" }));
    const pattern = await captured(model, IDS, at("pattern"), { edits });
    for (let query = 0; query < IDS.length; query++)
      expect(pattern[query * IDS.length + query]).toBeCloseTo(1 / (query + 1), 6);
    expect(new Set(await captured(model, IDS, at("z"), { edits }))).toEqual(new Set([0]));
    expect(relativeError(await logitsOf(model, IDS, { edits }), plain)).toBeGreaterThan(1e-3);
  });

  it("of keys follow the part that all heads share", async () => {
    const shared = await captured(model, IDS, at("rot_k"));
    const k = await captured(model, IDS, at("k"));
    for (let head = 0; head < 4; head++)
      expect([...k.subarray((9 * 4 + head) * 12 + 8, (9 * 4 + head) * 12 + 12)]).toEqual([...shared.subarray(36, 40)]);
    const edits: Edit[] = [{ at: at("rot_k"), op: "set", value: 7, positions: [9], dims: [2] }];
    const changed = await captured(model, IDS, at("k"), { edits });
    for (let head = 0; head < 4; head++) expect(changed[(9 * 4 + head) * 12 + 10]).toBe(7);
  });

  it("has its matrices by name, cut from the tensors that hold them", async () => {
    const { tensors } = await fixtureFiles("../types/deepseek_v3");
    const tensor = (name: string) =>
      valuesOf(tensors.find((each) => each.name === `model.layers.1.self_attn.${name}`) as (typeof tensors)[number]);
    const up = await model.weight("blocks.1.attn.W_UV");
    expect(up.shape).toEqual([4, 8, 8]);
    const stored = tensor("kv_b_proj.weight");
    for (const [head, c, d] of [
      [0, 0, 0],
      [2, 3, 5],
      [3, 7, 7],
    ] as const)
      expect(up.data[(head * 8 + c) * 8 + d]).toBe(stored[(head * 16 + 8 + d) * 8 + c]);
    const turning = await model.weight("blocks.1.attn.W_KR");
    expect(turning.shape).toEqual([32, 4]);
    expect(turning.data[5 * 4 + 3]).toBe(tensor("kv_a_proj_with_mqa.weight")[(8 + 3) * 32 + 5]);
    expect((await model.weight("blocks.1.attn.W_UQ")).shape).toEqual([4, 8, 12]);
    expect((await model.weight("blocks.1.attn.W_O")).shape).toEqual([4, 8, 32]);
    expect(await failureOf(() => model.weight("blocks.1.attn.W_K"))).toMatch(
      /"blocks\.1\.attn\.W_K" is no weight of this deepseek_v3 model\. Nearest: .*W_UK/,
    );
  });

  it("refuses by name what needs a matrix from the residual to a head", async () => {
    const options = { layer: 0, head: 0, circuit: "OV" } as const;
    expect(await failureOf(() => headCircuit(model, options))).toMatch(/^HookError hook\/unsupported: .*latent vector/);
    expect(await failureOf(() => allCompositionScores(model, { mode: "K" }))).toMatch(/hook\/unsupported/);
    expect(
      await failureOf(() =>
        edgeAttribution(model, { clean: IDS, corrupted: IDS.toReversed(), metric: metric.logitDiff(5, 7) }),
      ),
    ).toMatch(/hook\/unsupported/);
  });
});
