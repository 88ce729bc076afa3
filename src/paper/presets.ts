/** From a preset's spec to what trains it: a model that is loaded from memory, batches, and the recipe. */
import { FilesSource } from "../checkpoint/index.ts";
import * as s from "../schema/schema.ts";
import type { AdamWOptions } from "../train/adamw.ts";
import { initialFiles } from "../train/initialise.ts";
import type { Schedule } from "../train/schedule.ts";
import { type BatchOptions, type TaskBatch, trainingBatches } from "./batches.ts";
import { PaperError } from "./errors.ts";
import { PRESET_SPEC, type PresetSpec, specOf, TRAINING_PRESET_NAMES } from "./preset-spec.ts";
import { taskFamily } from "./tasks/index.ts";
import { Vocabulary } from "./tasks/vocabulary.ts";

/** How a preset trains: what `train` takes beside model and data. */
export interface PresetTraining {
  readonly steps: number;
  readonly schedule: Schedule;
  readonly optimizer: AdamWOptions;
}

/** A model that is to be trained. */
export interface Preset {
  readonly name: string;
  /** What it was made of; JSON. */
  readonly spec: PresetSpec;
  /** The contents of its `config.json`. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly data: Readonly<Omit<BatchOptions, "seed">>;
  readonly training: PresetTraining;
  /** Of its weights and its batches, where none is given. */
  readonly seed: number;
}

const NAME_OR_SPEC = s.byForm<string | PresetSpec>("the name of a preset, or a spec", (value) =>
  typeof value === "string" ? s.text : PRESET_SPEC,
);

/**
 * A preset by name, or one of your own.
 * @throws PaperError `paper/preset` for an unknown name, `paper/task` for an unknown family; InputError `input/unknown-key`
 */
export function trainingPreset(preset: string | PresetSpec): Preset {
  const given = s.readArgument(NAME_OR_SPEC, preset, "trainingPreset", "preset");
  const spec = typeof given === "string" ? specOf(given) : given;
  if (spec === undefined)
    throw new PaperError("paper/preset", `No preset "${given}"; presets are ${TRAINING_PRESET_NAMES.join(", ")}.`);
  const { name, batch, length, impurity = 0, steps, lr, warmup = 0, decay = 0, seed = 0 } = spec;
  const families = spec.families.map((family) => taskFamily(family, spec.set));
  const vocabulary = Vocabulary.of(families, spec.form);
  return {
    name,
    spec,
    config: configOf(spec, vocabulary),
    data: { families, vocabulary, batch, length, impurity },
    training: {
      steps,
      schedule: { lr, warmup, decay },
      optimizer: { betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0.01, clip: 1 },
    },
    seed,
  };
}

function configOf({ size, ropeTheta = 10_000, length }: PresetSpec, vocabulary: Vocabulary): Record<string, unknown> {
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

export const PRESET = s.madeObject<Preset>("a preset, of trainingPreset()", "spec", "config", "data", "training");

/** A preset's weights before training, with its config and vocabulary: what `loadModel` takes. */
export function presetModel(preset: Preset, seed = preset.seed): FilesSource {
  const { name, config, spec, data } = s.readArgument(PRESET, preset, "presetModel", "preset");
  const { init } = spec;
  const own = s.readArgument(s.whole, seed, "presetModel", "seed");
  const files = initialFiles(config, { ...(init && { init }), seed: own });
  files.set("vocab.json", new TextEncoder().encode(JSON.stringify(data.vocabulary.toJson(), null, 1)));
  return FilesSource.of(files, `preset ${name}, seed ${seed}`);
}

/** A preset's batches, from any one on: what `train` takes as data. */
export function presetBatches(preset: Preset, seed = preset.seed): (first?: number) => Generator<TaskBatch> {
  const { data } = s.readArgument(PRESET, preset, "presetBatches", "preset");
  return trainingBatches({ ...data, seed });
}
