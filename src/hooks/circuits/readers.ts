/**
 * What each input of a graph makes of the residual it reads: norm and projection, forwards and backwards.
 *
 * All heads and the MLP of a block read one residual, so that the pass has no gradient for each of them alone. But what they make of it
 * has: queries, keys and values of every head, and the hidden layer. From these points the gradient of a reader's own residual
 * follows exactly, by the transposed projection and the norm's vector-Jacobian product. The same norm and projection say what
 * changes there when one reader alone gets another residual. Both are computed in float64 on the host.
 */
import { HookError } from "../../errors.ts";
import type { ModelSpec } from "../../model/spec.ts";
import { type NormCase, normalized } from "../../ops/norm-reference.ts";
import type { HookedModel } from "../hooked-model.ts";
import { lastResidual } from "../patching/sites.ts";
import type { CircuitGraph, CircuitInput } from "./circuit-graph.ts";

/** A point that is linear in the normed residual. */
interface Projection {
  readonly point: string;
  /** The head of the point that is read; undefined for points without heads. */
  readonly head: number | undefined;
  /** How many heads the point has, or 1. */
  readonly heads: number;
  readonly width: number;
  /** [dModel, width]; undefined for the residual itself. */
  readonly weight: Float32Array | undefined;
}

/** One input of the graph. */
export interface Reader extends CircuitInput {
  /** The point of the residual that it reads. */
  readonly residual: string;
  readonly norm: Pick<NormCase, "kind" | "eps" | "weightOffset" | "w"> | undefined;
  readonly projections: readonly Projection[];
}

/**
 * The readers of a model, with their weights on the host.
 * @throws HookError `hook/unsupported` for models with norms after attention and MLP
 */
export async function readersOf(model: HookedModel, graph: CircuitGraph): Promise<Reader[]> {
  refusePostNorms(model.spec);
  const names = new Set(model.weightNames());
  const known = new Map<string, Promise<Float32Array>>();
  const weight = (name: string) => {
    const values = known.get(name) ?? model.weight(name).then(({ data }) => data);
    known.set(name, values);
    return values;
  };
  return Promise.all(graph.inputs.map((input) => readerOf(model.spec, input, { names, weight })));
}

/** @throws HookError `hook/unsupported` */
export function refusePostNorms({ family, block, norm }: ModelSpec): void {
  if (block.norms === "pre" || norm.kind === "none") return;
  throw new HookError(
    "hook/unsupported",
    `${family} norms what its heads give together, so that a head adds nothing of its own to the residual, and edges have no exact meaning. Use a model with norms before attention and MLP alone, or activationPatch at "attn_out" and "mlp_out".`,
  );
}

interface Weights {
  readonly names: ReadonlySet<string>;
  weight(name: string): Promise<Float32Array>;
}

async function readerOf(spec: ModelSpec, input: CircuitInput, weights: Weights): Promise<Reader> {
  const { layer, part } = input;
  const at = (name: string) => `blocks.${layer}.${name}`;
  if (part === "logits") {
    const point = lastResidual(spec);
    const itself = { point, heads: 1, head: undefined, width: spec.dModel, weight: undefined };
    return { ...input, residual: point, norm: undefined, projections: [itself] };
  }
  const isParallel = spec.block.residual === "parallel";
  if (part === "mlp") {
    const norm = await normOf(spec, at(isParallel && spec.block.parallelSharedNorm ? "ln1" : "ln2"), weights);
    const residual = at(isParallel ? "hook_resid_pre" : "hook_resid_mid");
    return { ...input, residual, norm, projections: await mlpProjections(spec, at, weights) };
  }
  const all = await weights.weight(at(`attn.W_${part.toUpperCase()}`));
  const size = spec.dModel * spec.dHead;
  const projection = {
    point: at(`attn.hook_${part}`),
    heads: part === "q" ? spec.nHeads : spec.nKvHeads,
    head: input.head,
    width: spec.dHead,
    weight: all.subarray(input.head * size, (input.head + 1) * size),
  };
  const norm = await normOf(spec, at("ln1"), weights);
  return { ...input, residual: at("hook_resid_pre"), norm, projections: [projection] };
}

