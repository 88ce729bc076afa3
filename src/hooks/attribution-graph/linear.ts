/**
 * The model of one prompt, made linear (the local replacement model of Ameisen et al. 2025, "Circuit tracing"): attention patterns,
 * the divisors of norms and what each MLP gives are set to the values that they have on the prompt. What is left between them are
 * matrices, biases and sums: a feature's input and the logits are linear in the embeddings and in what is put at the MLPs' places.
 * Skip connections of transcoders stay, since they are linear.
 */
import { HookError } from "../../errors.ts";
import type { Graph } from "../../graph/graph.ts";
import { Model } from "../../model/model.ts";
import type { ModelSpec, ModuleSpec } from "../../model/spec.ts";
import { trace } from "../../model/trace.ts";
import type { Op, Value } from "../../ops/op.ts";
import { HookedModel } from "../hooked-model.ts";
import { type Dictionary, type DictionaryModule, weightsOf } from "../modules/dictionary.ts";
import { assertUsable, splicedSpec } from "../modules/splice.ts";
import { pointTable } from "../points.ts";

/** One block's transcoder. */
export interface Transcoder {
  readonly module: DictionaryModule;
  /** Its matrices and vectors, by the names of `model/modules.ts`. */
  readonly weights: Readonly<Record<string, unknown>>;
  readonly label: string;
  readonly dictionary: Dictionary;
  /** The block whose MLP it stands for. */
  readonly layer: number;
}

const MLP_OUTPUT = /^blocks\.(\d+)\.(mlp\.hook_out|hook_mlp_out)$/;

/**
 * The transcoder of each block, in order.
 * @throws HookError `module/graph` for what is no transcoder, one that is not linear in its input, and blocks without one; as `withModules`
 */
export function transcodersOf({ spec, base }: HookedModel, dictionaries: readonly Dictionary[]): Transcoder[] {
  if (spec.modules)
    throw new HookError(
      "module/twice",
      "This view has dictionaries spliced in already. Give attributionGraph() the model itself.",
    );
  for (const each of dictionaries) assertUsable(each, base.gpu);
  splicedSpec(spec, dictionaries, true);
  const found = dictionaries.flatMap((dictionary) =>
    dictionary.modules.map((module, index): Transcoder => {
      const { label } = dictionary;
      const weights = weightsOf(dictionary)[index] as Transcoder["weights"];
      return { module, weights, label, dictionary, layer: layerOf(module, label) };
    }),
  );
  const missing = Array.from({ length: spec.nLayers }, (_, layer) => layer).filter(
    (layer) => !found.some((each) => each.layer === layer),
  );
  if (missing.length > 0)
    throw new HookError(
      "module/graph",
      `There is no transcoder for the MLP of block ${missing.join(", ")}. An attribution graph needs one for each of the ${spec.nLayers} blocks: give attributionGraph() all of them.`,
    );
  return found.sort((a, b) => a.layer - b.layer);
}

/** @throws HookError `module/graph` */
function layerOf({ hookIn, hookOut, activation, normalize, isOfHeads }: DictionaryModule, label: string): number {
  const fail = (why: string) => new HookError("module/graph", `The dictionary ${label} ${why}`);
  if (hookIn === hookOut)
    throw fail(
      `is a sparse autoencoder of ${hookIn}. Attribution graphs are made of transcoders, which read what an MLP reads and give what it gives; for this one use featureAttribution().`,
    );
  const [, layer] = MLP_OUTPUT.exec(hookOut) ?? [];
  if (layer === undefined || isOfHeads)
    throw fail(`gives ${hookOut}, which is no MLP's output. Take transcoders of mlp.hook_out or hook_mlp_out.`);
  if (normalize)
    throw fail(
      `standardizes its input (${normalize.kind}), which is not linear. Take one with normalize_activations none.`,
    );
  if (activation.kind === "gated")
    throw fail("is gated: an activation is no linear function of its input. Take one with ReLU, JumpReLU or TopK.");
  return Number(layer);
}

