/** Calls of `superlens/paper`. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ANSWER_OPTIONS } from "../../src/paper/answers.ts";
import { BATCH_OPTIONS } from "../../src/paper/batches.ts";
import { DEFAULT_MODELS_OPTIONS } from "../../src/paper/embedded.ts";
import { LINE_OPTIONS } from "../../src/paper/lines.ts";
import { MEASURE_OPTIONS } from "../../src/paper/measure.ts";
import { PRESET_SPEC } from "../../src/paper/preset-spec.ts";
import { PROMPT_OPTIONS } from "../../src/paper/prompts.ts";
import { RUN_REPORT_OPTIONS } from "../../src/paper/run-all.ts";
import { RUN_FIGURE_OPTIONS } from "../../src/paper/runs.ts";
import { TRAIN_PRESET_OPTIONS } from "../../src/paper/train-preset.ts";
import type { Call } from "./calls.ts";
import { type Gpu, type HookedModel, loadModel, MemoryStore, paper } from "./public.ts";

/** A figure of one cell that runs no model. */
const ONE: paper.Figure = {
  name: "one",
  asks: "What is one?",
  paper: "One.",
  settings: async () => ({}),
  cells: () => [{ id: "one" }],
  run: async () => 1,
  summarise: () => ({ table: { columns: ["one"], rows: [[1]] }, plots: [], sentence: "One.", verdict: "agrees" }),
};

/** A store for what a call takes as one: text is the name of a folder for what is thrown away. */
const discarded = (store: unknown) => (typeof store === "string" ? join(tmpdir(), "superlens-calls", store) : store);

/** A step of one example. */
const STEP: paper.PresetSpec = {
  name: "step",
  families: ["countries"],
  size: { dModel: 8, dMlp: 8, layers: 1, heads: 1 },
  batch: 1,
  length: 2,
  steps: 1,
  lr: 1e-3,
};

/** The calls, on a preset's model as it is before training. */
export async function paperCalls(gpu: Gpu): Promise<Call[]> {
  const preset = paper.trainingPreset("lc");
  const model = await loadModel(paper.presetModel(preset), { gpu, dtype: "float32" });
  const { vocabulary, families } = preset.data;
  const [family] = families as [paper.TaskFamily];
  const prompts = paper.evaluationPrompts(family, { counts: [2, 1], count: 1 });
  const [prompt] = prompts as [paper.Prompt];
  const step = paper.trainingPreset(STEP);
  const trained = await loadModel(paper.presetModel(step), { gpu, dtype: "float32" });
  const measured = await paper.measurePrompts(model, vocabulary, prompts);
  return [
    ...ofTasks(preset, prompt),
    ofTraining(step, trained),
    ...ofModels(model, prompts),
    ...ofRuns(model, prompts, measured),
  ].map((call) => ({
    ...call,
    covers: [`paper.${call.name.split(".")[0]}`],
  }));
}

function ofTasks(preset: paper.Preset, prompt: paper.Prompt): Call[] {
  const { vocabulary, families } = preset.data;
  const { family, query } = prompt;
  return [
    { name: "familyNames", args: ["small"], run: paper.familyNames },
    { name: "taskFamily", args: ["plus", "small"], run: paper.taskFamily },
    { name: "trainingPreset", args: ["lc"], run: paper.trainingPreset },
    { name: "trainingPreset, a spec", args: [STEP], run: paper.trainingPreset, options: PRESET_SPEC },
    { name: "presetModel", args: [preset, 0], run: paper.presetModel },
    { name: "presetBatches", args: [preset, 0], run: paper.presetBatches },
    { name: "presetBatches, from a batch on", args: [0], run: (first) => paper.presetBatches(preset)(first).next() },
    {
      name: "trainingBatches",
      args: [{ families, vocabulary, batch: 1, length: 8 }],
      run: paper.trainingBatches,
      options: BATCH_OPTIONS,
    },
    { name: "countsOf", args: [[0.3, 0.7], 20], run: paper.countsOf },
    { name: "equalShares", args: [3], run: paper.equalShares },
    {
      name: "evaluationPrompts",
      args: [family, { counts: [1], count: 1 }],
      run: paper.evaluationPrompts,
      options: PROMPT_OPTIONS,
    },
    { name: "promptIds", args: [vocabulary, prompt], run: paper.promptIds },
    { name: "promptText", args: [prompt], run: paper.promptText },
    { name: "Vocabulary", args: [vocabulary.tokens], run: (tokens) => void new paper.Vocabulary(tokens) },
    { name: "Vocabulary.of", args: [families, "words"], run: paper.Vocabulary.of },
    { name: "Vocabulary.fromJson", args: [vocabulary.toJson()], run: paper.Vocabulary.fromJson },
    { name: "Vocabulary.id", args: ["\n"], run: (token) => vocabulary.id(token) },
    { name: "Vocabulary.inputIds", args: [family, query], run: (of, inputs) => vocabulary.inputIds(of, inputs) },
    { name: "Vocabulary.answerIds", args: [prompt.answers[0]], run: (answer) => vocabulary.answerIds(answer) },
  ];
}

