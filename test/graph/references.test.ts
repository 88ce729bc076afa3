/**
 * Every kind of op has a plain reference, and a graph computed by them is the model: its logits are transformers', and its
 * points are those that the dispatches give, whether ops run one by one or fused.
 */
import { describe, expect, it } from "vitest";
import { evaluate } from "../../src/graph/evaluate.ts";
import { FUSION_RULES, fuse, rulesBeforeGradients } from "../../src/graph/fuse.ts";
import { prune } from "../../src/graph/prune.ts";
import { trace } from "../../src/model/trace.ts";
import { FUSED, PRIMITIVES } from "../../src/ops/index.ts";
import { EXPERT_TYPES, FAMILIES, golden } from "../support/fixtures.ts";
import { byDay } from "../support/nightly.ts";
import { relativeError } from "../support/numbers.ts";
import { fixture, referencePass, rowsOf } from "./support.ts";

/** Types with what no other has: scaled queries, xIELU, a layer before the unembedding, embeddings for each block. */
const FURTHER = ["ministral3", "apertus", "modernbert-decoder", "gemma4_text_ple"].map((name) => `../types/${name}`);

const ALL = [...FAMILIES, ...EXPERT_TYPES, ...FURTHER];

/** Whose graphs with copies are computed. */
const COPIED = byDay(ALL, [
  ...["bloom", "gemma2", "gpt2", "gptj", "granite", "phi3"],
  ...["../types/deepseek_v3", "../types/gpt_oss"],
]);

describe("the references of ops", () => {
  const seen = new Set<string>();

  it.each(ALL)("of %s, one by one and fused, give transformers' logits", async (family) => {
    const { spec, weight } = await fixture(family);
    const { ids, values } = await golden(family);
    const rows = rowsOf(ids);
    const pass = referencePass(spec, 64);
    const graph = trace(spec);
    const whole = prune(graph);
    const fused = fuse(whole);
    const primitive = evaluate(whole, { rows, weight, pass });
    const logits = primitive.get(whole.output as never) as Float64Array;
    // Seen: 1e-6; transformers computed in float32.
    expect(relativeError(logits, values.get("logits") as Float32Array)).toBeLessThan(3e-6);
    const atOnce = evaluate(fused, { rows, weight, pass }).get(fused.output as never) as Float64Array;
    expect(relativeError(atOnce, logits)).toBeLessThan(1e-12);
    const before = fuse(whole, rulesBeforeGradients(FUSION_RULES));
    const ofGradients = evaluate(before, { rows, weight, pass }).get(before.output as never) as Float64Array;
    expect(relativeError(ofGradients, logits)).toBeLessThan(1e-12);
    // Every head and every MLP reads a copy of the residual.
    const copied = prune(trace(spec, { changed: { has: () => true } }));
    for (const graph of COPIED.includes(family) ? [copied, fuse(copied)] : []) {
      const apart = evaluate(graph, { rows, weight, pass }).get(graph.output as never) as Float64Array;
      expect(relativeError(apart, logits)).toBeLessThan(1e-12);
    }
    expect(copied.ops.length).toBeGreaterThan(whole.ops.length);
    for (const { kind } of [...whole.ops, ...fused.ops, ...before.ops, ...copied.ops]) seen.add(kind.name);
    // A norm between RoPE and the store keeps those apart, and so do the parts of heads of latent attention.
    const most = spec.attention.qkNormAfterRope || spec.attention.latent ? 0.65 : 0.6;
    expect(fused.ops.length).toBeLessThan(most * whole.ops.length);
  });

  it.each(["gpt2", "gptj", "gemma2", "granite"])(
    "of %s give some rows the logits they have among all",
    async (family) => {
      const { spec, weight } = await fixture(family);
      const rows = rowsOf((await golden(family)).ids);
      const pass = referencePass(spec, 64);
      const whole = trace(spec);
      const all = evaluate(whole, { rows, weight, pass }).get(whole.output as never) as Float64Array;
      const some = [1, 4, rows.count - 1];
      const width = spec.vocabSize;
      const expected = Float64Array.from(some.flatMap((row) => [...all.subarray(row * width, (row + 1) * width)]));
      for (const [form, chosen] of [
        [{ narrow: true }, { outputRows: some }],
        [{ logits: "picked" }, { picked: some }],
      ] as const) {
        for (const graph of [prune(trace(spec, form)), fuse(prune(trace(spec, form)))]) {
          const logits = evaluate(graph, { rows, weight, pass, ...chosen }).get(graph.output as never) as Float64Array;
          expect(relativeError(logits, expected)).toBeLessThan(1e-12);
          for (const { kind } of graph.ops) seen.add(kind.name);
        }
      }
    },
  );

  it("stand for every kind that computes", () => {
    // Forms of passes, which test/graph/fusion.test.ts runs; fixed positions, which test/families/same-model.test.ts has.
    const apart = ["embeds", "join", "copy", "sinusoids"];
    const computing = [...PRIMITIVES, ...FUSED].map(({ name }) => name).filter((name) => !apart.includes(name));
    expect([...seen].sort()).toEqual(computing.sort());
  });
});
