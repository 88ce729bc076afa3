/**
 * The paper's experiments: its tasks as data, models to train on them, and what mixed prompts show.
 *
 * @module superlens/paper
 */
export type {} from "../globals.ts";
export type { AdamWOptions } from "../train/adamw.ts";
export type { TrainStep } from "../train/checkpoint.ts";
export type { Init } from "../train/initialise.ts";
export type { Schedule } from "../train/schedule.ts";
export {
  type AnswerOptions,
  type AnswerProbability,
  type AskedPrompt,
  answerProbabilities,
  type NextToken,
  type PromptProbabilities,
} from "./answers.ts";
export { type BatchOptions, type TaskBatch, trainingBatches } from "./batches.ts";
export { type DefaultModelsOptions, defaultModels, EMBEDDED_MODELS } from "./embedded.ts";
export { PaperError } from "./errors.ts";
export type {
  AnyFigure,
  Cell,
  CellResult,
  Comparison,
  Figure,
  Measurement,
  ModelResults,
  Summary,
  Verdict,
} from "./figure.ts";
export { FIGURES, figureOf } from "./figures/index.ts";
export { type Line, type LineOptions, type Lines, likeliestLines } from "./lines.ts";
export { type Measured, type MeasureOptions, measurePrompts } from "./measure.ts";
export {
  type PresetSize,
  type PresetSpec,
  TRAINING_PRESET_NAMES,
  type TrainingPresetName,
} from "./preset-spec.ts";
export { type Preset, type PresetTraining, presetBatches, presetModel, trainingPreset } from "./presets.ts";
export {
  countsOf,
  equalShares,
  evaluationPrompts,
  type Prompt,
  type PromptOptions,
  promptIds,
  promptText,
} from "./prompts.ts";
export { type MixtureReport, mixtureReport, type RoleReport } from "./report.ts";
export type { Report, ReportRun } from "./report-page.ts";
export { type ReportModels, type RunReportOptions, runReport } from "./run-all.ts";
export { type CellProgress, mergeRun, type RunFigureOptions, runFigure, type Shard } from "./runs.ts";
export { type Subject, SubjectList, type Subjects } from "./subjects.ts";
export type { InputSlot, Task, TaskFamily } from "./tasks/family.ts";
export { type FamilySet, familyNames, taskFamily } from "./tasks/index.ts";
export { type TokenForm, Vocabulary } from "./tasks/vocabulary.ts";
export { type TrainedPreset, type TrainingRecord, type TrainPresetOptions, trainPreset } from "./train-preset.ts";