/** A view of the model whose MLPs' outputs are the skip connections and a point that is set; without the soft cap of logits. */
export function linearModel(model: HookedModel, transcoders: readonly Transcoder[]): HookedModel {
  const { base } = model;
  const linear = transcoders.filter(({ module }) => module.hasSkip);
  const modules = linear.map(
    ({ module }, group): ModuleSpec => ({ ...module, writes: [], group, error: true, isLinear: true }),
  );
  const unembed = { ...base.spec.unembed, softCap: null };
  const spec = { ...base.spec, unembed, ...(modules.length > 0 && { modules }) };
  const weights = { ...base.engine.weights, modules: linear.map((each) => each.weights) } as typeof base.engine.weights;
  const owners = [base.engine, ...transcoders.map(({ dictionary }) => dictionary)];
  return new HookedModel(new Model({ ...base, spec, weights, ownsGpu: false }, owners), model.standing, model);
}

/** The point whose value stands for an MLP: its output, or what of it the skip connection does not give. */
export const givenPoint = ({ hookOut, hasSkip }: DictionaryModule): string =>
  hasSkip ? `${hookOut}.hook_sae_error` : hookOut;

/** Attention patterns and divisors of norms: what is set besides. */
export function frozenPoints(spec: ModelSpec): string[] {
  return [...pointTable(spec).keys()].filter((name) => /\.(hook_pattern|hook_scale)$/.test(name));
}

/** Ops whose outputs are linear in each input, whatever the others are. */
const LINEAR = new Set([
  ...["affine", "matmul", "repeatHeads", "headProjection", "store", "headResults", "sumHeads"],
  ...["scale", "add", "select", "reshape", "copy"],
]);
/** Ops that are linear in one input while the other one stays. */
const LINEAR_IN: Readonly<Record<string, number>> = { normalize: 0, mix: 1 };

/**
 * Follows the embeddings through the graph of the frozen model.
 * @throws HookError `module/graph` where something that is not linear stands before one of the points `ends`
 */
export function assertLinear(spec: ModelSpec, frozen: ReadonlySet<string>, ends: readonly string[]): void {
  const culprit = nonlinearOp(trace(spec, { changed: frozen }), frozen, new Set(ends));
  if (!culprit) return;
  throw new HookError(
    "module/graph",
    `attributionGraph does not run on this ${spec.family} model: ${culprit.kind.name} of block ${culprit.outputs[0]?.layer} is not linear, and no point freezes it. featureAttribution() works on it.`,
  );
}

function nonlinearOp({ ops }: Graph, frozen: ReadonlySet<string>, ends: ReadonlySet<string>): Op | undefined {
  /** What depends on the embeddings: linearly, or through the op that is not. */
  const depends = new Map<Value, Op | "linearly">();
  for (const op of ops) {
    const inputs = op.inputs.map((value) => depends.get(value));
    const together = op.inputs.length === 0 ? sourceOf(op) : throughOp(op, inputs);
    for (const [index, value] of op.outputs.entries()) {
      // Keys and values pass beside each other.
      const how = op.kind.name === "store" ? inputs[index] : together;
      if (how === undefined) continue;
      if (value.points.some((point) => frozen.has(point))) continue;
      depends.set(value, how);
      if (how !== "linearly" && value.points.some((point) => ends.has(point))) return how;
    }
  }
  return undefined;
}

const sourceOf = ({ kind }: Op) => (kind.name === "embed" || kind.name === "embeds" ? "linearly" : undefined);

function throughOp(op: Op, inputs: readonly (Op | "linearly" | undefined)[]): Op | "linearly" | undefined {
  const before = inputs.find((how) => how !== undefined && how !== "linearly");
  if (before !== undefined || inputs.every((how) => how === undefined)) return before;
  const only = LINEAR_IN[op.kind.name];
  const isLinear =
    only === undefined ? LINEAR.has(op.kind.name) : inputs.every((how, i) => how === undefined || i === only);
  return isLinear ? "linearly" : op;
}
