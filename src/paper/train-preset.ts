/** Trains a preset: its batches, its recipe, its accuracy in the end, and all of it in a folder that `loadModel` loads. */
import { type FileStore, STORE, storeOf, writeText } from "../checkpoint/store.ts";
import { HookedModel } from "../hooks/index.ts";
import * as s from "../schema/schema.ts";
import { saveModel, type TrainStep, train } from "../train/index.ts";
import { heldOutAccuracy } from "./held-out.ts";
import { lossPlot } from "./loss-plot.ts";
import type { PresetSpec } from "./preset-spec.ts";
import { PRESET, type Preset, presetBatches } from "./presets.ts";

/** Options of `trainPreset`. */
export interface TrainPresetOptions {
  /** Of `loadModel(presetModel(preset), { dtype: "float32" })`; its weights change. */
  model: HookedModel;
  /** What it is. */
  preset: Preset;
  /**
   * A folder or a store: the model, its `vocab.json`, `training.json` and `loss.svg` go there in the end, and the state of the run
   * while it trains.
   */
  out?: string | FileStore;
  /** Steps between two checkpoints in `out`. Default 100. */
  checkpointEvery?: number;
  /** Go on from the checkpoint in `out`, if there is one. */
  resume?: boolean;
  /** Steps between two readings of the loss. Default 1. */
  logEvery?: number;
  /** Called with each step that was read. */
  onStep?: (step: TrainStep) => unknown;
  /** Ends the run between two steps, after a checkpoint. */
  signal?: AbortSignal;
}

export const TRAIN_PRESET_OPTIONS = s.object<TrainPresetOptions>("the options of trainPreset", {
  model: s.required(s.instance("a model, made by loadModel()", HookedModel)),
  preset: s.required(PRESET),
  out: STORE,
  checkpointEvery: s.wholeFrom(1),
  resume: s.flag,
  logEvery: s.wholeFrom(1),
  onStep: s.callback,
  signal: s.signal,
});

/** What came out of training a preset. */
export interface TrainedPreset {
  readonly steps: readonly TrainStep[];
  /** The part of 100 held-out queries that each family's tasks were right on. */
  readonly accuracy: Readonly<Record<string, number>>;
}

/** How a model was trained, as `training.json` beside it says. */
export interface TrainingRecord {
  /** The preset as it was, steps and seed included: trained again on the same adapter, it gives the same bits. */
  readonly spec: PresetSpec;
  readonly adapter: string;
  readonly accuracy: Readonly<Record<string, number>>;
  /** Of each step that was read, to seven digits. */
  readonly losses: readonly number[];
}

/**
 * Trains a preset and asks it held-out queries.
 *
 *     const preset = trainingPreset("lc");
 *     const model = await loadModel(presetModel(preset), { dtype: "float32" });
 *     const { accuracy } = await trainPreset({ model, preset, out: "./lc" });
 *
 * @throws as `train`
 */
export async function trainPreset(options: TrainPresetOptions): Promise<TrainedPreset> {
  const { model, preset, out, resume, ...read } = s.readOptions(TRAIN_PRESET_OPTIONS, options, "trainPreset");
  if (out === undefined && resume) s.refuseIdle("trainPreset", "resume", "without out");
  if (out === undefined && read.checkpointEvery) s.refuseIdle("trainPreset", "checkpointEvery", "without out");
  const store = out === undefined ? undefined : storeOf(out);
  const { checkpointEvery, logEvery, onStep, signal } = read;
  const steps = await train({
    model,
    data: presetBatches(preset),
    ...preset.training,
    ...(logEvery && { logEvery }),
    ...(onStep && { onStep }),
    ...(signal && { signal }),
    ...(store && {
      checkpoint: {
        in: store,
        ...(checkpointEvery && { every: checkpointEvery }),
        ...(resume && { resume }),
        settings: { ...preset.spec },
      },
    }),
  });
  const accuracy = await heldOutAccuracy(model, preset, { signal });
  if (store) await save(store, model, preset, { steps, accuracy });
  return { steps, accuracy };
}

async function save(store: FileStore, model: HookedModel, { name, spec, data }: Preset, trained: TrainedPreset) {
  const { steps, accuracy } = trained;
  const record: TrainingRecord = {
    spec,
    adapter: adapterOf(model),
    accuracy,
    losses: steps.map(({ loss }) => Number(loss.toPrecision(7))),
  };
  await saveModel(model, store);
  await writeText(store, "vocab.json", JSON.stringify(data.vocabulary.toJson(), null, 1));
  await writeText(store, "training.json", JSON.stringify(record));
  await writeText(store, "loss.svg", await lossPlot(name, steps).svg());
}

function adapterOf({ gpu }: HookedModel): string {
  const { name, host } = gpu.host.adapterInfo;
  return `${name} (${host})`;
}
