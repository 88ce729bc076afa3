/**
 * Differentiation: a graph becomes one that goes on backwards, by the vector-Jacobian products of its ops.
 *
 * It starts at the graph's seed, the metric's gradient of the logits unless hooks put one at a point, and walks the ops in
 * reverse. Each op turns the gradients of its outputs into those of its inputs, as ops again, which may be fused, placed and
 * lowered like any others. What several ops read gets the sum of what each gives. Nothing is computed that leads to no marked
 * value and no wanted weight.
 */
import { ADD } from "../ops/add.ts";
import { CAPTURE } from "../ops/capture.ts";
import { GRADIENT_OF } from "../ops/gradient-of.ts";
import { makeOp, type Op, type Value } from "../ops/op.ts";
import { SEED } from "../ops/seed.ts";
import { SUM_HEADS } from "../ops/sum-heads.ts";
import { type WeightChoice, weightsIn } from "../ops/weight-ref.ts";
import { type Graph, GraphBuilder } from "./graph.ts";

/**
 * The graph and its backward pass: the marks of `insertHooks` become captures of gradients, and weights add to theirs.
 * `recompute`: of the forward pass only what `keptValues` names stays until it is needed again; the rest is computed twice.
 */
export function differentiate(
  graph: Graph,
  wantsWeight: WeightChoice = () => false,
  { recompute = false }: { recompute?: boolean } = {},
): Graph {
  const { ops, output } = graph.ops.some(({ kind }) => kind === SEED) ? graph : seededAtOutput(graph);
  const forward = ops.filter(({ kind }) => kind !== GRADIENT_OF);
  const wanted = wantedValues(graph, wantsWeight);
  const backward = new Backward(recompute ? new Recomputation(forward) : undefined);
  for (const op of [...ops].reverse()) backward.through(op, wanted, wantsWeight);
  return { ops: [...forward, ...backward.ops], output };
}

function seededAtOutput({ ops, output }: Graph): Graph {
  return { ops: [...ops, makeOp<object>(SEED, [output as Value], {}) as Op], output };
}

/** Values whose gradient is marked, or leads to a marked one or to a wanted weight. */
function wantedValues({ ops }: Graph, wantsWeight: WeightChoice): Set<Value> {
  const wanted = new Set<Value>();
  const marked = new Set<Value>();
  for (const { kind, inputs } of ops) if (kind === GRADIENT_OF) for (const value of inputs) marked.add(value);
  for (const op of ops) {
    const leads = leadsOn(op, wanted, wantsWeight);
    for (const value of op.outputs) if (leads || marked.has(value)) wanted.add(value);
  }
  return wanted;
}

/** Whether the gradient of an op's outputs leads to a wanted value or weight. */
function leadsOn({ inputs, attributes }: Op, wanted: ReadonlySet<Value>, wantsWeight: WeightChoice): boolean {
  return inputs.some((value) => wanted.has(value)) || weightsIn(attributes).some((ref) => wantsWeight(ref));
}

class Backward extends GraphBuilder {
  readonly #grads = new Map<Value, Value>();
  /** Marks of points with several values, until the first of them is reached: all that reads them is behind it. */
  readonly #marks: Op[] = [];

  constructor(private readonly recomputation: Recomputation | undefined) {
    super();
  }

  /** Adds to the gradient of a value. */
  give(value: Value, grad: Value): void {
    const before = this.#grads.get(value);
    this.#grads.set(value, before ? this.one(ADD, [before, grad], { scale: 1 }) : grad);
  }

  /** The gradient of a point: the sum of those of its value and of the values that follow it, at every head. */
  #atPoint(values: readonly Value[]): Value | undefined {
    const [own] = values as [Value];
    return values
      .flatMap((value) => {
        const grad = this.#grads.get(value);
        if (!grad) return [];
        return value.heads === own.heads ? [grad] : [this.one(SUM_HEADS, [grad], {})];
      })
      .reduce((sum: Value | undefined, grad) => (sum ? this.one(ADD, [sum, grad], { scale: 1 }) : grad), undefined);
  }

  #capture({ inputs, attributes }: Op): void {
    const grad = this.#atPoint(inputs);
    if (grad) this.add(CAPTURE, [grad], attributes as { index: number; headFirst: boolean });
  }

  through(op: Op, wanted: ReadonlySet<Value>, wantsWeight: WeightChoice): void {
    if (op.kind === SEED) {
      this.give(op.inputs[0] as Value, op.outputs[0] as Value);
      return;
    }
    this.layer = (op.outputs[0] ?? op.inputs[0])?.layer ?? 0;
    if (op.kind === GRADIENT_OF && op.inputs.length > 1) this.#marks.push(op);
    else if (op.kind === GRADIENT_OF) this.#capture(op);
    if (op.kind === GRADIENT_OF) return;
    for (const mark of this.#marks) if (op.outputs.includes(mark.inputs[0] as Value)) this.#capture(mark);
    const grads = op.outputs.map((value) => this.#grads.get(value));
    if (!leadsOn(op, wanted, wantsWeight) || grads.every((grad) => grad === undefined)) return;
    if (!op.kind.vjp) throw new TypeError(`Ops of the kind ${op.kind.name} have no vector-Jacobian product.`);
    const given = op.kind.vjp({
      op: this.recomputation?.apply(op, this) ?? op,
      grads,
      sink: this,
      wants: (input) => wanted.has(op.inputs[input] as Value),
      wantsWeight,
    });
    op.inputs.forEach((value, index) => {
      const grad = given[index];
      if (grad && wanted.has(value)) this.give(value, grad);
    });
  }
}

/**
 * What stays of the forward pass: the residual stream and whatever lies outside the pass. Between two residuals queries, keys
 * and values and the MLP's hidden layer are computed again, 7 of 12 parts of a GPT-2 block's matmuls (activation
 * checkpointing: Chen et al. 2016, arXiv 1604.06174).
 */
function keptValues(ops: readonly Op[]): Set<Value> {
  const kept = ops.filter(({ kind, inputs }) => kind === ADD || kind.hasEffect || inputs.length === 0);
  return new Set(kept.flatMap(({ outputs }) => outputs));
}

/** Computes values of the forward pass again, each once. */
class Recomputation {
  readonly #makers = new Map<Value, Op>();
  readonly #kept: ReadonlySet<Value>;
  readonly #again = new Map<Value, Value>();

  constructor(forward: readonly Op[]) {
    this.#kept = keptValues(forward);
    for (const op of forward) for (const value of op.outputs) this.#makers.set(value, op);
  }

  /** The op on values that are there: kept, or computed again by ops that `sink` takes. Those that nobody reads are pruned. */
  apply(op: Op, sink: GraphBuilder): Op {
    const value = (each: Value) => this.#value(each, sink);
    return { ...op, inputs: op.inputs.map(value), outputs: op.outputs.map(value) };
  }

  #value(value: Value, sink: GraphBuilder): Value {
    if (this.#kept.has(value)) return value;
    const known = this.#again.get(value);
    if (known) return known;
    const { kind, inputs, outputs, attributes } = this.#makers.get(value) as Op;
    const again = inputs.map((input) => this.#value(input, sink));
    const made = outputs.map((output) => ({ ...output, points: [] }));
    sink.ops.push({ kind, inputs: again, outputs: made, attributes });
    outputs.forEach((output, index) => {
      this.#again.set(output, made[index] as Value);
    });
    return this.#again.get(value) as Value;
  }
}
