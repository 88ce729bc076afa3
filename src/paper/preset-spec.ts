/**
 * What is trained from scratch, as JSON: shape, tasks and recipe. The ones with a name are presets. The small ones learn in a
 * minute or two on a quiet CPU; their numbers are those at which runs with PyTorch reached 0.98 on held-out queries. The
 * `paper-` ones have the sizes, lines and rates of the authors' public code (https://github.com/JackCai1206/icl-pretraining),
 * and are for a GPU.
 */
import * as s from "../schema/schema.ts";
import { INIT_NAMES, type Init } from "../train/initialise.ts";
import { FAMILY_SETS, type FamilySet } from "./tasks/index.ts";
import { TOKEN_FORMS, type TokenForm } from "./tasks/vocabulary.ts";

/** A model to train: a Llama, the tasks it learns, and how. */
export interface PresetSpec {
  /** For labels. */
  name: string;
  /** Families of tasks, each as likely in a sequence. */
  families: readonly string[];
  /** Which set the families are of. Default `small`. */
  set?: FamilySet;
  /** What a token is. Default `words`. */
  form?: TokenForm;
  /** The model's shape. */
  size: PresetSize;
  /** Of rotary positions. Default 10000. */
  ropeTheta?: number;
  /** Sequences a batch. */
  batch: number;
  /** Predictions a sequence, from the line break that begins it on. */
  length: number;
  /** The part of examples whose task is drawn anew from the family. Default 0. */
  impurity?: number;
  /** How often the weights move. */
  steps: number;
  /** Learning rate between warm-up and decay. */
  lr: number;
  /** Steps over which the rate rises. Default 0. */
  warmup?: number;
  /** The last part of the steps, in which the rate falls. Default 0. */
  decay?: number;
  /** How weights begin. Default `fan-in`. */
  init?: Init;
  /** Of weights and batches. Default 0. */
  seed?: number;
}

/** A model's widths and numbers. */
export interface PresetSize {
  /** Of the residual. */
  dModel: number;
  /** Of the MLP's neurons. */
  dMlp: number;
  /** Blocks. */
  layers: number;
  /** Of attention in each block; they divide the residual's width. */
  heads: number;
}

const size = s.required(s.wholeFrom(1));

export const PRESET_SIZE = s.object<PresetSize>("size", { dModel: size, dMlp: size, layers: size, heads: size });

export const PRESET_SPEC = s.object<PresetSpec>("a preset", {
  name: s.required(s.text),
  families: s.required(s.list("names of families", s.text)),
  set: s.oneOf(...FAMILY_SETS),
  form: s.oneOf(...TOKEN_FORMS),
  size: s.required(PRESET_SIZE),
  ropeTheta: s.positive,
  batch: s.required(s.wholeFrom(1)),
  length: s.required(s.wholeFrom(1)),
  impurity: s.part,
  steps: s.required(s.wholeFrom(1)),
  lr: s.required(s.positive),
  warmup: s.wholeFrom(0),
  decay: s.part,
  init: s.oneOf(...INIT_NAMES),
  seed: s.whole,
});

const SMALL = {
  size: { dModel: 64, dMlp: 128, layers: 2, heads: 4 },
  batch: 32,
  lr: 3e-3,
  warmup: 50,
  decay: 0.3,
} satisfies Partial<PresetSpec>;

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
} satisfies Partial<PresetSpec>;

/** Number words and countries, in a narrower or wider model. */
const LC = { ...SMALL, families: ["number-words", "countries"], length: 64, steps: 400 } satisfies Partial<PresetSpec>;

/** Answers that are spelled, a character a token. */
const CHARS = {
  ...SMALL,
  families: ["number-words"],
  form: "characters",
  batch: 16,
  length: 256,
  steps: 600,
} satisfies Partial<PresetSpec>;

const SPECS = {
  lc: LC,
  "lc-d16": { ...LC, size: { dModel: 16, dMlp: 32, layers: 2, heads: 2 }, lr: 6e-3 },
  "lc-d32": { ...LC, size: { dModel: 32, dMlp: 64, layers: 2, heads: 4 }, lr: 4e-3 },
  "lc-d128": { ...LC, size: { dModel: 128, dMlp: 256, layers: 2, heads: 4 }, lr: 2e-3 },
  "lc-mix2": { ...LC, impurity: 0.02 },
  "lc-mix5": { ...LC, impurity: 0.05 },
  "lc-mix10": { ...LC, impurity: 0.1 },
  "lc-mix20": { ...LC, impurity: 0.2 },
  mini: { ...SMALL, families: ["number-words", "countries", "arithmetic", "words"], length: 96, steps: 1200 },
  "number-chars": CHARS,
  "number-chars-mix10": { ...CHARS, impurity: 0.1 },
  plus: { ...SMALL, families: ["plus"], length: 64, steps: 900 },
  ret3: { ...SMALL, families: ["retrieval"], length: 80, steps: 1400, lr: 4e-3, ropeTheta: 30 },
  "paper-retrieval": { ...PAPER, families: ["retrieval"], length: 101 * "abcdefgh>a\n".length },
  "paper-plus": { ...PAPER, families: ["plus"], length: 101 * "3>5\n".length },
  "paper-bias-add": { ...PAPER, families: ["bias-add"], length: 101 * "21+43>94\n".length },
} satisfies Record<string, Omit<PresetSpec, "name">>;

/** The name of a training preset that the package brings. */
export type TrainingPresetName = keyof typeof SPECS;

/** The training presets that the package brings. */
export const TRAINING_PRESET_NAMES = Object.keys(SPECS) as TrainingPresetName[];

/** A preset by name; undefined where there is none. */
export function specOf(name: string): PresetSpec | undefined {
  return Object.hasOwn(SPECS, name) ? { name, ...SPECS[name as TrainingPresetName] } : undefined;
}
