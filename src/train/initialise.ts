/**
 * Weights to train from scratch, for any family: the config says which tensors there are, and an initialisation how wide
 * their numbers spread. Same config, initialisation and seed give the same bits: each tensor has a stream of its own, by its name.
 *
 * Matrices are normal with mean 0, norms multiply by 1, biases are 0. The two matrices of a block that write to the residual
 * are made smaller by sqrt(2 * layers), the number of writes, so that its variance does not grow with depth (GPT-2).
 */
import { FilesSource, type TensorEntry, writeSafetensors } from "../checkpoint/index.ts";
import { fnv1a } from "../fnv1a.ts";
import { ConfigReader } from "../model/config.ts";
import { specFromConfig } from "../model/families/index.ts";
import { RandomStream } from "../model/random.ts";
import type { ModelSpec, WeightName } from "../model/spec.ts";
import { type NeededTensor, neededTensors } from "../model/weights/needed.ts";
import { WEIGHTS } from "../model/weights/table.ts";
import * as s from "../schema/schema.ts";
import { normal } from "./normal.ts";

/** How an initialisation spreads a matrix. */
interface Spread {
  /** The deviation of a matrix with so many inputs (of an embedding: its width). */
  readonly deviation: (inputs: number, initializerRange: number) => number;
  /** Whether matrices that write to the residual are made smaller. */
  readonly byDepth: boolean;
}

const INITS = {
  "fan-in": { deviation: (inputs) => 1 / Math.sqrt(inputs), byDepth: true },
  gpt2: { deviation: (_, range) => range, byDepth: true },
  llama: { deviation: (_, range) => range, byDepth: false },
} satisfies Record<string, Spread>;

/** `fan-in`: what goes through a matrix keeps its size; `gpt2` and `llama`: the config's `initializer_range`, or 0.02. */
export type Init = keyof typeof INITS;

/** The initialisations there are. */
export const INIT_NAMES = Object.keys(INITS) as Init[];

/** Options of `initialWeights`. */
export interface InitialWeightsOptions {
  /** How wide matrices spread. Default `fan-in`. */
  init?: Init;
  /** Default 0. */
  seed?: number;
}

export const INITIAL_WEIGHTS_OPTIONS = s.object<InitialWeightsOptions>("the options of initialWeights", {
  init: s.oneOf(...INIT_NAMES),
  seed: s.whole,
});

const CONFIG = s.simple<object>("an object, as config.json has it, or a ModelSpec", s.isRecord);

/**
 * A model folder in memory with weights to begin training from: `await loadModel(initialWeights(config))`.
 * @param config the contents of a `config.json`, or a `ModelSpec`, which becomes a config of model_type "custom".
 * @throws ConfigError as `loadModel` for a config that it refuses
 */
export function initialWeights(config: object | ModelSpec, options: InitialWeightsOptions = {}): FilesSource {
  return FilesSource.of(initialFiles(config, options), "initial weights");
}

/** The same folder as bytes by file name. */
export function initialFiles(given: object, options: InitialWeightsOptions = {}): Map<string, Uint8Array> {
  const own = s.readArgument(CONFIG, given, "initialWeights", "config");
  const { init = "fan-in", seed = 0 } = s.readOptions(INITIAL_WEIGHTS_OPTIONS, options, "initialWeights");
  const config: Record<string, unknown> = "model_type" in own ? own : { model_type: "custom", spec: own };
  const spec = specFromConfig(config, "config");
  const reader = ConfigReader.from(config, "config");
  // A checkpoint for pictures and text may have it for its text model alone.
  const holder = reader.has("initializer_range") ? reader : (reader.child("text_config") ?? reader);
  const range = holder.number("initializer_range", 0.02);
  const entries = [...neededTensors(spec)].map(([name, tensor]): TensorEntry => {
    const data = valuesOf(spec, tensor, INITS[init], range, RandomStream.fromSeed(seed, fnv1a(name)));
    return { name, dtype: "F32", shape: tensor.shape, data };
  });
  return new Map([
    ["config.json", new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`)],
    ["model.safetensors", writeSafetensors(entries, { format: "pt" })],
  ]);
}

const WRITES_RESIDUAL: ReadonlySet<WeightName> = new Set<WeightName>([
  "attn.W_O",
  "mlp.W_out",
  "mlp.experts.W_out",
  "mlp.shared.W_out",
  "perLayer.W_out",
]);

function valuesOf(
  spec: ModelSpec,
  { weight, shape, inputs }: NeededTensor,
  { deviation, byDepth }: Spread,
  initializerRange: number,
  random: RandomStream,
): Float32Array {
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
  const { form, initial } = WEIGHTS[weight];
  if (form === "vector") return values.fill(initial ?? (weight.endsWith(".w") ? unitOf(spec, weight) : 0));
  const scale = byDepth && WRITES_RESIDUAL.has(weight) ? 1 / Math.sqrt(2 * spec.nLayers) : 1;
  const spread = scale * deviation(inputs as number, initializerRange);
  return values.map(() => spread * normal(random));
}

/** What a norm's weight holds to multiply by 1. */
function unitOf({ norm, attention }: ModelSpec, weight: WeightName): number {
  const ofHeads = /LatentNorm/.test(weight) ? attention.latent?.norm : attention.qkNormSpec;
  const { weightOffset } = (weight.startsWith("attn.") ? ofHeads : undefined) ?? norm;
  return 1 - weightOffset;
}
