/** `superlens train PRESET|FILE.json`: trains a small model from scratch on tasks of the paper. */
import type { Command } from "commander";
import {
  type PresetSpec,
  presetModel,
  TRAINING_PRESET_NAMES,
  type TrainedPreset,
  trainingPreset,
  trainPreset,
} from "../../paper/index.ts";
import { readJsonFile } from "../json-file.ts";
import { print, printJson, table } from "../output.ts";
import { showTraining } from "../progress.ts";
import { load } from "../session.ts";
import { stop } from "../stop.ts";
import { checkPlaces, lossLines, type TrainingOptions, writeLog } from "../training.ts";

interface TrainPresetOptions extends Omit<TrainingOptions, "out"> {
  out?: string;
  seed?: number;
}

/** Whether the argument of `train` is a preset, or a file with one. */
export const isPreset = (name: string): boolean =>
  name.endsWith(".json") || TRAINING_PRESET_NAMES.some((known) => known === name);

export async function trainPresetNamed(name: string, command: Command): Promise<void> {
  const options = command.optsWithGlobals<TrainPresetOptions>();
  const { steps, seed, log, logEvery, checkpointEvery, resume, quiet = false } = options;
  const given = name.endsWith(".json") ? ((await readJsonFile(name, REMEDY)) as PresetSpec) : name;
  const { spec } = trainingPreset(given);
  const preset = trainingPreset({ ...spec, ...(steps && { steps }), ...(seed !== undefined && { seed }) });
  const out = options.out ?? `trained-${preset.name}`;
  await checkPlaces({ ...options, out });
  using model = await load(presetModel(preset), { ...options, dtype: "float32" });
  const progress = showTraining(preset.training.steps, quiet);
  const trained = await trainPreset({
    model,
    preset,
    out,
    checkpointEvery,
    logEvery,
    ...(resume && { resume }),
    onStep: progress.update,
    signal: stop.signal,
  }).finally(progress.end);
  await writeLog(log, trained.steps);
  report(trained, out, options);
}

const REMEDY = `Give a preset (${TRAINING_PRESET_NAMES.join(", ")}) or a file as docs/training.md shows it.`;

function report({ steps, accuracy }: TrainedPreset, out: string, { json, log }: TrainPresetOptions): void {
  if (json) {
    printJson({ out, steps: steps.at(-1)?.step, first: steps[0], last: steps.at(-1), accuracy });
    return;
  }
  print(
    ...lossLines(steps),
    "",
    ...table([
      ["right on held-out queries", ""],
      ...Object.entries(accuracy).map(([family, part]) => [family, part.toFixed(2)]),
    ]),
    "",
    `${out}: config.json, model.safetensors, vocab.json, training.json, loss.svg, and checkpoint.safetensors to go on from`,
    ...(log === undefined ? [] : [`${log}: the loss of each step`]),
  );
}
