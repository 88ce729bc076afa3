/**
 * What one head or one MLP reads: copies of the residual, changed for one reader alone. What the reader makes of its input is computed in
 * float64, and set where the reader gives it; then nothing else may differ.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Edit, type HookedModel, metric, type PointPattern } from "../../src/hooks/index.ts";
import type { WeightName } from "../../src/model/spec.ts";
import { normReference } from "../../src/ops/norm-reference.ts";
import { lookupIn } from "../engine/forward.reference.ts";
import { FAMILIES, fixtureFiles } from "../support/fixtures.ts";
import { gpuWithLimits } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { captured, failureOf, hooked, logitsOf, randomIds, readAll, withForward } from "./support.ts";

const TOLERANCE = 1e-5;
const LENGTH = 6;
const POSITION = 2;
const LAYER = 1;
const at = (name: string) => `blocks.${LAYER}.${name}`;
const INPUTS = ["hook_q_input", "hook_k_input", "hook_v_input", "hook_mlp_in"];

/** The head of q, k or v that is edited: the last. */
const headsOf = ({ spec }: HookedModel, name: string) => (name === "hook_q_input" ? spec.nHeads : spec.nKvHeads);

/** W norm(x) + b of one reader, by the checkpoint's weights; `scale` in place of the norm's divisor. */
async function madeOf(model: HookedModel, family: string, reader: string, x: Float32Array, scale?: number) {
  const { spec } = model;
  const { tensors } = await fixtureFiles(family);
  const weights = lookupIn(spec, tensors);
  const flat = (name: string) => {
    const rows = weights(name as WeightName, LAYER);
    return rows && Float64Array.from(rows.flatMap((row) => Array.from(row)));
  };
  const isShared = spec.block.residual === "parallel" && spec.block.parallelSharedNorm;
  const name = reader === "hook_mlp_in" && !isShared ? "ln2" : "ln1";
  const [w, b] = [flat(`${name}.w`), flat(`${name}.b`)];
  const { norm } = spec;
  const own = () => normReference(x, { ...norm, kind: norm.kind as "rms", w, b });
  const mean = norm.kind === "layer" ? x.reduce((sum, value) => sum + value, 0) / x.length : 0;
  const over = (divisor: number) =>
    Float64Array.from(x, (value, d) => {
      const y = (value - mean) / divisor;
      return y * (w ? (w[d] as number) + norm.weightOffset : 1) + (b?.[d] ?? 0);
    });
  const read = spec.block.norms === "post" ? Float64Array.from(x) : scale === undefined ? own() : over(scale);
  const linear = (matrix: string) => {
    const bias = flat(matrix.replace("W_", "b_"));
    return Float64Array.from(weights(matrix as WeightName, LAYER) as ArrayLike<number>[], (row, i) =>
      Array.from(row).reduce((sum, value, d) => sum + value * (read[d] as number), bias?.[i] ?? 0),
    );
  };
  if (reader !== "hook_mlp_in") {
    const letter = (reader.split("_")[1] as string).toUpperCase();
    const heads = headsOf(model, reader);
    const all = linear(`attn.W_${letter}`);
    return { [`attn.hook_${letter.toLowerCase()}`]: all.slice(((heads - 1) * all.length) / heads) };
  }
  const input = { "mlp.hook_in": read };
  if (spec.mlp.kind !== "gated") return { ...input, "mlp.hook_pre": linear("mlp.W_in") };
  return { ...input, "mlp.hook_pre": linear("mlp.W_gate"), "mlp.hook_pre_linear": linear("mlp.W_in") };
}

const isOfHeads = (name: string) => name !== "hook_mlp_in";

/** Each kind of norm, place of it, and block; multi-query; weights as [in, out]. */
const DAY = ["gpt2", "gemma2", "gptj", "olmo2", "falcon", "bloom"];