async function mlpProjections(
  spec: ModelSpec,
  at: (name: string) => string,
  { weight }: Weights,
): Promise<Projection[]> {
  const isGated = spec.mlp.kind === "gated";
  const pairs = [
    ["mlp.hook_pre", isGated ? "mlp.W_gate" : "mlp.W_in"],
    ...(isGated ? [["mlp.hook_pre_linear", "mlp.W_in"]] : []),
  ];
  return Promise.all(
    pairs.map(async ([point, name]) => {
      const values = await weight(at(name as string));
      const width = values.length / spec.dModel;
      return { point: at(point as string), heads: 1, head: undefined, width, weight: values };
    }),
  );
}

async function normOf({ norm }: ModelSpec, name: string, { names, weight }: Weights): Promise<Reader["norm"]> {
  if (norm.kind === "none") return undefined;
  return { ...norm, kind: norm.kind, w: names.has(`${name}.w`) ? await weight(`${name}.w`) : undefined };
}

/** The points whose gradients `residualGradient` takes, and the residual that it takes them at. */
export const pointsOf = ({ residual, projections }: Reader): string[] => [
  residual,
  ...projections.map(({ point }) => point),
];

/** d metric / d residual as this reader alone reads it, [rows, dModel], of the residual and the gradients at the points. */
export function residualGradient(
  { norm, projections }: Reader,
  residual: Float32Array,
  gradients: readonly Float32Array[],
  dModel: number,
): Float64Array {
  const out = new Float64Array(residual.length);
  for (let row = 0; row < residual.length / dModel; row++) {
    const at = row * dModel;
    const grad = out.subarray(at, at + dModel);
    for (const [index, projection] of projections.entries())
      addTransposed(projection, gradients[index] as Float32Array, row, grad);
    if (norm) grad.set(normGradient(norm, residual.subarray(at, at + dModel), grad));
  }
  return out;
}

/** Adds W dy of one row. */
function addTransposed(projection: Projection, gradient: Float32Array, row: number, grad: Float64Array): void {
  const { heads, head = 0, width, weight } = projection;
  const dy = gradient.subarray((row * heads + head) * width, (row * heads + head + 1) * width);
  for (let d = 0; d < grad.length; d++) {
    let sum = 0;
    if (weight) for (let n = 0; n < width; n++) sum += (weight[d * width + n] as number) * (dy[n] as number);
    else sum = dy[d] as number;
    grad[d] = (grad[d] as number) + sum;
  }
}

/** The vector-Jacobian product of the norm at x: with y = (x - mean) / s, (g - mean(g) - y mean(g y)) / s; RMS norms have no means of x and g. */
function normGradient(norm: NonNullable<Reader["norm"]>, x: Float32Array, dy: Float64Array): Float64Array {
  const { scale, values: y } = normalized(x, norm);
  const g = dy.map((value, d) => value * (norm.w ? (norm.w[d] as number) + norm.weightOffset : 1));
  const mean = norm.kind === "layer" ? average(g) : 0;
  const along = average(g.map((value, d) => value * (y[d] as number)));
  return g.map((value, d) => (value - mean - (y[d] as number) * along) / scale);
}

const average = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** What each projection gains, [rows, width], when the reader gets `after` instead of `before`, [rows, dModel]. */
export function projectedChange(
  { norm, projections }: Reader,
  before: Float32Array,
  after: ArrayLike<number> & { subarray(start: number, end: number): ArrayLike<number> },
  dModel: number,
): Float32Array[] {
  const rows = before.length / dModel;
  const normed = (x: ArrayLike<number>) => (norm ? normalized(x, norm).values : Float64Array.from(x));
  const out = projections.map(({ width }) => new Float32Array(rows * width));
  for (let row = 0; row < rows; row++) {
    const [from, to] = [row * dModel, (row + 1) * dModel];
    const [old, now] = [normed(before.subarray(from, to)), normed(after.subarray(from, to))];
    const change = now.map(
      (value, d) => (value - (old[d] as number)) * (norm?.w ? (norm.w[d] as number) + norm.weightOffset : 1),
    );
    projections.forEach(({ weight, width }, index) => {
      (out[index] as Float32Array).set(weight ? projected(weight, change, width) : change, row * width);
    });
  }
  return out;
}

/** x W. */
function projected(weight: Float32Array, x: Float64Array, width: number): Float64Array {
  const out = new Float64Array(width);
  for (const [d, value] of x.entries()) {
    if (value === 0) continue;
    for (let n = 0; n < width; n++) out[n] = (out[n] as number) + value * (weight[d * width + n] as number);
  }
  return out;
}
