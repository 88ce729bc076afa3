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
import { heldByLayer } from "./held.ts";

/** A point that is linear in the normed residual. */
interface Projection {
  readonly point: string;
  /** The head of the point that is read; undefined for points without heads. */
  readonly head: number | undefined;
  /** How many heads the point has, or 1. */
  readonly heads: number;
  /** The weight that it is read with; undefined for the residual itself. */
  readonly weightName: string | undefined;
}

/** One input of the graph. */
export interface Reader extends CircuitInput {
  /** The point of the residual that it reads. */
  readonly residual: string;
  readonly projections: readonly Projection[];
  /** Reads its weights to the host. */
  load(): Promise<LoadedReader>;
}

/** A reader with its weights. */
export interface LoadedReader {
  readonly norm: Pick<NormCase, "kind" | "eps" | "weightOffset" | "w"> | undefined;
  readonly projections: readonly LoadedProjection[];
}

interface LoadedProjection extends Projection {
  readonly width: number;
  /** [dModel, width]; undefined for the residual itself. */
  readonly weight: Float32Array | undefined;
}

/** The readers of a model. Taken in their order, they hold the weights of one layer at a time. */
export function readersOf(model: HookedModel, graph: CircuitGraph): Reader[] {
  const { spec } = model;
  if (spec.mlp.experts)
    throw new HookError(
      "hook/unsupported",
      `What an MLP of this ${spec.family} model reads goes to a router and to other experts for each row, so that no one matrix reads it. Use attributionPatch or activationPatch at "mlp_out" and "z".`,
    );
  if (spec.attention.latent)
    throw new HookError(
      "hook/unsupported",
      `Keys and values of this ${spec.family} model come from a latent vector through a norm, so that no one matrix reads the residual. Use attributionPatch or activationPatch at "k", "v" and "z".`,
    );
  const names = new Set(model.weightNames());
  const held = heldByLayer();
  return graph.inputs.map((input) => {
    const { norm: normName, ...read } = readingOf(spec, input);
    const weight = (name: string) => held(input.layer, name, async () => (await model.weight(name)).data);
    const load = async (): Promise<LoadedReader> => ({
      norm: await normOf(spec, normName, async (name) => (names.has(name) ? weight(name) : undefined)),
      projections: await Promise.all(
        read.projections.map(async (each) => ({ ...each, ...(await projectionWeight(spec, each, weight)) })),
      ),
    });
    return { ...input, ...read, load };
  });
}

async function normOf(
  { norm }: ModelSpec,
  name: string | undefined,
  weight: (name: string) => Promise<Float32Array | undefined>,
): Promise<LoadedReader["norm"]> {
  if (name === undefined || norm.kind === "none") return undefined;
  return { ...norm, kind: norm.kind, w: await weight(`${name}.w`) };
}

/** The part of a weight that a projection reads with. */
async function projectionWeight(
  { dModel }: ModelSpec,
  { weightName, heads, head }: Projection,
  weight: (name: string) => Promise<Float32Array>,
): Promise<Pick<LoadedProjection, "weight" | "width">> {
  if (weightName === undefined) return { weight: undefined, width: dModel };
  const all = await weight(weightName);
  const size = all.length / heads;
  const own = head === undefined ? all : all.subarray(head * size, (head + 1) * size);
  return { weight: own, width: size / dModel };
}

/** What an input reads: its residual, the norm of it by name, and the points that are linear in that. */
function readingOf(
  spec: ModelSpec,
  { layer, part, head }: CircuitInput,
): { residual: string; norm: string | undefined; projections: Projection[] } {
  const at = (name: string) => `blocks.${layer}.${name}`;
  const whole = { heads: 1, head: undefined };
  if (part === "logits") {
    const residual = lastResidual(spec);
    return { residual, norm: undefined, projections: [{ point: residual, ...whole, weightName: undefined }] };
  }
  const norm = (name: string) => (spec.block.norms === "post" ? undefined : at(name));
  const isParallel = spec.block.residual === "parallel";
  if (part === "mlp") {
    const isGated = spec.mlp.kind === "gated";
    const pairs = [
      ["mlp.hook_pre", isGated ? "mlp.W_gate" : "mlp.W_in"],
      ...(isGated ? [["mlp.hook_pre_linear", "mlp.W_in"]] : []),
    ] as [string, string][];
    return {
      residual: at(isParallel ? "hook_resid_pre" : "hook_resid_mid"),
      norm: norm(isParallel && spec.block.parallelSharedNorm ? "ln1" : "ln2"),
      projections: pairs.map(([point, name]) => ({ point: at(point), ...whole, weightName: at(name) })),
    };
  }
  const heads = part === "q" ? spec.nHeads : spec.nKvHeads;
  const weightName = at(`attn.W_${part.toUpperCase()}`);
  return {
    residual: at("hook_resid_pre"),
    norm: norm("ln1"),
    projections: [{ point: at(`attn.hook_${part}`), heads, head, weightName }],
  };
}

/** The points whose gradients `residualGradient` takes, and the residual that it takes them at. */
export const pointsOf = ({ residual, projections }: Reader): string[] => [
  residual,
  ...projections.map(({ point }) => point),
];

/** d metric / d residual as this reader alone reads it, [rows, dModel], of the residual and the gradients at the points. */
export function residualGradient(
  { norm, projections }: LoadedReader,
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
function addTransposed(projection: LoadedProjection, gradient: Float32Array, row: number, grad: Float64Array): void {
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
function normGradient(norm: NonNullable<LoadedReader["norm"]>, x: Float32Array, dy: Float64Array): Float64Array {
  const { scale, values: y } = normalized(x, norm);
  const g = dy.map((value, d) => value * (norm.w ? (norm.w[d] as number) + norm.weightOffset : 1));
  const mean = norm.kind === "layer" ? average(g) : 0;
  const along = average(g.map((value, d) => value * (y[d] as number)));
  return g.map((value, d) => (value - mean - (y[d] as number) * along) / scale);
}

const average = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** What each projection gains, [rows, width], when the reader gets `after` instead of `before`, [rows, dModel]. */
export function projectedChange(
  { norm, projections }: LoadedReader,
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
