/** Memory from uses: no value is overwritten or given away while an op still reads it, and a place that is wrong is found. */
import { describe, expect, it } from "vitest";
import { fuse } from "../../src/graph/fuse.ts";
import { pointsOf } from "../../src/graph/graph.ts";
import { insertHooks } from "../../src/graph/hooks.ts";
import { type Place, type Plan, place } from "../../src/graph/place.ts";
import { prune } from "../../src/graph/prune.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import { type PassForm, trace } from "../../src/model/trace.ts";
import type { Value } from "../../src/ops/op.ts";
import { FAMILIES } from "../support/fixtures.ts";
import { seeded } from "../support/numbers.ts";
import { fixture } from "./support.ts";

/** Follows a plan op by op and keeps book of what lies where; what a wrong plan does wrong. */
function faultsOf({ ops, slots }: Plan): string[] {
  const faults: string[] = [];
  const live = slots.map(() => new Map<number, Value>());
  const freed = new Set<number>();
  const ends = ({ start, heads, width }: Place) => start + (width === "keys" ? 1 : heads * width);
  ops.forEach(({ op, inputs, outputs, frees }, index) => {
    const at = `op ${index}, ${op.kind.name}`;
    op.inputs.forEach((value, i) => {
      const { slot, start } = inputs[i] as Place;
      if (slots[slot]?.outside === "cache") return;
      if (freed.has(slot)) faults.push(`${at} reads slot ${slot}, which is free`);
      else if (live[slot]?.get(start) !== value)
        faults.push(`${at} reads a value that was overwritten in slot ${slot}`);
    });
    op.outputs.forEach((value, i) => {
      const own = outputs[i] as Place;
      const held = live[own.slot] as Map<number, Value>;
      if (freed.has(own.slot)) faults.push(`${at} writes slot ${own.slot}, which is free`);
      for (const start of [...held.keys()]) if (start >= own.start && start < ends(own)) held.delete(start);
      held.set(own.start, value);
      const other = inputs.some(
        ({ slot, start }, k) => slot === own.slot && start === own.start && !isInPlace(op, i, k),
      );
      if (other) faults.push(`${at} writes what it reads`);
    });
    for (const slot of frees) freed.add(slot);
  });
  slots.forEach(({ outside }, slot) => {
    if (outside === undefined && !freed.has(slot)) faults.push(`slot ${slot} is never freed`);
  });
  return faults;
}

const isInPlace = (op: Plan["ops"][number]["op"], output: number, input: number) =>
  op.kind.inPlace?.(op.attributes)[output] === input ||
  // One kernel turns queries and keys where they lie.
  op.kind.name === "ropeStore";

const FORMS: PassForm[] = [
  {},
  { narrow: true },
  { joins: true, narrow: true },
  { logits: "picked" },
  { stopAtLayer: 1 },
];

function plans(spec: ModelSpec): Plan[] {
  const random = seeded(spec.family.length);
  return FORMS.flatMap((form) => {
    const graph = trace(spec, form);
    const names = [...pointsOf(graph).keys()];
    const some = () => names.filter(() => random() < 0.1);
    const hooked = prune(
      insertHooks(graph, { edits: some(), callbacks: some(), captures: some().map((name) => ({ name })) }),
    );
    return [place(hooked), place(fuse(hooked)), place(fuse(prune(graph)))];
  });
}

describe("the places of values", () => {
  it.each(FAMILIES)("of %s hold them until they were read", async (family) => {
    const { spec } = await fixture(family);
    for (const plan of plans(spec)) expect(faultsOf(plan)).toEqual([]);
  });

  it("of parallel blocks without norms keep the residual that the MLP still reads", async () => {
    const { spec } = await fixture("gptj");
    const bare: ModelSpec = { ...spec, norm: { ...spec.norm, kind: "none" } };
    for (const plan of plans(bare)) expect(faultsOf(plan)).toEqual([]);
    const fused = place(fuse(prune(trace(bare))));
    expect(fused.ops.filter(({ op }) => op.kind.name === "copy")).toHaveLength(bare.nLayers);
  });

  it("are found to be wrong when a slot is freed before its last reader", async () => {
    const { spec } = await fixture("llama");
    const plan = place(fuse(prune(trace(spec))));
    let planted = 0;
    plan.ops.forEach(({ frees }, index) => {
      if (index === 0 || frees.length === 0) return;
      const ops = plan.ops.map((op, i) =>
        i === index ? { ...op, frees: [] } : i === index - 1 ? { ...op, frees: [...op.frees, ...frees] } : op,
      );
      expect(faultsOf({ ...plan, ops })).not.toEqual([]);
      planted += 1;
    });
    expect(planted).toBeGreaterThan(10);
  });

  it("are found to be wrong when two values that live at once share one", async () => {
    const { spec } = await fixture("llama");
    const plan = place(fuse(prune(trace(spec))));
    // The normed input of attention in the residual's slot.
    const norm = plan.ops.find(({ op }) => op.kind.name === "norm") as Plan["ops"][number];
    const { slot } = norm.inputs[0] as Place;
    const own = norm.outputs[0]?.slot;
    const moved = (at: Place) => (at.slot === own ? { ...at, slot } : at);
    const ops = plan.ops.map((op) => ({ ...op, inputs: op.inputs.map(moved), outputs: op.outputs.map(moved) }));
    expect(faultsOf({ ...plan, ops })).not.toEqual([]);
  });
});
