/** The residual stream taken apart: against captures, and against heads computed from the checkpoint's own W_O. */
import { describe, expect, it } from "vitest";
import { accumulatedResid, decomposeResid, headResults } from "../../src/hooks/readouts/index.ts";
import { relativeError } from "../support/numbers.ts";
import {
  capture,
  DEFINED,
  headParts,
  NAMES,
  normed,
  placesOf,
  type Subject,
  subjectOf,
  vectorAt,
} from "./definitions.ts";

/** float32 sums of a few dozen terms, in another order; seen: up to 4e-7. */
const TOLERANCE = 3e-6;
const LAYERS = 3;
const WIDTH = 32;

const blocks = (point: string) => Array.from({ length: LAYERS }, (_, layer) => `blocks.${layer}.${point}`);

/** Sum of the components of a stack [component, batch, pos, dModel]. */
function sumOf(stack: Float32Array, components: number): Float32Array {
  const size = stack.length / components;
  return Float32Array.from({ length: size }, (_, index) => {
    let sum = 0;
    for (let component = 0; component < components; component++) sum += stack[component * size + index] as number;
    return sum;
  });
}

const embeddings = ({ embeddingNorm, learnedPositions }: Subject["family"]): [string, string][] =>
  embeddingNorm
    ? [["embed", "blocks.0.hook_resid_pre"]]
    : [["embed", "hook_embed"], ...(learnedPositions ? [["pos_embed", "hook_pos_embed"] as [string, string]] : [])];