describe.each(byDay(FAMILIES, DAY))("in %s", (family) => {
  let model: HookedModel;
  let ids: number[];
  beforeAll(async () => {
    model = await hooked(family);
    ids = randomIds(seeded(family.length), LENGTH);
  });
  afterAll(() => model.destroy());

  /** An edit that adds a vector to what the last head or the MLP reads. */
  const added = (name: string) => ({
    at: at(name),
    op: "add" as const,
    positions: [POSITION],
    value: Array.from(gaussians(seeded(name.length), model.spec.dModel)),
    ...(isOfHeads(name) && { heads: [headsOf(model, name) - 1] }),
  });

  it.each(INPUTS)("an edit of %s changes what its reader makes of it, and nothing else", async (name) => {
    const edit = added(name);
    const parallel = model.spec.block.residual === "parallel";
    const residual = at(name === "hook_mlp_in" && !parallel ? "hook_resid_mid" : "hook_resid_pre");
    const x = await captured(model, ids, residual, { positions: [POSITION] });
    const made = await madeOf(
      model,
      family,
      name,
      x.map((value, d) => value + (edit.value[d] as number)),
    );
    const sets = Object.entries(made).map(
      ([point, value]): Edit => ({ ...edit, at: at(point), op: "set", value: Array.from(value) }),
    );
    // The norm of the MLP's input is its own.
    const others = (point: string) => !/_input$|mlp_in$/.test(point) && !(name === "hook_mlp_in" && /ln2/.test(point));
    const run = (edits: Edit[]) =>
      withForward(model, ids, { edits, capture: others }, async ({ logits, cache }) => ({
        logits: await logits.read(),
        points: await readAll(cache),
      }));
    const [is, should, plain] = [await run([edit]), await run(sets), await run([])];
    expect(relativeError(is.logits, should.logits)).toBeLessThan(TOLERANCE);
    const read = (points: Map<string, Float32Array>) => points.get((sets[0] as Edit).at) as Float32Array;
    expect(relativeError(read(plain.points), read(should.points))).toBeGreaterThan(1000 * TOLERANCE);
    for (const [point, values] of should.points)
      expect(relativeError(finite(is.points.get(point) as Float32Array), finite(values)), point).toBeLessThan(
        TOLERANCE,
      );
  });

  it("a copy that is not changed changes nothing, and a capture of it costs nothing of the rest", async () => {
    const plain = await logitsOf(model, ids);
    const edits: Edit[] = INPUTS.map((name) => ({ at: `blocks.*.${name}`, op: "scale", value: 1 }));
    expect(relativeError(await logitsOf(model, ids, { edits }), plain)).toBeLessThan(TOLERANCE);
    const capture: PointPattern[] = INPUTS.map((name) => `*.${name}`);
    expect(await logitsOf(model, ids, { capture })).toEqual(plain);
  });

  it("the gradient of a residual is the sum of those of its readers and of what goes past them", async () => {
    const names = ["*.hook_resid_pre", "*.hook_resid_post", ...INPUTS.map((name) => `*.${name}`)];
    const hasMiddle = model.spec.block.residual === "sequential";
    const wanted = [...names, ...(hasMiddle ? ["*.hook_resid_mid"] : [])];
    using result = await model.backward(ids, { metric: metric.logitDiff(3, 9), at: wanted });
    const grads = await readAll(result.grads);
    using direct = await model.backward(ids, { metric: metric.logitDiff(3, 9), at: "*.hook_resid_pre" });
    const { dModel } = model.spec;
    for (const layer of model.spec.layers.keys()) {
      const of = (name: string) => grads.get(`blocks.${layer}.${name}`) as Float32Array;
      const sum = of("hook_resid_post").slice();
      const give = (x: Float32Array) => {
        const heads = x.length / sum.length;
        x.forEach((value, i) => {
          const place = Math.floor(i / dModel / heads) * dModel + (i % dModel);
          sum[place] = (sum[place] as number) + value;
        });
      };
      give(of("hook_mlp_in"));
      if (hasMiddle) expect(relativeError(sum, of("hook_resid_mid")), `middle ${layer}`).toBeLessThan(TOLERANCE);
      for (const name of INPUTS.slice(0, 3)) give(of(name));
      expect(relativeError(sum, of("hook_resid_pre")), `before ${layer}`).toBeLessThan(TOLERANCE);
      const name = `blocks.${layer}.hook_resid_pre`;
      expect(relativeError(of("hook_resid_pre"), await direct.grads.read(name))).toBeLessThan(TOLERANCE);
    }
  });

  it("a sweep over inputs gives what full passes give", async () => {
    const normed = model.pointNames().includes(at("ln1.hook_scale"));
    const cells: Edit[][] = [
      ...INPUTS.map((name) => [added(name)]),
      ...INPUTS.map((name) => [{ ...added(name), at: `blocks.0.${name}`, positions: [-1] }]),
      [{ at: "blocks.2.hook_v_input", op: "zero", positions: [0] }],
      // Beside cells whose heads norm copies: edits at the residual's norm reach all of them.
      ...(normed
        ? [
            [{ at: at("ln1.hook_scale"), op: "scale", value: 1.5, positions: [POSITION] } as Edit],
            [
              { at: at("ln1.hook_normalized"), op: "scale", value: 0.5, positions: [POSITION] } as Edit,
              added("hook_k_input"),
            ],
          ]
        : []),
    ];
    const { values } = await model.sweep({ input: ids, cells, metric: metric.logits([1, 5, 8]) });
    const rows = [];
    for (const edits of cells) {
      const logits = (await logitsOf(model, ids, { edits })).slice(-model.spec.vocabSize);
      rows.push(logits[1], logits[5], logits[8]);
    }
    expect(relativeError(values, Float32Array.from(rows as number[]))).toBeLessThan(TOLERANCE);
  });
});

