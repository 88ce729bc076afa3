/**
 * Training from scratch in the tab: a preset of the paper, and every so many steps the curve of its section 4 on prompts that
 * the training never had. The model that is trained is the page's model, so that every other view looks at it afterwards.
 */
import { MemoryStore } from "../../checkpoint/index.ts";
import { InputError } from "../../errors.ts";
import type { HookedModel } from "../../hooks/index.ts";
import {
  countsOf,
  evaluationPrompts,
  type Measured,
  measurePrompts,
  mixtureReport,
  type Preset,
  type PresetSpec,
  presetModel,
  taskFamily,
  trainingPreset,
  trainPreset,
} from "../../paper/index.ts";
import type { Running } from "../protocol.ts";
import { current, load } from "./session.ts";

export interface TrainArgs {
  readonly preset: string;
  /** Steps in all; the preset's where absent. */
  readonly steps?: number;
  /** Steps between two curves. */
  readonly every: number;
  /** Go on from where the run was stopped. */
  readonly resume: boolean;
  /** Tells runs apart that are asked alike. */
  readonly run: number;
}

/** A point of the curve: the share of the first task in the prompts, and the mean probability of each task's answer. */
export interface CurvePoint {
  readonly share: number;
  readonly first: number;
  readonly second: number;
  /** The part of prompts in which both answers have more than 0.2. */
  readonly both: number;
}

export interface TrainingState {
  readonly steps: readonly { readonly step: number; readonly loss: number }[];
  /** Of the last measurement, for the first family of tasks. */
  readonly curve: readonly CurvePoint[];
  readonly curveStep: number;
  readonly accuracy: Readonly<Record<string, number>> | undefined;
}

const SHARES = [0, 0.25, 0.5, 0.75, 1];
const EXAMPLES = 16;
const PROMPTS = 16;
/** Milliseconds between two reports of the loss. */
const REPORT_EVERY = 250;

/** What a stopped run goes on from. */
let kept: { readonly name: string; readonly store: MemoryStore; state: TrainingState } | undefined;

const NOTHING: TrainingState = { steps: [], curve: [], curveStep: 0, accuracy: undefined };

/** The run whose model is loaded, by its number. */
let trained: { readonly run: number; readonly model: HookedModel } | undefined;

export async function train(
  { preset: name, steps, every, resume, run }: TrainArgs,
  running: Running,
): Promise<TrainingState> {
  const named = trainingPreset(name);
  const preset = steps === undefined ? named : trainingPreset({ ...(named.spec as PresetSpec), steps });
  if (!resume || kept?.name !== name) kept = { name, store: new MemoryStore(`training of ${name}`), state: NOTHING };
  const mine = kept;
  const { store } = mine;
  const { model } = await load(presetModel(preset), running, { dtype: "float32" });
  trained = { run, model };
  let reported = 0;
  const report = (part: Partial<TrainingState>, isWaitedFor = true) => {
    mine.state = { ...mine.state, ...part };
    // The whole state is copied to the page, so not after every step.
    if (!isWaitedFor && performance.now() - reported < REPORT_EVERY) return;
    reported = performance.now();
    running.onProgress({ done: mine.state.steps.at(-1)?.step ?? 0, total: preset.training.steps, part: mine.state });
  };
  const { accuracy } = await trainPreset({
    model,
    preset,
    out: store,
    resume,
    checkpointEvery: every,
    signal: running.signal,
    onStep: async ({ step, loss }) => {
      const isMeasured = step % every === 0;
      report({ steps: [...mine.state.steps.filter((before) => before.step < step), { step, loss }] }, isMeasured);
      if (isMeasured) report({ curve: await curveOf(model, preset), curveStep: step });
    },
  });
  report({ accuracy, curve: await curveOf(model, preset), curveStep: preset.training.steps });
  return mine.state;
}

/** @throws InputError `page/not-trained` where the model of that run is no longer the page's */
export function assertTrained(run: number): void {
  if (trained?.run === run && trained.model === current().model) return;
  throw new InputError("page/not-trained", "The model of that run is gone, since another was loaded. Train it again.");
}

/** The two first tasks of the preset's first family in one prompt, in five shares. */
async function curveOf(model: HookedModel, preset: Preset): Promise<CurvePoint[]> {
  const [name] = preset.spec.families as [string];
  const family = taskFamily(name, preset.spec.set);
  const points: CurvePoint[] = [];
  for (const share of SHARES) {
    const counts = countsOf([share, 1 - share], EXAMPLES);
    const prompts = evaluationPrompts(family, { counts, count: PROMPTS, seed: 1, tasks: [0, 1] });
    const measured: Measured[] = await measurePrompts(model, preset.data.vocabulary, prompts);
    const { roles, allAboveFifth } = mixtureReport(prompts, measured);
    points.push({ share, first: roles[0]?.mean ?? 0, second: roles[1]?.mean ?? 0, both: allAboveFifth });
  }
  return points;
}

/** The files of the model that was trained last: what `loadModel` and transformers load. */
export async function trainedFiles(): Promise<{ readonly name: string; readonly blob: Blob }[]> {
  if (!kept) throw new InputError("page/not-trained", "Nothing was trained in this visit. Press Train first.");
  const source = kept.store.source();
  const names = ((await source.list?.()) ?? []).filter((file) =>
    ["config.json", "model.safetensors", "vocab.json"].includes(file),
  );
  return Promise.all(
    names.map(async (file) => ({ name: file, blob: new Blob([(await source.readAll(file)) as BlobPart]) })),
  );
}
