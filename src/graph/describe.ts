/**
 * A graph in words, before and after fusion and placing: what each op computes of what, with which weights, and where it lies.
 *
 * Values are numbered in the order in which tracing makes them and keep their numbers: what is %7 before is %7 after, and a
 * number that is gone lies inside a fused op. `%7'` is a copy of %7, made where an op in place would spoil what is still read.
 */
import { COPY } from "../ops/copy.ts";
import type { Op, Value } from "../ops/op.ts";
import { type WeightRef, weightsIn } from "../ops/weight-ref.ts";
import type { Graph } from "./graph.ts";
import type { PlacedOp, Plan } from "./place.ts";

/** What an op belongs to: the number of its block, or what comes before or after all of them. */
export type Section = "embedding" | number | "unembedding";

/** An op of the graph, in words. */
export interface OpText {
  readonly section: Section;
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly weights: readonly string[];
  /** Of each output: `[row, head, width]`. */
  readonly shapes: readonly string[];
  /** Points on its outputs; of an op without outputs, such as a capture, those on its input. */
  readonly points: readonly string[];
  /** What happens to the rows, where the op gives others than it takes. */
  readonly rows?: string;
}

/** An op that becomes dispatches. */
export interface PlacedOpText extends OpText {
  /** The ops of the graph that it stands for, by their index. A copy stands for none. */
  readonly fuses: readonly number[];
  /** The memory of each output. */
  readonly memory: readonly string[];
  /** Memory that nobody reads after it. */
  readonly frees: readonly string[];
}

/** A pass before and after. */
export interface GraphText {
  readonly traced: readonly OpText[];
  readonly placed: readonly PlacedOpText[];
}

/** A graph with its hooks, and the plan that was made of it; `has` tells which weights the model has. */
export function describeGraph(graph: Graph, plan: Plan, has: (weight: WeightRef) => boolean): GraphText {
  const names = namesOf(graph, plan);
  const sections = sectionsOf(graph.ops);
  const traced = graph.ops.map((op, index) => describeOp(op, sections[index] as Section, names, has));
  const placedSections = sectionsOf(plan.ops.map(({ op }) => op));
  const copied = copiesOf(plan);
  const placed = plan.ops.map((each, index) => ({
    ...describeOp(each.op, placedSections[index] as Section, names, has),
    fuses: fusedBy(each.op, graph, copied),
    memory: each.outputs.map((place) => {
      const isPart = typeof place.rowStride === "number" && place.rowStride !== place.heads * Number(place.width);
      return slotName(plan, place.slot) + (isPart ? ` from ${place.start}` : "");
    }),
    frees: freedBy(each, plan),
  }));
  return { traced, placed };
}

/** The lines of a section, of an embedding and of an unembedding, for people: the graph as traced, and as it runs. */
export function graphLines(text: GraphText, sections: readonly Section[]): string[] {
  const lines: string[] = [`before: as traced, ${text.traced.length} ops in all`];
  for (const section of sections) {
    const own = text.traced.filter((op) => op.section === section);
    lines.push("", sectionName(section), ...columns(own.map(tracedCells)));
  }
  lines.push("", `after: fused and placed, ${text.placed.length} ops in all`);
  for (const section of sections) {
    const own = text.placed.filter((op) => op.section === section);
    lines.push("", sectionName(section), ...columns(own.map((op) => placedCells(op, text.traced))));
  }
  return lines;
}

/** What an op is called in a drawing or a table: `%5 = norm(%2; ln1)`. */
export function callText({ op, inputs, outputs, weights }: OpText): string {
  const made = outputs.length > 0 ? `${outputs.join(", ")} = ` : "";
  return `${made}${op}(${inputs.join(", ")}${weights.length > 0 ? `; ${weights.join(", ")}` : ""})`;
}

/** The names of the ops that a placed one stands for; empty where it is one of them, unchanged. */
export function fusedNames({ op, fuses }: PlacedOpText, traced: readonly OpText[]): string[] {
  const names = fuses.map((index) => (traced[index] as OpText).op);
  return names.length === 1 && names[0] === op ? [] : names;
}

export function sectionName(section: Section): string {
  return typeof section === "number" ? `block ${section}` : section;
}

function tracedCells(op: OpText): string[] {
  return [callText(op), op.shapes.join(" "), op.points.join(", "), op.rows ?? ""];
}