describe.each(NAMES)("%s", (name) => {
  it("is the sum of its components, each what was captured", async () => {
    const subject = await subjectOf(name);
    using model = subject.model;
    const parts = [
      ...embeddings(subject.family),
      ...Array.from({ length: LAYERS }, (_, layer): [string, string][] => [
        [`${layer}_attn_out`, `blocks.${layer}.hook_attn_out`],
        [`${layer}_mlp_out`, `blocks.${layer}.hook_mlp_out`],
      ]).flat(),
    ];
    const read = await capture(subject, [...parts.map(([, point]) => point), "blocks.2.hook_resid_post"]);
    using stack = await decomposeResid(model, subject.ids);
    expect(stack.labels).toEqual(parts.map(([label]) => label));
    expect(stack.shape).toEqual([parts.length, 2, 9, WIDTH]);
    for (const [label, point] of parts) expect(await stack.read(label)).toEqual(read(point));
    expect(relativeError(sumOf(await stack.read(), parts.length), read("blocks.2.hook_resid_post"))).toBeLessThan(
      TOLERANCE,
    );
  });

  it("has heads that are W_O z by the checkpoint, and with their bias exactly what attention adds", async () => {
    const subject = await subjectOf(name);
    using model = subject.model;
    const read = await capture(subject, [...blocks("attn.hook_z"), ...blocks("hook_attn_out")]);
    using heads = await headResults(model, subject.ids);
    using all = await decomposeResid(model, subject.ids, { heads: true });
    expect(heads.labels).toEqual(
      Array.from({ length: LAYERS }, (_, l) => [0, 1, 2, 3].map((h) => `L${l}H${h}`)).flat(),
    );
    expect(heads.shape).toEqual([4 * LAYERS, 2, 9, WIDTH]);
    for (let layer = 0; layer < LAYERS; layer++) {
      const z = read(`blocks.${layer}.attn.hook_z`);
      const zWidth = z.length / 18;
      for (const { index } of placesOf(subject.ids)) {
        const expected = headParts(subject, layer, vectorAt(z, index, zWidth));
        const out = vectorAt(read(`blocks.${layer}.hook_attn_out`), index, WIDTH);
        let sum = out.map(() => 0);
        for (const [head, part] of expected.parts.entries()) {
          const label = `L${layer}H${head}`;
          expect(relativeError(vectorAt(await cached(heads, label), index, WIDTH), part)).toBeLessThan(2e-5);
          expect(await cached(all, label)).toEqual(await cached(heads, label));
          sum = sum.map((value, d) => value + (part[d] as number));
        }
        if (expected.bias) {
          const bias = vectorAt(await cached(all, `${layer}_attn_bias`), index, WIDTH);
          expect(relativeError(bias, expected.bias)).toBeLessThan(TOLERANCE);
          sum = sum.map((value, d) => value + (expected.bias?.[d] as number));
        }
        expect(relativeError(sum, out)).toBeLessThan(TOLERANCE);
      }
      if (!DEFINED[name]?.b_O) expect(all.labels).not.toContain(`${layer}_attn_bias`);
    }
  });

  it("sums to the residual at every depth, by heads too", async () => {
    const subject = await subjectOf(name);
    using model = subject.model;
    const read = await capture(subject, [
      ...blocks("hook_resid_pre"),
      ...(subject.family.parallel ? [] : blocks("hook_resid_mid")),
    ]);
    for (let layer = 0; layer < LAYERS; layer++) {
      using plain = await decomposeResid(model, subject.ids, { layer });
      expect(
        relativeError(sumOf(await plain.read(), plain.labels.length), read(`blocks.${layer}.hook_resid_pre`)),
      ).toBeLessThan(TOLERANCE);
      if (subject.family.parallel) {
        await expect(decomposeResid(model, subject.ids, { layer, mlpInput: true })).rejects.toThrow(
          /needs attention before the MLP/,
        );
        continue;
      }
      using atMlp = await decomposeResid(model, subject.ids, { layer, mlpInput: true, heads: true });
      expect(
        relativeError(sumOf(await atMlp.read(), atMlp.labels.length), read(`blocks.${layer}.hook_resid_mid`)),
      ).toBeLessThan(TOLERANCE);
    }
  });

  it("passes the final norm component by component", async () => {
    const subject = await subjectOf(name);
    using model = subject.model;
    const read = await capture(subject, ["ln_final.hook_scale", "ln_final.hook_normalized"]);
    using plain = await decomposeResid(model, subject.ids);
    using stack = await decomposeResid(model, subject.ids, { applyLn: true });
    const { finalBias, finalNorm } = subject.family;
    expect(stack.labels).toEqual([...plain.labels, ...(finalBias ? ["ln_bias"] : [])]);
    for (const { index } of placesOf(subject.ids)) {
      const scale = read("ln_final.hook_scale")[index] as number;
      for (const label of plain.labels) {
        const expected = normed(
          subject,
          vectorAt(await cached(plain, label), index, WIDTH),
          finalNorm,
          undefined,
          scale,
        );
        expect(relativeError(vectorAt(await cached(stack, label), index, WIDTH), expected)).toBeLessThan(TOLERANCE);
      }
      const bias = finalBias ? [...subject.tensor(finalBias)] : [];
      if (finalBias) expect(vectorAt(await cached(stack, "ln_bias"), index, WIDTH)).toEqual(bias);
      const w = subject.tensor(finalNorm);
      const whole = vectorAt(read("ln_final.hook_normalized"), index, WIDTH).map(
        (value, d) => value * ((w[d] as number) + (subject.family.weightOffset ?? 0)) + (bias[d] ?? 0),
      );
      expect(relativeError(vectorAt(sumOf(await stack.read(), stack.labels.length), index, WIDTH), whole)).toBeLessThan(
        TOLERANCE,
      );
    }
  });

  it("accumulates to what is captured before each block", async () => {
    const subject = await subjectOf(name);
    using model = subject.model;
    const points = [...blocks("hook_resid_pre"), "blocks.2.hook_resid_post", "ln_final.hook_scale"];
    const read = await capture(subject, points);
    const bias = subject.family.finalBias ? [...subject.tensor(subject.family.finalBias)] : [];
    for (const applyLn of [undefined, "own", "run"] as const) {
      using stack = await accumulatedResid(model, subject.ids, { ...(applyLn && { applyLn }) });
      expect(stack.labels).toEqual(["0_pre", "1_pre", "2_pre", "final_post"]);
      for (const [stage, label] of stack.labels.entries()) {
        const captured = read(points[stage] as string);
        for (const { index } of placesOf(subject.ids)) {
          const x = vectorAt(captured, index, WIDTH);
          const scale = applyLn === "run" ? (read("ln_final.hook_scale")[index] as number) : undefined;
          const through = () =>
            normed(subject, x, subject.family.finalNorm, undefined, scale).map((value, d) => value + (bias[d] ?? 0));
          const actual = vectorAt(await cached(stack, label), index, WIDTH);
          expect(relativeError(actual, applyLn ? through() : x)).toBeLessThan(TOLERANCE);
        }
      }
    }
  });
});

