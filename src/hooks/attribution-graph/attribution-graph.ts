/**
 * The attribution graph of one prompt (Ameisen et al. 2025, "Circuit tracing"; Dunefsky et al. 2024, arXiv 2406.11944): which
 * features of transcoders, errors of theirs and tokens a logit comes from, and which each of these features comes from.
 *
 * An edge is the source's activation times its direction, carried through the frozen model (`linear.ts`) to what the target reads: the
 * feature's encoder, or the logit less the mean of all logits. One backward pass through the frozen model gives all edges into a
 * target; a pass takes many targets of one block, a copy of the prompt for each.
 */
import { HookError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { gather } from "../../kernels/calls.ts";
import { packedView, type View } from "../../kernels/view.ts";
import { likeliest, logSoftmax } from "../../model/drafts/log-softmax.ts";
import type { TokenInput } from "../../model/input.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../../model/long-call.ts";
import type { RowTable } from "../../ops/rows.ts";
import * as s from "../../schema/schema.ts";
import { refuseUnknownGradients } from "../backward.ts";
import { MODEL } from "../call.ts";
import { captureAlone } from "../capture.ts";
import type { Edit } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import { metric } from "../metrics.ts";
import type { Dictionary } from "../modules/dictionary.ts";
import { DICTIONARIES } from "../modules/splice.ts";
import { PROMPT, sequenceOf } from "../patching/experiment.ts";
import { type CopiesPass, copiesPerPass, runCopies } from "../paths/copies.ts";
import { resolvePoint } from "../points.ts";
import { dot } from "../readouts/directions.ts";
import { AttributionGraph } from "./graph.ts";
import { influenceOf } from "./influence.ts";
import { assertLinear, frozenPoints, givenPoint, linearModel, type Transcoder, transcodersOf } from "./linear.ts";
import { type AttributionNode, type LogitNode, PRUNE_FIELDS, type PruneOptions } from "./nodes.ts";
import { type ActiveFeature, type Remainder, readFeatures, readRemainders } from "./sources.ts";

/** What to attribute, and how much of it. */
export interface AttributionGraphOptions extends LongCallOptions, PruneOptions {
  /** One sequence; its last position's logits are explained. */
  input: TokenInput;
  /** Feature nodes at most, by their influence on the logits. All active features when absent; each costs a backward pass of a copy. */
  maxFeatures?: number;
  /** Logit nodes at most. Default 10. */
  maxLogits?: number;
  /** Logit nodes are the likeliest tokens that have this much probability together. Default 0.95. */
  logitProbability?: number;
  /** Features before this position count as error. circuit-tracer leaves out the first token (1). Default 0. */
  firstPosition?: number;
}

export const ATTRIBUTION_GRAPH_OPTIONS = s.object<AttributionGraphOptions>("the options of attributionGraph", {
  input: PROMPT,
  maxFeatures: s.wholeFrom(1),
  maxLogits: s.wholeFrom(1),
  logitProbability: s.part,
  firstPosition: s.wholeFrom(0),
  ...PRUNE_FIELDS,
  ...LONG_CALL_FIELDS,
});

/**
 * The attribution graph of a prompt. Nothing stays on the GPU.
 *
 *     const graph = await attributionGraph(model, transcoders, { input: "The capital of France is", maxFeatures: 500 });
 *     const json = JSON.stringify(graph.toCircuitTracer({ slug: "france" }));
 *
 * @throws HookError `module/graph` for sparse autoencoders, for blocks without a transcoder, and for a model that has something between
 * transcoders that cannot be frozen; as `withModules`
 */
export async function attributionGraph(
  model: HookedModel,
  transcoders: Dictionary | readonly Dictionary[],
  options: AttributionGraphOptions,
): Promise<AttributionGraph> {
  s.readArgument(MODEL, model, "attributionGraph", "model");
  const dictionaries = s.readArgument(DICTIONARIES, transcoders, "attributionGraph", "transcoders");
  const read = s.readOptions(ATTRIBUTION_GRAPH_OPTIONS, options, "attributionGraph");
  model.assertOpen();
  refuseUnknownGradients(model.standing);
  const ids = sequenceOf(model, read.input, "input");
  const { firstPosition = 0, signal, nodeThreshold = 0.8, edgeThreshold = 0.98 } = read;
  if (firstPosition >= ids.length)
    throw new HookError(
      "hook/position-range",
      `firstPosition is ${firstPosition}, and the input has ${ids.length} positions. Give one of 0 to ${ids.length - 1}.`,
    );
  const found = transcodersOf(model, dictionaries);
  using linear = linearModel(model, found);
  const frozen = [...frozenPoints(linear.spec), ...found.map(({ module }) => givenPoint(module))];
  const inputs = found.map(({ module }) => module.hookIn);
  assertLinear(linear.spec, new Set(frozen), [...inputs, "logits"]);
  const features = await readFeatures(model, found, ids, firstPosition, signal);
  using run = await captureAlone(linear, [ids], [...frozen, ...inputs, EMBED], { signal });
  const remainders = await readRemainders(found, features, run.cache);
  const edits = frozen.map((at): Edit => ({ at, op: "set", value: run.cache.tensor(at) }));
  const reads = new Map<string, Float32Array>();
  for (const name of inputs) reads.set(name, await run.cache.read(name));
  const embeds = await run.cache.read(EMBED);
  const prompt = { model, ids, features, remainders, transcoders: found, inputs: reads, embeds };
  const { nodes, rows } = await linear.withEdits(edits, (still) => new Attribution(still, prompt, read).run());
  const { tokenizer } = model;
  const textOf = (id: number) => (tokenizer && id < tokenizer.vocabSize ? tokenizer.tokenText(id) : `#${id}`);
  return new AttributionGraph({
    ...{ ids, textOf, nodes, rows, nLayers: model.spec.nLayers },
    defaults: { nodeThreshold, edgeThreshold },
  });
}

/** What all targets of a call share. */
interface Prompt {
  readonly model: HookedModel;
  readonly ids: readonly number[];
  readonly features: readonly ActiveFeature[];
  readonly remainders: readonly Remainder[];
  readonly transcoders: readonly Transcoder[];
  /** What each transcoder reads [pos, dIn], by the point. */
  readonly inputs: ReadonlyMap<string, Float32Array>;
  /** [pos, dModel] */
  readonly embeds: Float32Array;
}

/** Gradients of a pass at the embedding and at the MLPs' outputs, by point: [copy, pos, width]. */
type Gradients = ReadonlyMap<string, Float32Array>;

const EMBED = "hook_embed";

class Attribution {
  readonly #featureCount: number;
  readonly #sourceCount: number;
  /** Edges into features, by their number, and into logits. */
  readonly #featureRows = new Map<number, Float32Array>();
  #logitRows: Float32Array[] = [];

  constructor(
    /** The frozen model. */
    private readonly still: HookedModel,
    private readonly prompt: Prompt,
    private readonly options: s.Read<AttributionGraphOptions>,
  ) {
    const { features, ids, remainders } = prompt;
    this.#featureCount = features.length;
    this.#sourceCount = features.length + (remainders.length + 1) * ids.length;
  }

  async run(): Promise<{ nodes: AttributionNode[]; rows: Map<number, Float32Array> }> {
    const { embeds } = this.prompt;
    const constant = await this.#constants();
    const logits = await this.#logits(embeds, constant.logits);
    await this.#features(embeds, logits);
    return this.#assemble(logits, constant.inputs);
  }

  /** What each transcoder reads, and the last logits, where embeddings, features and errors are all 0: what biases make of them. */
  async #constants(): Promise<{ inputs: Map<string, Float32Array>; logits: Float32Array }> {
    const { ids, transcoders, remainders } = this.prompt;
    const edits: Edit[] = transcoders.map(({ module }, index) => ({
      ...{ at: givenPoint(module), op: "set", value: (remainders[index] as Remainder).bias },
    }));
    edits.push({ at: EMBED, op: "zero" });
    const capture = transcoders.map(({ module }) => module.hookIn);
    const { signal } = this.options;
    using result = await this.still.forward([[...ids]], { edits, capture, logits: "last", signal });
    const inputs = new Map<string, Float32Array>();
    for (const name of capture) inputs.set(name, await result.cache.read(name));
    return { inputs, logits: await result.logits.at(0, -1) };
  }

  /** The logit nodes without what is left out, and the edges into them. */
  async #logits(embeds: Float32Array, constant: Float32Array): Promise<Omit<LogitNode, "leftOut">[]> {
    const { ids, model } = this.prompt;
    const { maxLogits = 10, logitProbability = 0.95, signal } = this.options;
    using whole = await model.forward([[...ids]], { logits: "last", signal });
    const chosen = chooseTokens(await whole.logits.at(0, -1), maxLogits, logitProbability);
    const { vocabSize } = model.spec;
    const nodes: Omit<LogitNode, "leftOut">[] = [];
    const mean = constant.reduce((sum, value) => sum + value, 0) / vocabSize;
    const at = this.#sourcePoints(undefined);
    for (const { token, probability } of chosen) {
      const direction = new Float32Array(vocabSize).fill(-1 / vocabSize);
      direction[token] = 1 - 1 / vocabSize;
      using pass = await this.still.backward([[...ids]], { metric: metric.weighted(direction), at, signal });
      const gradients = new Map<string, Float32Array>();
      for (const name of at) gradients.set(name, await pass.grads.read(name));
      this.#logitRows.push(this.#edges(gradients, 0, embeds));
      const bias = (constant[token] as number) - mean;
      nodes.push({ kind: "logit", position: ids.length - 1, token, probability, logit: pass.value[0] as number, bias });
    }
    return nodes;
  }

  /** Goes through the features in the order of their influence, as far as it is known, or all of them. */
  async #features(embeds: Float32Array, logits: readonly { probability: number }[]): Promise<void> {
    const { features } = this.prompt;
    const total = Math.min(this.options.maxFeatures ?? features.length, features.length);
    const done = this.#featureRows;
    while (done.size < total) {
      const waiting = total === features.length ? [...features.keys()] : this.#ranked(logits);
      const queue = waiting.filter((index) => !done.has(index)).slice(0, Math.min(MOST_QUEUED, total - done.size));
      const byLayer = new Map<Transcoder, number[]>();
      for (const index of queue) {
        const { transcoder } = features[index] as ActiveFeature;
        byLayer.set(transcoder, [...(byLayer.get(transcoder) ?? []), index]);
      }
      for (const [transcoder, own] of byLayer) {
        const block = copiesPerPass(this.still, this.#pass(transcoder, []));
        for (let first = 0; first < own.length; first += block) {
          await this.#attribute(transcoder, own.slice(first, first + block), embeds);
          await reportProgress(this.options, done.size, total);
        }
      }
    }
  }

  /** Features by falling influence on the logits, through those whose edges are known. */
  #ranked(logits: readonly { probability: number }[]): number[] {
    const rows = new Map<number, Float32Array>(this.#featureRows);
    const weights = new Float64Array(this.#sourceCount + logits.length);
    logits.forEach(({ probability }, index) => {
      rows.set(this.#sourceCount + index, this.#logitRows[index] as Float32Array);
      weights[this.#sourceCount + index] = probability;
    });
    const influence = influenceOf(rows, weights);
    return [...this.prompt.features.keys()].sort(
      (a, b) => (influence[b] as number) - (influence[a] as number) || a - b,
    );
  }

  async #attribute(transcoder: Transcoder, some: readonly number[], embeds: Float32Array): Promise<void> {
    const pass = this.#pass(transcoder, some);
    const gradients = new Map<string, Float32Array>();
    using cache = await runCopies(
      this.still,
      some.map(() => []),
      pass,
    );
    for (const { name } of pass.points) gradients.set(name, await cache.read(name));
    some.forEach((index, copy) => {
      this.#featureRows.set(index, this.#edges(gradients, copy, embeds));
    });
  }

  /** A pass back from what a transcoder reads, along the encoder of each feature at its position. */
  #pass({ module }: Transcoder, some: readonly number[]): CopiesPass {
    const { ids, features } = this.prompt;
    const from = resolvePoint(this.still.spec, module.hookIn);
    const targets = some.map((index) => features[index] as ActiveFeature);
    const points = this.#sourcePoints(from.layer).map((name) => resolvePoint(this.still.spec, name));
    const { signal } = this.options;
    return { ids, points, positions: [...ids.keys()], signal, backward: { from, seed: alongEncoders(targets) } };
  }

  /** The embedding and the outputs of the MLPs before a block, or of all. */
  #sourcePoints(layer: number | undefined): string[] {
    const outputs = this.prompt.remainders.filter((each) => layer === undefined || each.layer < layer);
    return [EMBED, ...outputs.map(({ hook }) => hook)];
  }

  /** The edges from every source into the target of a copy: what it writes, times the gradient there. */
  #edges(gradients: Gradients, copy: number, embeds: Float32Array): Float32Array {
    const { features, remainders, ids } = this.prompt;
    const row = new Float32Array(this.#sourceCount);
    const length = ids.length;
    const along = (written: ArrayLike<number>, hook: string, position: number) => {
      const start = (copy * length + position) * written.length;
      const gradient = gradients.get(hook)?.subarray(start, start + written.length);
      return gradient ? dot(written, gradient) : 0; // none at what the target does not read
    };
    features.forEach(({ position, activation, decoders }, index) => {
      let sum = 0;
      for (const [hook, direction] of decoders) sum += along(direction, hook, position);
      row[index] = activation * sum;
    });
    let index = this.#featureCount;
    for (const { hook, error } of remainders) {
      const width = error.length / length;
      for (let position = 0; position < length; position++)
        row[index++] = along(error.subarray(position * width, (position + 1) * width), hook, position);
    }
    const width = embeds.length / length;
    for (let position = 0; position < length; position++)
      row[index++] = along(embeds.subarray(position * width, (position + 1) * width), EMBED, position);
    return row;
  }

  /** The nodes, and the edges between them, without the features whose edges were not asked for. */
  #assemble(
    logits: readonly Omit<LogitNode, "leftOut">[],
    constant: ReadonlyMap<string, Float32Array>,
  ): { nodes: AttributionNode[]; rows: Map<number, Float32Array> } {
    const { features, remainders, ids } = this.prompt;
    const count = this.#featureCount;
    const kept = [...this.#featureRows.keys()].sort((a, b) => a - b);
    const columns = [...kept, ...Array.from({ length: this.#sourceCount - count }, (_, index) => count + index)];
    const size = columns.length + logits.length;
    const leftOut = (row: Float32Array) =>
      row.subarray(0, count).reduce((sum, weight, index) => (this.#featureRows.has(index) ? sum : sum + weight), 0);
    const short = (row: Float32Array) => {
      const picked = new Float32Array(size);
      picked.set(columns.map((column) => row[column] as number));
      return picked;
    };
    const nodes: AttributionNode[] = kept.map((index) => {
      const each = features[index] as ActiveFeature;
      const { transcoder, position, feature, activation, encoder } = each;
      const { hookIn, dIn } = transcoder.module;
      const at = (x: Float32Array) => dot(encoder, x.subarray(position * dIn, (position + 1) * dIn));
      const bias = activation - at(this.#inputOf(hookIn)) + at(constant.get(hookIn) as Float32Array);
      const row = this.#featureRows.get(index) as Float32Array;
      const { layer } = transcoder;
      return { kind: "feature", layer, position, feature, activation, bias, leftOut: leftOut(row) };
    });
    for (const { layer } of remainders)
      nodes.push(...ids.map((_, position): AttributionNode => ({ kind: "error", layer, position })));
    nodes.push(...ids.map((token, position): AttributionNode => ({ kind: "token", position, token })));
    nodes.push(...logits.map((node, index) => ({ ...node, leftOut: leftOut(this.#logitRows[index] as Float32Array) })));
    const rows = new Map(kept.map((index, node) => [node, short(this.#featureRows.get(index) as Float32Array)]));
    this.#logitRows.forEach((row, index) => {
      rows.set(columns.length + index, short(row));
    });
    return { nodes, rows };
  }

  #inputOf(hook: string): Float32Array {
    return this.prompt.inputs.get(hook) as Float32Array;
  }
}

/** Features whose edges are asked for before all are ranked again. */
const MOST_QUEUED = 256;

/** Records each copy's encoder at its feature's position, and 0 everywhere else. */
function alongEncoders(targets: readonly ActiveFeature[]) {
  return (recorder: Recorder, _x: View, rows: RowTable, out: View): void => {
    const width = out.width * out.heads;
    const vectors = new Float32Array((targets.length + 1) * width); // the last stays zero
    targets.forEach(({ encoder }, copy) => {
      vectors.set(encoder, copy * width);
    });
    const pairs = Uint32Array.from({ length: 2 * rows.count }, (_, index) => {
      const row = index >> 1;
      if (index % 2 === 1) return row;
      const copy = rows.sequence(row);
      return rows.position(row) === targets[copy]?.position ? copy : targets.length;
    });
    const source = packedView(recorder.upload(vectors), out.width, out.heads);
    gather(recorder, source, out, recorder.upload(pairs));
  };
}

/** The likeliest tokens, until they have a probability together or are as many as there may be. */
function chooseTokens(logits: Float32Array, most: number, enough: number): { token: number; probability: number }[] {
  const logProbs = logSoftmax(logits);
  const chosen: { token: number; probability: number }[] = [];
  let sum = 0;
  for (const token of likeliest(logProbs, most)) {
    const probability = Math.exp(logProbs[token] as number);
    chosen.push({ token, probability });
    sum += probability;
    if (sum >= enough) break;
  }
  return chosen;
}
