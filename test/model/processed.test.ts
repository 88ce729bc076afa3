/**
 * Processed models against the raw ones: the same logits for every family, and for GPT-2's kind the weights and activations that
 * TransformerLens's `fold_layer_norm`, `center_writing_weights`, `center_unembed` and `fold_value_biases` define, written out below.
 */
import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { type HookedModel, loadModel } from "../../src/hooks/index.ts";
import type { WeightValues } from "../../src/model/weights/read.ts";
import { saveModel } from "../../src/train/save.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { captured, hooked, logitsOf, withHooked } from "../hooks/support.ts";
import { FAMILIES, golden } from "../support/fixtures.ts";
import { ownGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
import { relativeError } from "../support/numbers.ts";

/** Memory in use, without what is kept for reuse. */
function memoryOf(gpu: Gpu): Gpu["memory"] {
  gpu.trim();
  return { ...gpu.memory };
}

const OFF = { foldNorm: false, centerWriting: false, centerUnembed: false, foldValueBiases: false };
const STEPS = Object.keys(OFF) as (keyof typeof OFF)[];

/** `values` without the mean of each run of `width`. */
function centred(values: Float32Array, width: number): Float32Array {
  return values.map((value, at) => {
    const start = at - (at % width);
    return value - values.subarray(start, start + width).reduce((sum, each) => sum + each, 0) / width;
  });
}

/** The steps that an architecture allows, by its config alone. */
function allowed({ spec }: HookedModel, step: keyof typeof OFF): boolean {
  if (step === "centerWriting") return spec.norm.kind === "layer" && spec.block.norms === "pre";
  return step !== "centerUnembed" || spec.unembed.softCap === null;
}

/** Of each kind of norm, of what is side by side or after it, tied and with biases or without. */
const DAY = [
  "bloom",
  "cohere",
  "falcon",
  "gemma2",
  "gpt2",
  "gpt_neox",
  "gptj",
  "llama",
  "olmo2",
  "opt",
  "phi",
  "qwen2",
];

describe.each(byDay(FAMILIES, DAY))("%s", (family) => {
  it("has the same logits after each step, and after all", async () => {
    await withHooked(family, async (model) => {
      const { ids } = await golden(family);
      const raw = await logitsOf(model, ids);
      const { vocabSize } = model.spec;
      for (const step of STEPS) {
        if (!allowed(model, step)) {
          await expect(model.processed({ [step]: true })).rejects.toMatchObject({ code: "input/processing" });
          continue;
        }
        using processed = await model.processed({ ...OFF, [step]: true });
        const expected = step === "centerUnembed" ? centred(raw, vocabSize) : raw;
        expect(relativeError(await logitsOf(processed, ids), expected), step).toBeLessThan(1e-5);
      }
      using all = await model.processed();
      const expected = allowed(model, "centerUnembed") ? centred(raw, vocabSize) : raw;
      expect(relativeError(await logitsOf(all, ids), expected)).toBeLessThan(1e-5);
    });
  });
});

/** Reads entries of a weight by its indices. */
function reader({ shape, data }: WeightValues): (...index: number[]) => number {
  return (...index) => data[index.reduce((at, each, axis) => at * (shape[axis] as number) + each, 0)] as number;
}

const range = (count: number) => Array.from({ length: count }, (_, index) => index);
const sum = (count: number, term: (index: number) => number) => range(count).reduce((all, each) => all + term(each), 0);

describe("the weights are TransformerLens's", () => {
  /** Weights of the raw model as functions of their indices; a bias that is not there is 0. */
  async function weightsOf(model: HookedModel): Promise<(name: string) => (...index: number[]) => number> {
    const weights = new Map<string, (...index: number[]) => number>();
    for (const name of model.weightNames()) weights.set(name, reader(await model.weight(name)));
    return (name) => weights.get(name) ?? (() => 0);
  }

  it.each(["gpt2", "gpt_neox", "opt"])("%s: folded, centred, value biases folded", async (family) => {
    await withHooked(family, async (model) => {
      using processed = await model.processed();
      const { dModel, dHead, nHeads, vocabSize, nLayers, dMlp, maxPositions } = model.spec;
      const w = await weightsOf(model);
      const same = async (name: string, expected: (...index: number[]) => number) => {
        const { shape, data } = await processed.weight(name);
        const indices = shape.reduce<number[][]>(
          (all, size) => all.flatMap((at) => range(size).map((i) => [...at, i])),
          [[]],
        );
        expect(
          relativeError(
            data,
            Float64Array.from(indices, (index) => expected(...index)),
          ),
          name,
        ).toBeLessThan(1e-5);
      };
      for (let layer = 0; layer < nLayers; layer++) {
        const at = (name: string) => `blocks.${layer}.${name}`;
        const [scale, shift] = [w(at("ln1.w")), w(at("ln1.b"))];
        const folded = (matrix: string) => (head: number, d: number, e: number) =>
          w(at(matrix))(head, d, e) * scale(d) - sum(dModel, (i) => w(at(matrix))(head, i, e) * scale(i)) / dModel;
        const bias = (part: string) => (head: number, e: number) =>
          w(at(`attn.b_${part}`))(head, e) + sum(dModel, (d) => w(at(`attn.W_${part}`))(head, d, e) * shift(d));
        for (const part of ["Q", "K", "V"]) await same(at(`attn.W_${part}`), folded(`attn.W_${part}`));
        for (const part of ["Q", "K"]) await same(at(`attn.b_${part}`), bias(part));
        await same(at("attn.b_V"), () => 0);

        const W_O = w(at("attn.W_O"));
        await same(at("attn.W_O"), (h, e, d) => W_O(h, e, d) - sum(dModel, (i) => W_O(h, e, i)) / dModel);
        const valueBias = bias("V");
        const b_V = range(nHeads).map((h) => range(dHead).map((e) => valueBias(h, e)));
        const b_O = (d: number) =>
          w(at("attn.b_O"))(d) + sum(nHeads, (h) => sum(dHead, (e) => (b_V[h]?.[e] as number) * W_O(h, e, d)));
        const meanO = sum(dModel, b_O) / dModel;
        await same(at("attn.b_O"), (d) => b_O(d) - meanO);

        const [scale2, shift2] = [w(at("ln2.w")), w(at("ln2.b"))];
        const W_in = w(at("mlp.W_in"));
        await same(
          at("mlp.W_in"),
          (d, m) => W_in(d, m) * scale2(d) - sum(dModel, (i) => W_in(i, m) * scale2(i)) / dModel,
        );
        await same(at("mlp.b_in"), (m) => w(at("mlp.b_in"))(m) + sum(dModel, (d) => W_in(d, m) * shift2(d)));
        const [W_out, b_out] = [w(at("mlp.W_out")), w(at("mlp.b_out"))];
        await same(at("mlp.W_out"), (m, d) => W_out(m, d) - sum(dModel, (i) => W_out(m, i)) / dModel);
        await same(at("mlp.b_out"), (d) => b_out(d) - sum(dModel, b_out) / dModel);
        for (const norm of ["ln1.w", "ln2.w"]) await same(at(norm), () => 1);
        for (const norm of ["ln1.b", "ln2.b"]) expect(processed.weightNames()).not.toContain(at(norm));
        expect(dMlp).toBeGreaterThan(0);
      }
      const W_E = w("W_E");
      await same("W_E", (token, d) => W_E(token, d) - sum(dModel, (i) => W_E(token, i)) / dModel);
      if (model.weightNames().includes("W_pos")) {
        const W_pos = w("W_pos");
        await same("W_pos", (pos, d) => W_pos(pos, d) - sum(dModel, (i) => W_pos(pos, i)) / dModel);
        expect((await processed.weight("W_pos")).shape).toEqual([maxPositions, dModel]);
      }
      const [W_U, scale, shift] = [w("W_U"), w("ln_final.w"), w("ln_final.b")];
      const read = range(vocabSize).map((token) => {
        const mean = sum(dModel, (d) => W_U(d, token) * scale(d)) / dModel;
        return range(dModel).map((d) => W_U(d, token) * scale(d) - mean);
      });
      const means = range(dModel).map((d) => sum(vocabSize, (token) => read[token]?.[d] as number) / vocabSize);
      await same("W_U", (d, token) => (read[token]?.[d] as number) - (means[d] as number));
      const b_U = range(vocabSize).map((token) => w("b_U")(token) + sum(dModel, (d) => W_U(d, token) * shift(d)));
      const meanU = sum(vocabSize, (token) => b_U[token] as number) / vocabSize;
      await same("b_U", (token) => (b_U[token] as number) - meanU);
    });
  });
});

describe("activations", () => {
  it("of GPT-2's kind: the residual without its mean, values without their bias, patterns as they were", async () => {
    await withHooked("gpt2", async (model) => {
      const { ids } = await golden("gpt2");
      using processed = await model.processed();
      const { dModel, nHeads, dHead } = model.spec;
      for (const layer of [0, 1]) {
        const both = async (point: string) =>
          Promise.all([model, processed].map((each) => captured(each, ids, `blocks.${layer}.${point}`)));
        for (const point of ["hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out"]) {
          const [raw, now] = (await both(point)) as [Float32Array, Float32Array];
          expect(relativeError(now, centred(raw, dModel)), point).toBeLessThan(1e-5);
          expect(relativeError(now, raw), point).toBeGreaterThan(1e-4);
        }
        for (const point of [
          "attn.hook_q",
          "attn.hook_k",
          "attn.hook_pattern",
          "mlp.hook_pre",
          "ln1.hook_normalized",
        ]) {
          const [raw, now] = (await both(point)) as [Float32Array, Float32Array];
          expect(relativeError(now, raw), point).toBeLessThan(1e-5);
        }
        const [b_V, W_V, shift] = await Promise.all(
          ["attn.b_V", "attn.W_V", "ln1.b"].map(async (name) => reader(await model.weight(`blocks.${layer}.${name}`))),
        );
        const bias = range(nHeads * dHead).map((at) => {
          const [head, e] = [Math.floor(at / dHead), at % dHead];
          return (
            (b_V?.(head, e) as number) + sum(dModel, (d) => (W_V?.(head, d, e) as number) * (shift?.(d) as number))
          );
        });
        const [values, without] = (await both("attn.hook_v")) as [Float32Array, Float32Array];
        const expected = values.map((value, at) => value - (bias[at % bias.length] as number));
        expect(relativeError(without, expected)).toBeLessThan(1e-5);
      }
    });
  });
});

describe("a processed model", () => {
  it("keeps Gemma's way of storing a norm: its weight of 1 is stored as 0", async () => {
    await withHooked("gemma", async (model) => {
      using processed = await model.processed({ foldNorm: true });
      expect((await model.weight("blocks.0.ln1.w")).data.some((value) => Math.abs(value) > 1e-3)).toBe(true);
      expect(new Set((await processed.weight("blocks.0.ln1.w")).data)).toEqual(new Set([0]));
    });
  });

  it("is saved as a folder that loads again", async () => {
    await withHooked("gpt2", async (model) => {
      using processed = await model.processed();
      await inTempFolder(async (folder) => {
        await saveModel(processed, `${folder}/model`);
        using again = await loadModel(`${folder}/model`, { gpu: model.gpu });
        expect(await logitsOf(again, [1, 2, 3])).toEqual(await logitsOf(processed, [1, 2, 3]));
      });
    });
  });

  it("frees its memory, and leaves the first model its own", async () => {
    const gpu = await ownGpu();
    using model = await hooked("gpt2", { gpu });
    const raw = await logitsOf(model, [1, 2, 3]);
    const before = memoryOf(gpu);
    const processed = await model.processed();
    expect(memoryOf(gpu).bytes).toBeGreaterThan(before.bytes);
    processed.destroy();
    expect(memoryOf(gpu)).toEqual(before);
    expect(await logitsOf(model, [1, 2, 3])).toEqual(raw);
  });

  it("reports its progress, and ends when it is told to", async () => {
    const gpu = await ownGpu();
    using model = await hooked("gpt2", { gpu });
    const before = memoryOf(gpu);
    const seen: { loaded: number; total: number }[] = [];
    using _all = await model.processed({ onProgress: (progress) => seen.push(progress) });
    expect(seen.length).toBeGreaterThan(10);
    expect(seen.at(-1)?.loaded).toBe(seen.at(-1)?.total);
    _all.destroy();

    const controller = new AbortController();
    const onProgress = () => controller.abort(new Error("enough"));
    await expect(model.processed({ onProgress, signal: controller.signal })).rejects.toThrow("enough");
    expect(memoryOf(gpu)).toEqual(before);
  });

  it("is not made of edits", async () => {
    await withHooked("gpt2", async (model) => {
      const edit = { at: "blocks.0.hook_mlp_out", op: "zero" } as const;
      const made = model.withEdits(edit, (edited) => edited.processed());
      await expect(made).rejects.toMatchObject({ code: "hook/unsupported" });
    });
  });
});