/** Layer norm, RMS norm, RMS norm with an offset; a norm that attention and MLP share. */
describe.each(["gpt2", "llama", "gemma2", "gptj"])("with the norm's divisor set, in %s", (family) => {
  it.each(INPUTS)("what reads %s is normed by it", async (name) => {
    using model = await hooked(family);
    const isOwn = name === "hook_mlp_in" && !(model.spec.block.residual === "parallel");
    const ids = randomIds(seeded(5), LENGTH);
    const residual = at(isOwn ? "hook_resid_mid" : "hook_resid_pre");
    const x = await captured(model, ids, residual, { positions: [POSITION] });
    const value = Array.from(gaussians(seeded(8), model.spec.dModel));
    const place = { positions: [POSITION], ...(isOfHeads(name) && { heads: [headsOf(model, name) - 1] }) };
    const edits: Edit[] = [
      { at: at(name), op: "add", ...place, value },
      { at: at(`${isOwn ? "ln2" : "ln1"}.hook_scale`), op: "set", positions: [POSITION], value: 1.75 },
    ];
    const made = await madeOf(
      model,
      family,
      name,
      x.map((each, d) => each + (value[d] as number)),
      1.75,
    );
    await withForward(model, ids, { edits, capture: Object.keys(made).map(at) }, async ({ cache }) => {
      for (const [point, expected] of Object.entries(made))
        expect(relativeError(await cache.read(at(point), place), expected)).toBeLessThan(TOLERANCE);
    });
  });
});

