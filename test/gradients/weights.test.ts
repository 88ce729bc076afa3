/**
 * Gradients of weights do not depend on how the weights lie and how the rows are computed: in 16 bits, in parts, in several
 * passes, with the logits of one position or of all.
 */
import { describe, expect, it } from "vitest";
import { type Dtype, f32ToBf16, f32ToF16, toFloat32 } from "../../src/checkpoint/index.ts";
import { type BackwardOptions, HookedModel, metric } from "../../src/hooks/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { tensorsHolding } from "../../src/model/weights/read.ts";
import { tensorNames } from "../../src/model/weights/tensors.ts";
import { failureOf, hooked, randomIds } from "../hooks/support.ts";
import { changeTensors, FAMILIES, fixtureFiles, sourceOf, valuesOf } from "../support/fixtures.ts";
import { gpuWithLimits, testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";

const TOLERANCE = 1e-5;
const random = seeded(5);
const batch = [7, 2, 5].map((length) => randomIds(random, length));
const factors = gaussians(random, 96);

/** All gradients of weights of a call, by name. */
async function weightsOf(
  model: HookedModel,
  options: BackwardOptions,
  ids = batch,
): Promise<Map<string, Float32Array>> {
  using result = await model.backward(ids, { weights: "*", ...options });
  const found = new Map<string, Float32Array>();
  for (const name of result.weights.names) found.set(name, await result.weights.read(name));
  return found;
}

function expectSame(
  is: ReadonlyMap<string, Float32Array>,
  should: ReadonlyMap<string, Float32Array>,
  tolerance = TOLERANCE,
) {
  expect([...is.keys()]).toEqual([...should.keys()]);
  for (const [name, expected] of should) {
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    // A bias that all keys share changes nothing: rounding is all that there is.
    if (largest < 1e-6)
      expect(
        (is.get(name) as Float32Array).every((value) => Math.abs(value) < 1e-6),
        name,
      ).toBe(true);
    else expect(relativeError(is.get(name) as Float32Array, expected), name).toBeLessThan(tolerance);
  }
}

/** Separate and fused queries, keys and values, a tied head, positions that begin after two spare rows. */
it.each(["llama", "gpt2", "opt", "phi3", "bloom"])("%s's TransformerLens names lead to its tensors", async (family) => {
  using model = await hooked(family);
  const { engine } = model.base;
  const held = model.weightNames().map((name) => tensorsHolding(engine, (other) => other === name));
  expect(held.every((names) => names.length === 1)).toBe(true);
  expect(new Set(held.flat())).toEqual(new Set(tensorNames(engine.weights)));
  const failure = (weights: string) => failureOf(() => model.backward(batch, { metric: metric.logit(3), weights }));
  const [first] = tensorsHolding(engine, (name) => name === "blocks.0.attn.W_Q") as [string];
  expect(first).toMatch(/q|Wqkv|c_attn/);
  expect(await failure("blocks.0.attn.W_Q")).toContain(`take ${first}.`);
  expect(await failure("embed.W_E")).toContain(`take ${tensorsHolding(engine, (name) => name === "W_E")[0]}.`);
});

/** By day matrices as [out, in] and as [in, out], a tied head and one of its own. */
const SHOWN = byDay(["llama", "gpt2", "gemma2", "bloom", "falcon", "cohere"], ["llama", "gpt2"]);

describe.each(SHOWN)("gradients of %s's weights", (family) => {
  it("are the same whether one position's logits are computed or all rows'", async () => {
    using model = await hooked(family);
    for (const position of [-1, 1]) {
      const measured = { metric: metric.weighted(factors), position };
      expectSame(await weightsOf(model, measured), await weightsOf(model, { ...measured, at: "*" }));
    }
  });

  it("are the sums over passes, and over sequences", async () => {
    using model = await hooked(family);
    const measured = { metric: metric.weighted(factors) };
    const whole = await weightsOf(model, measured);
    model.base.engine.maxRowsPerPass = 5;
    expectSame(await weightsOf(model, measured), whole);
    const sums = new Map([...whole].map(([name, { length }]) => [name, new Float32Array(length)]));
    for (const ids of batch) {
      for (const [name, values] of await weightsOf(model, measured, [ids])) {
        const sum = sums.get(name) as Float32Array;
        values.forEach((value, i) => {
          sum[i] = (sum[i] as number) + value;
        });
      }
    }
    expectSame(sums, whole);
    const loss = { metric: metric.loss() };
    const inPasses = await weightsOf(model, loss);
    model.base.engine.maxRowsPerPass = 2048;
    expectSame(inPasses, await weightsOf(model, loss));
  });

  it("are in parts what they are whole", async () => {
    const gpu = await gpuWithLimits({ maxStorageBufferBindingSize: 4096 });
    using whole = await hooked(family);
    using small = await hooked(family, { gpu });
    expect(small.base.engine.weights.W_E.parts.length).toBeGreaterThan(2);
    const ids = [randomIds(random, 5), randomIds(random, 3)];
    for (const options of [{ metric: metric.weighted(factors) }, { metric: metric.loss() }])
      expectSame(await weightsOf(small, options, ids), await weightsOf(whole, options, ids));
  });
});

/** More logits than a binding holds, which are written and read in blocks; and rows that are no multiple of four. */
describe("an adapter that binds fewer logits than there are", () => {
  it.each(byDay(["gpt2", "llama", "gemma2", "cohere"], ["gemma2"]))("gives %s the same gradients", async (family) => {
    const ids = [25, 25, 25, 24].map((length) => randomIds(random, length));
    using whole = await hooked(family);
    for (const rows of [64, 67]) {
      using small = await hooked(family, { gpu: await gpuWithLimits({ maxStorageBufferBindingSize: 4 * 96 * rows }) });
      for (const options of [{ metric: metric.loss() }, { metric: metric.logProb(3) }])
        expectSame(await weightsOf(small, options, ids), await weightsOf(whole, options, ids));
    }
  });
});

const CODES = { BF16: f32ToBf16, F16: f32ToF16 } as const;

/** A fixture with its tensors rounded to a type, stored in it or in float32. */
async function rounded(family: string, type: keyof typeof CODES, stored: Dtype): Promise<HookedModel> {
  const files = changeTensors(await fixtureFiles(family), (tensor) => {
    const codes = new Uint8Array(CODES[type](valuesOf(tensor)).buffer);
    if (stored === type) return { ...tensor, dtype: type, data: codes };
    return { ...tensor, dtype: "F32", data: new Uint8Array(toFloat32(codes, type).buffer) };
  });
  return new HookedModel(new Model(await loadParts(sourceOf(files), { gpu: await testGpu() })));
}

describe("gradients of weights of 16 bits", () => {
  it.each(
    byDay(["llama", "gpt2", "gemma2"], ["llama", "gpt2"]).flatMap((family) =>
      (["BF16", "F16"] as const).map((dtype) => [family, dtype] as const),
    ),
  )("of %s in %s are those of the same numbers in float32", async (family, dtype) => {
    using narrow = await rounded(family, dtype, dtype);
    using wide = await rounded(family, dtype, "F32");
    const measured = { metric: metric.loss() };
    expectSame(await weightsOf(narrow, measured), await weightsOf(wide, measured));
  });
});

describe("gradients again", () => {
  it.each(FAMILIES.slice(0, 2))("of %s have the same bits", async (family) => {
    using model = await hooked(family);
    const options: BackwardOptions = { metric: metric.loss(), weights: "*", at: "*hook_resid_pre" };
    using first = await model.backward(batch, options);
    using second = await model.backward(batch, options);
    expect(second.value).toEqual(first.value);
    for (const name of first.weights.names)
      expect(await second.weights.read(name)).toEqual(await first.weights.read(name));
    for (const name of first.grads.names) expect(await second.grads.read(name)).toEqual(await first.grads.read(name));
  });
});
