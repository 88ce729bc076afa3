/**
 * What is benchmarked, brought onto a new device with a watch in hand: request of the device, load, first token. They come
 * in the order in which a person waits for them, and nothing is compiled before.
 */
import { type CheckpointSource, FilesSource, openSource } from "../checkpoint/index.ts";
import { Gpu } from "../gpu/gpu.ts";
import { type HookedModel, loadModel } from "../hooks/index.ts";
import { type GpuRequest, requestGpu } from "../hosts/request.ts";
import { FLOAT_STORAGES, type FloatStorage } from "../kernels/storage.ts";
import { MODEL_SOURCE, type ModelSource } from "../model/load.ts";
import type { ModelSpec } from "../model/spec.ts";
import * as s from "../schema/schema.ts";
import { RandomSource } from "./random-source.ts";
import type { LoadTimes } from "./report.ts";
import { SHAPE_NAMES, SHAPES, type ShapeName } from "./shapes.ts";
import { timed } from "./statistics.ts";
import { firstToken } from "./tests.ts";
import { TimedSource } from "./timed-source.ts";

/** A shape with random weights, of type f32 unless another is said, or a model. `label` names it in the report where its source does not. */
export type Subject =
  | { shape: ShapeName; dtype?: FloatStorage }
  | { source: ModelSource; label?: string; isRandom?: boolean };

const SHAPE_SUBJECT = s.object("a shape", {
  shape: s.required(s.oneOf(...SHAPE_NAMES)),
  dtype: s.oneOf(...FLOAT_STORAGES),
});

const MODEL_SUBJECT = s.object("a model", { source: s.required(MODEL_SOURCE), label: s.text, isRandom: s.flag });

export const SUBJECT = s.byForm<Subject>("an object with a shape or a source", (value) => {
  if (!s.isRecord(value)) return undefined;
  return ("shape" in value ? SHAPE_SUBJECT : MODEL_SUBJECT) as s.Schema<Subject>;
});

export interface LoadedSubject {
  /** On a device of its own, which the caller destroys after it. */
  model: HookedModel;
  /** Its name in the report. */
  label: string;
  isRandom: boolean;
  load: LoadTimes;
}

export interface LoadSubjectOptions extends GpuRequest {
  signal?: AbortSignal | undefined;
  onDetail: (detail: string) => void;
  /** Called with the new device and then with the spec, before any weight is read: they refuse what cannot be measured. */
  onDevice: (gpu: Gpu) => Promise<void>;
  onSpec: (spec: ModelSpec) => void;
}

/** Prompt whose first token is timed. */
const PROMPT_TOKENS = 128;

export async function loadSubject(subject: Subject, options: LoadSubjectOptions): Promise<LoadedSubject> {
  const { signal, onDetail, onDevice, onSpec, ...request } = options;
  onDetail("opening");
  const { source, file, label } = await openSubject(subject);
  const timedSource = new TimedSource(source);
  const started = performance.now();
  const gpu = new Gpu(await requestGpu({ ...request, ...(signal && { signal }) }));
  const deviceAt = performance.now();
  try {
    await onDevice(gpu);
    const onProgress = ({ loaded, total }: { loaded: number; total: number }) =>
      onDetail(`${Math.floor((100 * loaded) / total)}%`);
    const model = await loadModel(timedSource, {
      gpu,
      onProgress,
      onSpec: ({ spec }) => onSpec(spec),
      tune: false,
      ...(signal && { signal }),
      ...(file && { file }),
    });
    const loadedAt = performance.now();
    onDetail("first token");
    const promptTokens = Math.min(PROMPT_TOKENS, model.spec.maxPositions);
    const firstTokenMs = await timed(() => firstToken(model, promptTokens));
    const load: LoadTimes = {
      from: "shape" in subject ? "memory" : "files",
      bytes: timedSource.bytes,
      deviceMs: deviceAt - started,
      ms: loadedAt - deviceAt,
      readMs: timedSource.readMs,
      promptTokens,
      firstTokenMs,
      coldFirstTokenMs: loadedAt - started + firstTokenMs,
    };
    return { model, label, isRandom: "shape" in subject || subject.isRandom === true, load };
  } catch (error) {
    gpu.destroy();
    throw error;
  }
}

interface OpenedSubject {
  source: CheckpointSource;
  file?: string | undefined;
  label: string;
}

async function openSubject(subject: Subject): Promise<OpenedSubject> {
  if ("shape" in subject) {
    const { shape, dtype } = subject;
    return { source: await RandomSource.create(SHAPES[shape], shape, dtype), label: shape };
  }
  const { source: given } = subject;
  const opened = typeof given === "string" ? await openSource(given) : { source: asSource(given) };
  return { ...opened, label: subject.label ?? opened.source.label };
}

function asSource(given: Exclude<ModelSource, string>): CheckpointSource {
  return "read" in given ? given : new FilesSource(given);
}
