/** Hooks in a graph: what happens at a point, in which order, and that everything after it reads the changed value. */
import { describe, expect, it } from "vitest";
import { pointsOf } from "../../src/graph/graph.ts";
import { insertHooks } from "../../src/graph/hooks.ts";
import { prune } from "../../src/graph/prune.ts";
import { trace } from "../../src/model/trace.ts";
import type { Value } from "../../src/ops/op.ts";
import { FAMILIES } from "../support/fixtures.ts";
import { fixture } from "./support.ts";

const HOOKS = ["edit", "callback", "capture"];

describe("hooks at every point", () => {
  it.each(FAMILIES)("of %s change all that is computed later, and are never left out", async (family) => {
    const { spec } = await fixture(family);
    const plain = trace(spec);
    const points = [...pointsOf(plain).keys()];
    const graph = insertHooks(plain, {
      edits: [...points, ...points],
      callbacks: points,
      captures: points.map((name) => ({ name })),
    });
    // Which value of the plain graph each one is a later state of, and the latest state of each.
    const origin = new Map<Value, Value>();
    const latest = new Map<Value, Value>();
    const happened = new Map<Value, string[]>();
    for (const { kind, inputs, outputs } of graph.ops) {
      for (const value of inputs) expect(latest.get(origin.get(value) as Value)).toBe(value);
      const isHook = HOOKS.includes(kind.name);
      const hooked = isHook ? origin.get(inputs[0] as Value) : undefined;
      if (hooked) happened.set(hooked, [...(happened.get(hooked) ?? []), kind.name]);
      for (const value of outputs) {
        origin.set(value, hooked ?? value);
        latest.set(hooked ?? value, value);
      }
    }
    for (const value of pointsOf(plain).values()) {
      // A value of two names is hooked at one after the other.
      const once = ["edit", "edit", "callback", "capture"];
      expect(happened.get(value)).toEqual(value.points.flatMap(() => once));
    }
    expect(graph.output).toBe(latest.get(plain.output as Value));
    const counts = (ops: typeof graph.ops) => HOOKS.map((name) => ops.filter(({ kind }) => kind.name === name).length);
    expect(counts(prune(graph).ops)).toEqual(counts(graph.ops));
  });

  it.each(["gpt2", "gptj"])(
    "of %s edit the norms of copies as well, once each, and look at the residual's own",
    async (family) => {
      const { spec } = await fixture(family);
      const plain = trace(spec, { changed: { has: () => true } });
      const points = [...pointsOf(plain).keys()].filter((name) => name.includes(".ln1."));
      const captures = points.flatMap((name) => [{ name }, { name, ofGradient: true }]);
      const { ops } = insertHooks(plain, { edits: points, callbacks: [], captures });
      // Of queries, keys and values, and of the MLP where it shares the norm.
      const copies = family === "gptj" ? 4 : 3;
      for (const [index] of points.entries()) {
        const edits = ops.filter(
          ({ kind, attributes }) => kind.name === "edit" && (attributes as { index: number }).index === index,
        );
        const isCopy = edits.map(({ attributes }) => (attributes as { everyHead?: boolean }).everyHead === true);
        expect(isCopy).toEqual([false, ...Array.from({ length: copies }, () => true)]);
        const edited = edits.map(({ outputs }) => outputs[0]);
        const looks = ops.filter(({ kind, inputs }) => kind.name === "capture" && inputs[0] === edited[0]);
        const marks = ops.filter(({ kind, inputs }) => kind.name === "gradientOf" && inputs[0] === edited[0]);
        expect(looks.map(({ inputs }) => inputs)).toEqual([[edited[0]]]);
        expect(marks.map(({ inputs }) => inputs)).toEqual([edited]);
      }
    },
  );

  it("keep what they capture, though nothing else reads it", async () => {
    const { spec } = await fixture("gpt2");
    const graph = trace(spec, { logits: "none" });
    const kept = prune(
      insertHooks(graph, { edits: [], callbacks: [], captures: [{ name: "ln_final.hook_normalized" }] }),
    ).ops;
    expect(kept.at(-1)?.kind.name).toBe("capture");
    expect(prune(graph).ops.length).toBeLessThan(kept.length);
  });
});