function ofTraining(preset: paper.Preset, model: HookedModel): Call {
  return {
    name: "trainPreset",
    args: [{ preset, model }],
    run: (options) => paper.trainPreset(options?.out ? { ...options, out: discarded(options.out) } : options),
    options: TRAIN_PRESET_OPTIONS,
  };
}

function ofModels(model: HookedModel, prompts: readonly paper.Prompt[]): Call[] {
  const { vocabulary } = paper.trainingPreset("lc").data;
  const asked: paper.AskedPrompt = { prompt: [1, 2], answers: [[3], [4, 5]], edits: [] };
  return [
    {
      name: "answerProbabilities",
      args: [model, [asked], {}],
      run: paper.answerProbabilities,
      options: ANSWER_OPTIONS,
    },
    ...Object.keys(asked).map((key) => ({
      name: `answerProbabilities. ${key}`,
      args: [asked[key as keyof paper.AskedPrompt]],
      run: (given: never) => paper.answerProbabilities(model, [{ ...asked, [key]: given }]),
    })),
    {
      name: "measurePrompts",
      args: [model, vocabulary, prompts, {}],
      run: paper.measurePrompts,
      options: MEASURE_OPTIONS,
    },
    {
      name: "likeliestLines",
      args: [model, vocabulary, [[1, 2]], { enough: () => true }],
      run: paper.likeliestLines,
      options: LINE_OPTIONS,
    },
  ];
}

function ofRuns(model: HookedModel, prompts: readonly paper.Prompt[], measured: readonly paper.Measured[]): Call[] {
  const subject: paper.Subject = { model, vocabulary: undefined };
  const store = new MemoryStore();
  const sources = [paper.presetModel(paper.trainingPreset("lc"))];
  return [
    {
      name: "SubjectList",
      args: [sources, async () => model],
      run: (...args) => void new paper.SubjectList(...(args as [never])),
    },
    {
      name: "SubjectList.at",
      args: [0],
      run: (index) => new paper.SubjectList(sources, async () => model).at(index),
    },
    { name: "mixtureReport", args: [prompts, measured], run: paper.mixtureReport },
    { name: "figureOf", args: ["lambda"], run: paper.figureOf },
    {
      name: "defaultModels",
      args: [ONE, "weights", {}],
      run: paper.defaultModels,
      options: DEFAULT_MODELS_OPTIONS,
    },
    {
      name: "runFigure",
      args: [ONE, subject, { store }],
      run: (figure, of, options) =>
        paper.runFigure(figure, of, options?.store ? { ...options, store: discarded(options.store) } : options),
      options: RUN_FIGURE_OPTIONS,
    },
    {
      name: "runReport",
      args: [[ONE], { count: 1, at: async () => subject }, { store, names: ["lc"] }],
      run: (figures, models, options) =>
        paper.runReport(figures, models, options?.store ? { ...options, store: discarded(options.store) } : options),
      options: RUN_REPORT_OPTIONS,
    },
    {
      name: "mergeRun",
      args: [[ONE], store],
      run: (figures, place) => paper.mergeRun(figures, discarded(place) as never),
    },
  ];
}