describe("inside the model", () => {
  it("the norms before attention and MLP read the sum of the components through them", async () => {
    const subject = await subjectOf("gpt2");
    using model = subject.model;
    const read = await capture(subject, ["blocks.1.ln1.hook_normalized", "blocks.1.ln2.hook_normalized"]);
    for (const [mlpInput, point, tensor] of [
      [false, "ln1", "ln_1"],
      [true, "ln2", "ln_2"],
    ] as const) {
      const w = subject.tensor(`transformer.h.1.${tensor}.weight`);
      const b = subject.tensor(`transformer.h.1.${tensor}.bias`);
      using parts = await decomposeResid(model, subject.ids, { layer: 1, mlpInput, applyLn: true });
      using whole = await accumulatedResid(model, subject.ids, { layer: 1, mlpInput, applyLn: "run" });
      const [sum, last] = [sumOf(await parts.read(), parts.labels.length), await whole.read(whole.labels.at(-1))];
      for (const { index } of placesOf(subject.ids)) {
        const normalized = vectorAt(read(`blocks.1.${point}.hook_normalized`), index, WIDTH);
        const expected = normalized.map((value, d) => value * (w[d] as number) + (b[d] as number));
        expect(relativeError(vectorAt(sum, index, WIDTH), expected)).toBeLessThan(TOLERANCE);
        expect(relativeError(vectorAt(last, index, WIDTH), expected)).toBeLessThan(TOLERANCE);
      }
    }
  });

  it("the residual between attention and MLP is a stage too", async () => {
    const subject = await subjectOf("llama");
    using model = subject.model;
    const read = await capture(subject, blocks("hook_resid_mid"));
    using stack = await accumulatedResid(model, subject.ids, { layer: 2, includeMid: true, mlpInput: true });
    expect(stack.labels).toEqual(["0_pre", "0_mid", "1_pre", "1_mid", "2_pre", "2_mid"]);
    for (const layer of [0, 1, 2])
      expect(await stack.read(`${layer}_mid`)).toEqual(read(`blocks.${layer}.hook_resid_mid`));
    using without = await accumulatedResid(model, subject.ids, { layer: 2 });
    expect(without.labels).toEqual(["0_pre", "1_pre", "2_pre"]);
  });

  it("refuses places and norms that do not exist", async () => {
    const { model, ids } = await subjectOf("olmo2");
    using _ = model;
    await expect(decomposeResid(model, ids, { layer: 4 })).rejects.toThrow(/layers go from 0 to 3/);
    await expect(decomposeResid(model, ids, { mlpInput: true })).rejects.toThrow(/give layer, from 0 to 2/);
    await expect(decomposeResid(model, ids, { layer: 1, applyLn: true })).rejects.toThrow(
      /needs a norm before attention/,
    );
    await expect(accumulatedResid(model, ids, { layer: 1, applyLn: "own" })).rejects.toThrow(
      /needs a norm before attention/,
    );
    await expect(headResults(model, ids, { positions: [] })).rejects.toThrow(/positions is empty/);
    using stack = await decomposeResid(model, ids, { layer: 1 });
    await expect(stack.read("0_atn_out")).rejects.toThrow(/Nearest: 0_attn_out/);
  });
});

const reads = new WeakMap<object, Map<string, Float32Array>>();

/** One component, read once. */
async function cached(stack: { read(label: string): Promise<Float32Array> }, label: string): Promise<Float32Array> {
  const known = reads.get(stack) ?? new Map<string, Float32Array>();
  reads.set(stack, known);
  const values = known.get(label) ?? (await stack.read(label));
  known.set(label, values);
  return values;
}
