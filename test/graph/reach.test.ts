/**
 * The reach of edits, against what edits change: each point is disturbed at one position in a pass by the plain references,
 * and whatever residual of another pass then differs must be among the rows that are computed again. Nothing else should be.
 */
import { describe, expect, it } from "vitest";
import { evaluate } from "../../src/graph/evaluate.ts";
import { affectedRows } from "../../src/graph/reach.ts";
import { pointTable, reachesOf } from "../../src/hooks/points.ts";
import { isCausal } from "../../src/model/causality.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import { trace } from "../../src/model/trace.ts";
import type { RowTable } from "../../src/ops/rows.ts";
import { byDay } from "../support/nightly.ts";
import { fixture, referencePass, rowsOf } from "./support.ts";

const LENGTH = 5;
const END = 3;

/** A pass in which the vectors of a point are changed at one position, if one is named. */
function residuals(spec: ModelSpec, weight: Awaited<ReturnType<typeof fixture>>["weight"], edited?: [string, number]) {
  const graph = trace(spec, { changed: { has: () => true } });
  const rows = rowsOf([Array.from({ length: LENGTH }, (_, i) => 3 * i + 1)]);
  const disturb = (numbers: Float64Array, table: RowTable) => {
    const width = numbers.length / table.count;
    const row = edited?.[1] as number;
    for (let i = row * width; i < (row + 1) * width; i++) numbers[i] = (numbers[i] as number) * 1.25 + 0.125;
  };
  const seen = new Map<string, Float64Array>();
  const values = evaluate(graph, {
    rows,
    weight,
    pass: referencePass(spec, LENGTH),
    visit(value, numbers, table) {
      // In order: the residual after a block is seen before that ahead of the next, the same value, is changed.
      for (const point of [...value.points, ...(value.follows ?? [])]) {
        if (point === edited?.[0]) disturb(numbers, table);
        if (/resid_post$/.test(point)) seen.set(point, numbers.slice());
      }
    },
  });
  return { logits: values.get(graph.output as never) as Float64Array, seen };
}

const differs = (a: Float64Array, b: Float64Array, row: number) => {
  const width = a.length / LENGTH;
  return a.slice(row * width, (row + 1) * width).some((value, i) => value !== b[row * width + i]);
};

/** First block after which a row's residual differs; infinite when none does. */
function firstChange(spec: ModelSpec, base: Map<string, Float64Array>, other: Map<string, Float64Array>, row: number) {
  const layers = [...spec.layers.keys()];
  const at = (layer: number) => `blocks.${layer}.hook_resid_post`;
  return (
    layers.find((layer) => differs(base.get(at(layer)) as Float64Array, other.get(at(layer)) as Float64Array, row)) ??
    Number.POSITIVE_INFINITY
  );
}

const BIDIRECTIONAL = (spec: ModelSpec): ModelSpec => ({ ...spec, attention: { ...spec.attention, causal: false } });

const SPECS = ["gpt2", "gptj", "gpt_neox", "gemma2", "olmo2", "bloom", "smollm3", "llama without causality"];

describe("the reach of an edit", () => {
  it.each(byDay(SPECS, ["gemma2", "llama without causality"]))("in %s", async (name) => {
    const { spec: own, weight } = await fixture(name.split(" ")[0] as string);
    const spec = name.includes(" ") ? BIDIRECTIONAL(own) : own;
    const base = residuals(spec, weight);
    let unreached = 0;
    for (const point of pointTable(spec).values()) {
      for (const position of [1, END, LENGTH - 1]) {
        const changed = residuals(spec, weight, [point.name, position]);
        const what = `${point.name} at ${position}`;
        const affected = affectedRows(
          reachesOf(spec),
          [{ point: point.name, positions: [position] }],
          END,
          LENGTH,
          isCausal(spec),
        );
        const isChanged = differs(base.logits, changed.logits, END);
        if (!affected) {
          expect(isChanged, `${what} is said to change no logit`).toBe(false);
          unreached += 1;
          continue;
        }
        expect(isChanged || point.kind.axes.includes("key"), `${what} is said to change logits`).toBe(true);
        for (const [index, join] of affected.joins.entries()) {
          const row = affected.first + index;
          const first = firstChange(spec, base.seen, changed.seen, row);
          const needed = row === END || first < spec.nLayers - 1;
          if (needed) expect(join, `${what}: row ${row} changes after block ${first}`).toBeLessThanOrEqual(first);
        }
        for (let row = 0; row < affected.first; row++) {
          const first = firstChange(spec, base.seen, changed.seen, row);
          expect(first, `${what}: row ${row} is left out`).toBeGreaterThanOrEqual(spec.nLayers - 1);
        }
      }
    }
    expect(unreached).toBeGreaterThan(0);
  });

  it("of several edits lets no row start later than one after it, which reads its keys", async () => {
    const { spec } = await fixture("gpt2");
    const reaches = reachesOf(spec);
    const points = [...pointTable(spec).keys()].filter((name) => name !== "logits");
    let between = 0;
    for (const early of points) {
      for (const late of points) {
        const edits = [
          { point: early, positions: [0] },
          { point: late, positions: [END - 1] },
        ];
        const { joins = [] } = affectedRows(reaches, edits, END, LENGTH, true) ?? {};
        expect(joins).toEqual([...joins].sort((a, b) => a - b));
        const alone = affectedRows(reaches, edits.slice(0, 1), END, LENGTH, true);
        if (alone?.first === 0 && (alone.joins[1] as number) > (joins[1] as number)) between += 1;
      }
    }
    expect(between).toBeGreaterThan(0);
  });
});
