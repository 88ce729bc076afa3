/**
 * Models to train from scratch, as data: shape, tasks, and how they are trained. The small ones learn in a minute or two on a
 * CPU; their numbers are those at which runs with PyTorch reached 0.98 on held-out queries. The `paper-` ones have the sizes,
 * lines and rates of the authors' public code (https://github.com/JackCai1206/icl-pretraining), and are for a GPU.
 */
import { FilesSource } from "../checkpoint/index.ts";
import * as s from "../schema/schema.ts";
import type { AdamWOptions } from "../train/adamw.ts";
import { type Init, initialFiles } from "../train/initialise.ts";
import type { Schedule } from "../train/schedule.ts";
import { type BatchOptions, type TaskBatch, trainingBatches } from "./batches.ts";
import { PaperError } from "./errors.ts";
import { type FamilySet, taskFamily } from "./tasks/index.ts";
import { type TokenForm, Vocabulary } from "./tasks/vocabulary.ts";

/** How a preset trains: what `train` takes beside model and data. */
export interface PresetTraining {
  readonly steps: number;
  readonly schedule: Schedule;
  readonly optimizer: AdamWOptions;
}

/** A model that is to be trained. */
export interface Preset {
  readonly name: string;
  /** The contents of its `config.json`. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly data: Readonly<Omit<BatchOptions, "seed">>;
  readonly training: PresetTraining;
  readonly init: Init;
  /** Of its weights and its batches, where none is given. */
  readonly seed: number;
}

/** What presets differ in. */
interface Row {
  readonly set: FamilySet;
  readonly families: readonly string[];
  readonly form: TokenForm;
  /** Residual width, MLP width, layers and heads. */
  readonly size: { readonly dModel: number; readonly dMlp: number; readonly layers: number; readonly heads: number };
  readonly ropeTheta?: number;
  readonly batch: number;
  /** Predictions a sequence. */
  readonly length: number;
  readonly impurity?: number;
  readonly steps: number;
  readonly lr: number;
  readonly warmup: number;
  /** The last part of the steps, in which the rate falls. */
  readonly decay: number;
  readonly init: Init;
}

const SMALL = {
  set: "small",
  form: "words",
  size: { dModel: 64, dMlp: 128, layers: 2, heads: 4 },
  batch: 32,
  lr: 3e-3,
  warmup: 50,
  decay: 0.3,
  init: "fan-in",
} satisfies Partial<Row>;

/** Answers that are spelled, a character a token. */
const CHARS = {
  ...SMALL,
  families: ["number-words"],
  form: "characters",
  batch: 16,
  length: 256,
  steps: 600,
} satisfies Row;

/** A hundred examples and a query a sequence; the rate falls over the last tenth. */
const PAPER = {
  set: "from-scratch",
  form: "characters",
  size: { dModel: 384, dMlp: 1536, layers: 6, heads: 6 },
  batch: 64,
  steps: 5000,
  lr: 5e-4,
  warmup: 500,
  decay: 0.1,
  init: "llama",
} satisfies Partial<Row>;

const ROWS = {
  lc: { ...SMALL, families: ["number-words", "countries"], length: 64, steps: 400 },
  "lc-mix10": { ...SMALL, families: ["number-words", "countries"], length: 64, steps: 400, impurity: 0.1 },
  mini: { ...SMALL, families: ["number-words", "countries", "arithmetic", "words"], length: 96, steps: 1200 },
  "number-chars": CHARS,
  "number-chars-mix10": { ...CHARS, impurity: 0.1 },
  plus: { ...SMALL, families: ["plus"], length: 64, steps: 900 },
  ret3: { ...SMALL, families: ["retrieval"], length: 80, steps: 1400, lr: 4e-3, ropeTheta: 30 },
  "paper-retrieval": { ...PAPER, families: ["retrieval"], length: 101 * "abcdefgh>a\n".length },
  "paper-plus": { ...PAPER, families: ["plus"], length: 101 * "3>5\n".length },
  "paper-bias-add": { ...PAPER, families: ["bias-add"], length: 101 * "21+43>94\n".length },
} satisfies Record<string, Row>;

export type TrainingPresetName = keyof typeof ROWS;

export const TRAINING_PRESET_NAMES = Object.keys(ROWS) as TrainingPresetName[];

/** A preset by name. @throws PaperError `paper/preset` */
export function trainingPreset(name: string): Preset {
  const row: Row | undefined = Object.hasOwn(ROWS, name) ? ROWS[name as TrainingPresetName] : undefined;
  if (row === undefined)
    throw new PaperError(
      "paper/preset",
      `No preset "${String(name)}"; presets are ${TRAINING_PRESET_NAMES.join(", ")}.`,
    );
  const families = row.families.map((family) => taskFamily(family, row.set));
  const vocabulary = Vocabulary.of(families, row.form);
  const { batch, length, impurity = 0, steps, lr, warmup, decay, init } = row;
  return {
    name,
    config: configOf(row, vocabulary),
    data: { families, vocabulary, batch, length, impurity },
    training: {
      steps,
      schedule: { lr, warmup, decay },
      optimizer: { betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0.01, clip: 1 },
    },
    init,
    seed: 0,
  };
}

function configOf({ size, ropeTheta = 10_000, length }: Row, vocabulary: Vocabulary): Record<string, unknown> {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: vocabulary.tokens.length,
    hidden_size: size.dModel,
    intermediate_size: size.dMlp,
    num_hidden_layers: size.layers,
    num_attention_heads: size.heads,
    num_key_value_heads: size.heads,
    hidden_act: "silu",
    rms_norm_eps: 1e-5,
    rope_theta: ropeTheta,
    max_position_embeddings: Math.max(512, 2 ** Math.ceil(Math.log2(length))),
    tie_word_embeddings: false,
    torch_dtype: "float32",
    bos_token_id: vocabulary.bos,
    eos_token_id: vocabulary.bos,
  };
}

const PRESET = s.madeObject<Preset>("a preset, of trainingPreset()", "config", "data", "training", "init");

/** A preset's weights before training, with its config and vocabulary: what `loadModel` takes. */
export function presetModel(preset: Preset, seed = preset.seed): FilesSource {
  const { name, config, init, data } = s.readArgument(PRESET, preset, "presetModel", "preset");
  const files = initialFiles(config, { init, seed: s.readArgument(s.whole, seed, "presetModel", "seed") });
  files.set("vocab.json", new TextEncoder().encode(JSON.stringify(data.vocabulary.toJson(), null, 1)));
  return FilesSource.of(files, `preset ${name}, seed ${seed}`);
}

/** A preset's batches, from any one on: what `train` takes as data. */
export function presetBatches(preset: Preset, seed = preset.seed): (first?: number) => Generator<TaskBatch> {
  const { data } = s.readArgument(PRESET, preset, "presetBatches", "preset");
  return trainingBatches({ ...data, seed });
}
