/**
 * A model made of another one's weights, folded and centred (`weights/process.ts`). It is a model like any other: an own spec,
 * own weights in float32, every point, edit and gradient. The numbers are computed as the weights are loaded, one weight at a time.
 */
import type { Checkpoint, CheckpointProgress, TensorInfo } from "../checkpoint/index.ts";
import { CheckpointError, InputError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import type { ModelParts } from "./load.ts";
import type { LoadedModel } from "./loaded-model.ts";
import type { ModelSpec, TensorSource } from "./spec.ts";
import { loadWeights } from "./weights/load.ts";
import { ProcessedWeights, type Processing } from "./weights/process.ts";
import { isPerBlock, WEIGHT_NAMES, WEIGHTS, type WeightName, weightShape } from "./weights/table.ts";

/**
 * What `model.processed` does to the weights: TransformerLens's names. An option that is left out is on where the architecture
 * allows it; `true` is refused where it does not.
 */
export interface ProcessOptions {
  /** Norms before a matrix go into it (`fold_ln`). Their own weights become 1 and their biases 0. */
  foldNorm?: boolean;
  /** What is written to the residual stream has mean 0 (`center_writing_weights`). Needs LayerNorm before every reader. */
  centerWriting?: boolean;
  /** The logits of each position have mean 0 (`center_unembed`). Needs logits without a soft cap. */
  centerUnembed?: boolean;
  /** Value biases go into the bias of attention's output (`fold_value_biases`). */
  foldValueBiases?: boolean;
  /** Called as weights go to the GPU, with the bytes so far. */
  onProgress?: (progress: CheckpointProgress) => void;
  /** Ends the work with `signal.reason`. Its GPU memory is freed. */
  signal?: AbortSignal;
}

export const PROCESS_OPTIONS = s.object<ProcessOptions>("the options of processed", {
  foldNorm: s.flag,
  centerWriting: s.flag,
  centerUnembed: s.flag,
  foldValueBiases: s.flag,
  onProgress: s.callback,
  signal: s.signal,
});

const readsUnnormed = (layers: ModelSpec["layers"]) =>
  layers.some(({ attentionNorm }) => attentionNorm === false)
    ? "a block of it reads the residual without a norm"
    : undefined;

/** Why an architecture does not allow a step; undefined where it does. */
const OBSTACLES: Record<keyof Processing, (spec: ModelSpec) => string | undefined> = {
  foldNorm({ norm, block, embed, unembed, layers }) {
    if (norm.kind === "none") return "it has no norms";
    if (norm.affine === false) return "its norms have no weights";
    if (block.norms === "added" || block.normedResidual) return "what its norms give is added to the residual";
    if (embed.width !== undefined || unembed.norm === false || unembed.transform !== undefined)
      return "its final norm does not stand before the unembedding";
    return readsUnnormed(layers);
  },
  centerWriting({ norm, block, embed, unembed, layers }) {
    if (norm.kind !== "layer") return "its norms do not subtract the mean, so that the mean of the residual matters";
    if (block.normedResidual) return "its blocks add to what their norms give";
    if (embed.width !== undefined || unembed.norm === false) return "the mean of its last residual matters";
    if (block.norms !== "pre") return "its blocks norm what attention and MLP write, and that has a mean of its own";
    return readsUnnormed(layers);
  },
  centerUnembed: ({ unembed, embed }) =>
    embed.width !== undefined
      ? "its unembedding is not as wide as its residual"
      : unembed.softCap === null
        ? undefined
        : "its logits go through a soft cap, where a constant changes their differences",
  foldValueBiases({ attention, layers }) {
    if (attention.vNorm) return "its values are normed";
    if (layers.some(({ keysFrom, valuesFromKeys }) => keysFrom !== undefined || valuesFromKeys))
      return "its blocks share keys and values";
    if (attention.sinks) return "its patterns do not add up to 1";
    if (attention.latent) return "its values come from a latent vector";
    return attention.clamp === undefined ? undefined : "it keeps values within a limit, biases included";
  },
};

/** @throws InputError `input/processing` for a step that was asked for and is not allowed */
function stepsFor(spec: ModelSpec, options: ProcessOptions): Processing {
  if (spec.embed.perLayer)
    throw new InputError(
      "input/processing",
      `processed: embeddings for each block are not processed, and this ${spec.family} model has some. Use the model as it is loaded.`,
    );
  if (spec.mlp.experts)
    throw new InputError(
      "input/processing",
      `processed: the weights of experts are not processed, and this ${spec.family} model has ${spec.mlp.experts.count} of them in a block. Use the model as it is loaded.`,
    );
  const names = Object.keys(OBSTACLES) as (keyof Processing)[];
  const steps = names.map((name) => {
    const obstacle = OBSTACLES[name](spec);
    if (options[name] && obstacle)
      throw new InputError(
        "input/processing",
        `processed: ${name} would change what this ${spec.family} model computes: ${obstacle}. Leave ${name} out.`,
      );
    return [name, options[name] ?? obstacle === undefined] as const;
  });
  return Object.fromEntries(steps) as unknown as Processing;
}

/** What the processed model is made of. It is on the device of the first, which it does not end. */
export async function processedParts(model: LoadedModel, given: ProcessOptions): Promise<ModelParts> {
  const options = s.readOptions(PROCESS_OPTIONS, given, "processed");
  const weights = new ProcessedWeights(model.engine, stepsFor(model.spec, options));
  const spec = processedSpec(model.spec, weights);
  const { gpu, tokenizer, tokenizerError } = model;
  const label = `${model.label}, processed`;
  const checkpoint = new ProcessedCheckpoint(label, spec, weights, options);
  const loaded = await loadWeights(gpu, spec, checkpoint, options);
  const config = { model_type: "custom", spec };
  return { gpu, spec, weights: loaded, tokenizer, tokenizerError, label, config, ownsGpu: false };
}

/** The tensor of a weight, by the name that a `ModelSpec` has for it. */
const tensorName = (name: WeightName, layer: number | "{i}") => (isPerBlock(name) ? `blocks.${layer}.${name}` : name);

/** The same architecture with a head of its own, reading tensors by the names of the spec's weights. */
function processedSpec(spec: ModelSpec, weights: ProcessedWeights): ModelSpec {
  const here = WEIGHT_NAMES.filter((name) => spec.layers.some((_, layer) => weights.has(name, layer)));
  const sources = here.map((name): [WeightName, TensorSource] => {
    const optional = WEIGHTS[name].isOptional && isPerBlock(name);
    return [name, { tensor: tensorName(name, "{i}"), ...(optional && { optional }) }];
  });
  const { positions } = spec;
  return {
    ...spec,
    positions: positions.kind === "learned" ? { kind: "learned", offset: 0 } : positions,
    unembed: { ...spec.unembed, tied: false },
    weights: Object.fromEntries(sources),
  };
}

/** The processed weights as a checkpoint: a tensor is computed when it is read, and the last one is kept. */
class ProcessedCheckpoint implements Checkpoint {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata = {};
  readonly absent = new Map<string, string>();
  readonly byteLength: number;
  readonly #places = new Map<string, [name: WeightName, layer: number]>();
  #last: { name: string; bytes: Promise<Uint8Array> } | undefined;
  #loaded = 0;

  constructor(
    readonly label: string,
    spec: ModelSpec,
    private readonly weights: ProcessedWeights,
    private readonly options: ProcessOptions,
  ) {
    const tensors = new Map<string, TensorInfo>();
    let byteStart = 0;
    for (const name of Object.keys(spec.weights) as WeightName[]) {
      const layers = isPerBlock(name) ? spec.nLayers : 1;
      for (let layer = 0; layer < layers; layer++) {
        if (!weights.has(name, layer)) continue;
        const shape = weightShape(spec, name, layer);
        const byteLength = 4 * shape.reduce((product, size) => product * size, 1);
        const [tensor, byteEnd] = [tensorName(name, layer), byteStart + byteLength];
        tensors.set(tensor, { name: tensor, dtype: "F32", shape, file: label, byteStart, byteEnd, byteLength });
        this.#places.set(tensor, [name, layer]);
        byteStart = byteEnd;
      }
    }
    this.tensors = tensors;
    this.byteLength = byteStart;
  }

  async readJson(): Promise<undefined> {
    return undefined;
  }

  async readText(): Promise<undefined> {
    return undefined;
  }

  async read(name: string, byteStart = 0, byteEnd?: number): Promise<Uint8Array> {
    if (this.#last?.name !== name) {
      this.#last = undefined; // before the next one is computed: two would be in memory
      this.#last = { name, bytes: this.#compute(name) };
    }
    return (await this.#last.bytes).subarray(byteStart, byteEnd);
  }

  async close(): Promise<void> {
    this.#last = undefined;
  }

  async #compute(tensor: string): Promise<Uint8Array> {
    const place = this.#places.get(tensor);
    if (place === undefined)
      throw new CheckpointError("checkpoint/missing-tensor", `${this.label} has no tensor ${tensor}.`);
    this.options.signal?.throwIfAborted();
    const values = await this.weights.values(...place);
    this.#loaded += values.byteLength;
    await this.options.onProgress?.({ loaded: this.#loaded, total: this.byteLength, tensor });
    return new Uint8Array(values.buffer);
  }
}
