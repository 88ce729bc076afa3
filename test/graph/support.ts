/** What the tests of graphs share: fixtures as specs with weights, and passes over them by the plain references. */

import { Tensor } from "../../src/gpu/tensor.ts";
import { type Evaluation, evaluate } from "../../src/graph/evaluate.ts";
import { type Graph, pointsOf } from "../../src/graph/graph.ts";
import { insertHooks } from "../../src/graph/hooks.ts";
import { compileEdits, EDITS } from "../../src/hooks/edit.ts";
import type { Edit } from "../../src/hooks/index.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import { ropeTable } from "../../src/model/rope.ts";
import type { ModelSpec, WeightName } from "../../src/model/spec.ts";
import { isPerBlock, isWeightOf, WEIGHT_NAMES, WEIGHTS, weightShape } from "../../src/model/weights/table.ts";
import type { EditFormula, ReferenceEdit } from "../../src/ops/edit-reference.ts";
import type { ReferenceCall, WeightRef } from "../../src/ops/op.ts";
import { RowTable } from "../../src/ops/rows.ts";
import * as s from "../../src/schema/schema.ts";
import { lookupIn } from "../engine/forward.reference.ts";
import { fixtureFiles } from "../support/fixtures.ts";

type WeightOf = ReferenceCall<unknown>["weight"];

/** A fixture's spec, with settings of its config changed, and its weights by the names that ops have for them. */
export async function fixture(
  family: string,
  changes: Record<string, unknown> = {},
): Promise<{ spec: ModelSpec; weight: WeightOf }> {
  const { config, tensors } = await fixtureFiles(family);
  const spec = specFromConfig({ ...config, ...changes }, family);
  const lookup = lookupIn(spec, tensors);
  const flat = (name: WeightName, block = 0) => {
    const rows = lookup(name, block);
    return rows && Float64Array.from(rows.flatMap((row) => [...row]));
  };
  /** Weights of one place, one behind the other; zeros for those that are absent beside others. */
  const stacked = (names: readonly WeightName[], block: number) => {
    const parts = names.map((name) => flat(name, block));
    if (parts.every((part) => part === undefined)) return undefined;
    const zeros = (name: WeightName) =>
      new Array<number>(weightShape(spec, name, block).reduce((product, size) => product * size, 1)).fill(0);
    return Float64Array.from(parts.flatMap((part, index) => [...(part ?? zeros(names[index] as WeightName))]));
  };
  const known = new Map<string, Float64Array | undefined>();
  const find = ({ name, block }: WeightRef, part: "w" | "b" | undefined): Float64Array | undefined => {
    if (name === "W_U" && spec.unembed.tied) return flat("embed.W_E");
    const place = part ? `${name}.${part}` : name;
    const isHere = (each: WeightName) =>
      isPerBlock(each) === (block !== undefined) && isWeightOf(spec, each, block ?? 0);
    return stacked(
      WEIGHT_NAMES.filter((each) => WEIGHTS[each].place === place && isHere(each)),
      block ?? 0,
    );
  };
  const weight: WeightOf = (ref, part) => {
    if (!ref) return undefined;
    const key = `${ref.block}.${ref.name}.${part}`;
    if (!known.has(key)) known.set(key, find(ref, part));
    return known.get(key);
  };
  return { spec, weight };
}

/** The rows of whole sequences, one behind the other. */
export function rowsOf(sequences: readonly (readonly number[])[]): RowTable {
  const rows = new RowTable(sequences.reduce((sum, ids) => sum + ids.length, 0));
  let row = 0;
  sequences.forEach((ids, sequence) => {
    ids.forEach((id, position) => {
      rows.set(row, sequence, position, row++, id);
    });
  });
  return rows;
}

export function referencePass(spec: ModelSpec, positions: number): Evaluation["pass"] {
  const ropeTables = spec.ropes.map((rope) => {
    const { cos, sin } = ropeTable(rope, positions);
    return Float32Array.from({ length: 2 * cos.length }, (_, i) => (i % 2 ? sin : cos)[i >> 1] as number);
  });
  const slopes = spec.positions.kind === "alibi" ? spec.positions.slopes : undefined;
  return { ropeTables, slopes, embeds: undefined };
}

/** A graph with edits, and what their reference takes: the edits as compiled, with values on the host. */
export interface Edited {
  readonly graph: Graph;
  readonly edits: readonly ReferenceEdit[];
}

/** Puts edits into the graph of a pass over whole sequences. */
export async function withEdits(
  spec: ModelSpec,
  graph: Graph,
  edits: readonly Edit[],
  sequences: readonly (readonly number[])[],
  formula?: EditFormula,
): Promise<Edited> {
  const lengths = sequences.map(({ length }) => length);
  const checked = s.readArgument(EDITS, edits, "withEdits", "edits");
  const compiled = compileEdits(checked, { spec, lengths, starts: lengths.map(() => 0) });
  const points = { edits: compiled.map(({ at }) => at), callbacks: [], captures: [] };
  const onHost = compiled.map(async (edit): Promise<ReferenceEdit> => {
    const { values } = edit;
    return { ...edit, formula, values: values instanceof Tensor ? ((await values.read()) as Float32Array) : values };
  });
  return { graph: insertHooks(graph, points), edits: await Promise.all(onHost) };
}

/** Every point of a graph by the plain references. */
export function evaluatePoints(graph: Graph, evaluation: Evaluation): Map<string, Float64Array> {
  const values = evaluate(graph, evaluation);
  return new Map([...pointsOf(graph)].map(([name, value]) => [name, values.get(value) as Float64Array]));
}