describe("inputs of readers", () => {
  it("take a residual of a cache for any head", async () => {
    using model = await hooked("gemma2");
    const [ids, others] = [randomIds(seeded(1), LENGTH), randomIds(seeded(2), LENGTH)];
    using other = await model.forward(others, { capture: at("hook_resid_pre") });
    const values = await other.cache.read(at("hook_resid_pre"));
    const edit = { at: at("hook_k_input"), op: "set", heads: [1] } as const;
    const fromCache = await logitsOf(model, ids, { edits: { ...edit, value: other.cache.at(at("hook_resid_pre")) } });
    expect(fromCache).toEqual(await logitsOf(model, ids, { edits: { ...edit, value: values } }));
    expect(relativeError(fromCache, await logitsOf(model, ids))).toBeGreaterThan(TOLERANCE);
  });

  it("are called with copies, and refuse a function that changes a norm which the copies have too", async () => {
    using model = await hooked("gpt2");
    const ids = randomIds(seeded(3), LENGTH);
    const { nHeads, dModel } = model.spec;
    let seen: readonly number[] = [];
    using doubled = await model.runWithHooks(ids, [
      [
        at("hook_q_input"),
        (x, { shape }) => {
          seen = shape;
          return x.map((value) => 2 * value + 1);
        },
      ],
    ]);
    expect(seen).toEqual([1, LENGTH, nHeads, dModel]);
    const edits: Edit = { at: at("hook_q_input"), op: "wgsl", expression: "2.0 * x + 1.0" };
    expect(relativeError(await doubled.logits.read(), await logitsOf(model, ids, { edits }))).toBeLessThan(1e-6);
    const call = (name: string, hook: (x: Float32Array) => Float32Array) =>
      model.runWithHooks(ids, [[name, hook]], { edits });
    (await call(at("ln1.hook_scale"), (x) => x)).destroy();
    (await call("blocks.0.ln1.hook_scale", (x) => x.map((value) => 2 * value))).destroy();
    for (const change of [(x: Float32Array) => x.map((value) => 2 * value), (x: Float32Array) => x.fill(3)])
      expect(await failureOf(() => call(at("ln1.hook_scale"), change))).toMatch(
        /^HookError hook\/unsupported: The hook at blocks\.1\.ln1\.hook_scale changes the norm of the residual, and other hooks/,
      );
  });

  it("are not among what runWithCache captures unless told", async () => {
    using model = await hooked("gpt2");
    using result = await model.runWithCache([1, 2, 3]);
    expect(result.cache.names.filter((name) => /_input|mlp_in/.test(name))).toEqual([]);
  });
});

describe.each(["llama", "gpt2", "gemma2"])("weights of %s", (family) => {
  const edits: Edit[] = INPUTS.map((name) => ({ at: `blocks.*.${name}`, op: "scale", value: 1 }));
  const gradients = async (model: HookedModel, ids: number[][], given: Edit[]) => {
    using result = await model.backward(ids, { metric: metric.loss(), weights: "*", edits: given });
    const all = result.weights.names.map(async (name) => [name, await result.weights.read(name)] as const);
    return new Map(await Promise.all(all));
  };

  it("get from copies that are as they were the gradients of the plain pass, also cut into parts", async () => {
    const random = seeded(11);
    const ids = [randomIds(random, LENGTH), randomIds(random, 3)];
    using model = await hooked(family);
    const plain = await gradients(model, ids, []);
    // 36 rows of W: a part ends within a head.
    using cut = await hooked(family, {
      gpu: await gpuWithLimits({ maxStorageBufferBindingSize: 4 * model.spec.dModel * 36 }),
    });
    for (const [name, values] of await gradients(model, ids, edits))
      expect(relativeError(values, plain.get(name) as Float32Array), name).toBeLessThan(TOLERANCE);
    for (const [name, values] of await gradients(cut, ids, edits))
      expect(relativeError(values, plain.get(name) as Float32Array), name).toBeLessThan(TOLERANCE);
    const changed: Edit[] = INPUTS.map((name) => ({ at: at(name), op: "scale", value: 1.5, positions: [1] }));
    const [is, should] = [await logitsOf(cut, ids, { edits: changed }), await logitsOf(model, ids, { edits: changed })];
    expect(relativeError(is, should)).toBeLessThan(TOLERANCE);
  });
});

const finite = (numbers: Float32Array) => numbers.map((value) => (Number.isFinite(value) ? value : 0));