function placedCells(op: PlacedOpText, traced: readonly OpText[]): string[] {
  const fused = fusedNames(op, traced);
  const at = op.memory.length > 0 ? `in ${op.memory.join(", ")}` : "";
  const frees = op.frees.length > 0 ? `frees ${op.frees.join(", ")}` : "";
  return [
    callText(op),
    at,
    frees,
    fused.length > 0 ? `is ${fused.join(" + ")}` : op.outputs.length > 0 ? "" : op.points.join(", "),
    op.rows ?? "",
  ];
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  return rows.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] as number)).join("  ")}`.trimEnd(),
  );
}

function describeOp(
  { kind, inputs, outputs, attributes }: Op,
  section: Section,
  names: ReadonlyMap<Value, string>,
  has: (weight: WeightRef) => boolean,
): OpText {
  const named = (values: readonly Value[]) => values.map((value) => names.get(value) as string);
  return {
    section,
    op: kind.name,
    inputs: named(inputs),
    outputs: named(outputs),
    weights: weightsIn(attributes)
      .filter(has)
      .map(({ name }) => name),
    shapes: outputs.map(shapeText),
    points: (outputs.length > 0 ? outputs : inputs).flatMap(({ points }) => points),
    ...rowsText(inputs[0], outputs[0]),
  };
}

/** Rows end in the last block or before the unembedding, or join at a layer. */
function rowsText(from: Value | undefined, to: Value | undefined): Pick<OpText, "rows"> {
  if (!from || !to || from.rows === to.rows) return {};
  return { rows: typeof to.rows === "number" ? "more rows join" : "only the rows that give logits" };
}

function shapeText({ rows, heads, width }: Value): string {
  const axes = [typeof rows === "number" ? "row" : `${rows} row`, ...(heads > 1 ? [heads] : []), width];
  return `[${axes.join(", ").replace("keys", "key")}]`;
}

function namesOf(graph: Graph, plan: Plan): Map<Value, string> {
  const names = new Map<Value, string>();
  for (const { outputs } of graph.ops) for (const value of outputs) names.set(value, `%${names.size}`);
  for (const [copy, original] of copiesOf(plan)) names.set(copy, `${names.get(original)}'`);
  return names;
}

/** Copies that placing made, and what they are copies of. */
function copiesOf({ ops }: Plan): Map<Value, Value> {
  const copies = ops.filter(({ op }) => op.kind.name === COPY.name);
  return new Map(copies.map(({ op }) => [op.outputs[0] as Value, op.inputs[0] as Value]));
}

/** A block runs from what makes the residual before it, to what makes the one after it and the hooks on that. */
function sectionsOf(ops: readonly Op[]): Section[] {
  const blockAfter = (points: readonly string[], name: string) => {
    const found = points.map((point) => /^blocks\.(\d+)\.(.+)$/.exec(point)).find((match) => match?.[2] === name);
    return found?.[1] === undefined ? undefined : Number(found[1]) + (name === "hook_resid_post" ? 1 : 0);
  };
  const all = ops.flatMap(({ outputs }) => outputs.map(({ points }) => points));
  const blocks = new Set(all.map((points) => blockAfter(points, "hook_resid_pre")));
  let section: Section = "embedding";
  let next: Section = section;
  return ops.map(({ outputs }) => {
    // Ops without outputs look at the value before them and belong to its section.
    if (outputs.length > 0) section = next;
    for (const { points } of outputs) {
      const block = blockAfter(points, "hook_resid_pre") ?? blockAfter(points, "hook_resid_post");
      if (block !== undefined) next = blocks.has(block) ? block : "unembedding";
    }
    return section;
  });
}

/** What an op stands for: all of the graph that lies between its inputs and its outputs. */
function fusedBy(op: Op, { ops }: Graph, copied: ReadonlyMap<Value, Value>): number[] {
  if (op.kind.name === COPY.name) return [];
  // What has no outputs is never fused: it is in the graph as it is here.
  if (op.outputs.length === 0) return [ops.findIndex(({ attributes }) => attributes === op.attributes)];
  const ends = new Set(op.inputs.map((value) => copied.get(value) ?? value));
  const wanted = op.outputs.filter((value) => !ends.has(value));
  const found = new Set<number>();
  while (wanted.length > 0) {
    const value = wanted.pop() as Value;
    const index = ops.findIndex(({ outputs }) => outputs.includes(value));
    if (found.has(index)) continue;
    found.add(index);
    wanted.push(...(ops[index] as Op).inputs.filter((input) => !ends.has(input)));
  }
  return [...found].sort((a, b) => a - b);
}

function slotName({ slots }: Plan, slot: number): string {
  return slots[slot]?.outside ?? `slot ${slot}`;
}

/** Memory outside the pass outlives it. */
function freedBy({ frees }: PlacedOp, plan: Plan): string[] {
  return frees.filter((slot) => plan.slots[slot]?.outside === undefined).map((slot) => slotName(plan, slot));
}
