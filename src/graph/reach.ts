/**
 * What an edit can change, and what of that a metric reads: facts of the graph, none of a point's name.
 *
 * Forward: an edit changes its value at its own rows. Ops pass that on row by row, except where they read keys or values:
 * there later rows of the sequence change as well, without causality all of them. Backward: logits at one position need
 * that row, and through the keys and values of each block the rows before it. What is both changed and needed has to be
 * computed again, from the first block where that is so.
 */
import type { Op, Value } from "../ops/op.ts";
import type { Graph } from "./graph.ts";

/** The first block in which a row has to be computed again after an edit of a point; infinite when it never has to be. */
export interface Reach {
  /** The edited row, when another position gives the logits. */
  readonly own: number;
  /** The edited row, when it gives the logits itself. */
  readonly ownAtEnd: number;
  /** Another row that the edit can change: a later one, or any without causality. */
  readonly others: number;
  /** The same, when that row gives the logits. */
  readonly othersAtEnd: number;
}

const NEVER = Number.POSITIVE_INFINITY;

interface Bits {
  /** Changed: the edited row. Needed: the row that gives the logits. */
  own: boolean;
  /** Changed: rows after it. Needed: rows before it. */
  others: boolean;
}

const none = (): Bits => ({ own: false, others: false });
const isAcross = ({ kind }: Op, index: number) => kind.acrossRows?.includes(index) ?? false;

/** What the outputs of a pass need of each value. */
function neededOf({ ops }: Graph, outputs: readonly Value[]): Map<Value, Bits> {
  const needed = new Map<Value, Bits>(outputs.map((value) => [value, { own: true, others: false }]));
  for (const op of [...ops].reverse()) {
    const wanted = none();
    for (const value of op.outputs) {
      wanted.own ||= needed.get(value)?.own ?? false;
      wanted.others ||= needed.get(value)?.others ?? false;
    }
    op.inputs.forEach((value, index) => {
      const bits = needed.get(value) ?? none();
      const all = isAcross(op, index) && (wanted.own || wanted.others);
      needed.set(value, { own: bits.own || wanted.own || all, others: bits.others || wanted.others || all });
    });
  }
  return needed;
}

/** What an edit of the values `edited` changes of each value. */
function changedBy({ ops }: Graph, edited: readonly Value[]): Map<Value, Bits> {
  const changed = new Map<Value, Bits>(edited.map((value) => [value, { own: true, others: false }]));
  for (const op of ops) {
    const bits = none();
    op.inputs.forEach((value, index) => {
      const { own, others } = changed.get(value) ?? none();
      bits.own ||= own;
      bits.others ||= others || (own && isAcross(op, index));
    });
    if (!bits.own && !bits.others) continue;
    for (const value of op.outputs) if (!edited.includes(value)) changed.set(value, bits);
  }
  return changed;
}

function reachOf(graph: Graph, needed: Map<Value, Bits>, edited: readonly Value[]): Reach {
  const reach = { own: NEVER, ownAtEnd: NEVER, others: NEVER, othersAtEnd: NEVER };
  const at = (key: keyof Reach, layer: number, isReached: boolean) => {
    if (isReached) reach[key] = Math.min(reach[key], layer);
  };
  for (const [value, changed] of changedBy(graph, edited)) {
    const wanted = needed.get(value) ?? none();
    at("own", value.layer, changed.own && wanted.others);
    at("ownAtEnd", value.layer, changed.own && wanted.own);
    at("others", value.layer, changed.others && wanted.others);
    at("othersAtEnd", value.layer, changed.others && wanted.own);
  }
  return reach;
}

/** Reach of the points of a graph as far as `outputs`, the logits unless told; each found when it is first asked for. */
export class Reaches {
  readonly #known = new Map<string, Reach>();
  readonly #needed: Map<Value, Bits>;

  constructor(
    private readonly graph: Graph,
    private readonly points: ReadonlyMap<string, readonly Value[]>,
    outputs: readonly Value[] = graph.output ? [graph.output] : [],
  ) {
    this.#needed = neededOf(graph, outputs);
  }

  of(point: string): Reach {
    const known = this.#known.get(point);
    if (known) return known;
    const reach = reachOf(this.graph, this.#needed, this.points.get(point) as readonly Value[]);
    this.#known.set(point, reach);
    return reach;
  }
}

/** An edit as far as its reach goes: a point, and positions of the sequence. */
export interface EditedPlace {
  readonly point: string;
  readonly positions: Iterable<number>;
}

/** Rows of one sequence that have to be computed again. */
export interface AffectedRows {
  /** The first position; there is a row for each from there on, as a rule up to that of the logits. */
  readonly first: number;
  /** For each of those rows the block from which on it is computed. Rows before a row never start later than it does. */
  readonly joins: readonly number[];
}

/**
 * The rows that edits can change and logits at position `end` read, for a sequence of `length` tokens; undefined when the
 * logits cannot change. A row never reads a key that has to be computed again and is not: rows before it start no later.
 * `from`: the block from which on the row at `end` is there in any case, since something there is measured.
 */
export function affectedRows(
  reaches: Reaches,
  edits: Iterable<EditedPlace>,
  end: number,
  length: number,
  causal: boolean,
  from = NEVER,
): AffectedRows | undefined {
  const last = causal ? end : length - 1;
  const joins = new Array<number>(last + 1).fill(NEVER);
  const start = (position: number, layer: number) => {
    if (layer < (joins[position] as number)) joins[position] = layer;
  };
  for (const { point, positions } of edits) {
    const reach = reaches.of(point);
    let earliest = NEVER;
    for (const position of positions) {
      if (position > last) continue;
      earliest = Math.min(earliest, position);
      start(position, position === end ? reach.ownAtEnd : reach.own);
    }
    const next = causal ? earliest + 1 : 0;
    if (earliest === NEVER) continue;
    for (let position = next; position <= last; position++) {
      start(position, position === end ? reach.othersAtEnd : reach.others);
    }
  }
  if (joins[end] === NEVER) return undefined;
  start(end, from);
  if (!causal) return { first: 0, joins: new Array<number>(length).fill(Math.min(...joins)) };
  const first = joins.findIndex((layer) => layer !== NEVER);
  for (let position = end - 1; position >= first; position--) {
    joins[position] = Math.min(joins[position] as number, joins[position + 1] as number);
  }
  return { first, joins: joins.slice(first) };
}
