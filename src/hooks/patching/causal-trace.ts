/**
 * Causal tracing (Meng et al. 2022, arXiv 2202.05262): hide the subject of a prompt behind noise on its embeddings, then
 * give one activation its clean value back. If that restores the answer, the activation carries information on the subject.
 *
 * The corrupted run of each noise sample is the base run of a sweep, so a cell computes only what its restored activation can
 * have changed.
 */
import { TOKEN_INPUT, type TokenInput, toIds } from "../../model/input.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { Edit } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import type { ForwardResult } from "../result.ts";
import {
  againstClean,
  assertOneColumn,
  EXPERIMENT_FIELDS,
  type ExperimentOptions,
  PROMPT,
  sequenceOf,
  sweepOptions,
} from "./experiment.ts";
import { type GridAxis, type GridJson, PatchGrid } from "./grid.ts";
import { embeddingStd, gaussianNoise } from "./noise.ts";
import {
  LAYER_SITE,
  type LayerSite,
  layerAxis,
  metricEnd,
  outcomeCell,
  outcomePoints,
  pickPositions,
  positionAxis,
  type ResolvedSite,
  resolveSite,
} from "./sites.ts";

/** Options of `causalTrace`. */
export interface CausalTraceOptions extends ExperimentOptions {
  /** One sequence. */
  prompt: TokenInput;
  /** Positions of the subject, whose embeddings get the noise. */
  subject: s.Indices;
  /** Standard deviation of the noise, in standard deviations of the embeddings. Default 3, as in the paper. */
  noise?: number;
  /**
   * Prompts whose embeddings (every entry of `hook_embed`) give that standard deviation; default: the prompt itself. The
   * paper takes the subjects of its whole data set.
   */
  embeddingsOf?: TokenInput;
  /** Noise samples to average over. Default 10. */
  samples?: number;
  /** Sample s draws from stream s of this seed. Default 0. */
  seed?: number;
  /** What is restored. Default "resid_post". */
  at?: LayerSite;
  /**
   * Layers restored together around each layer: layer - floor(window / 2) to layer + ceil(window / 2) - 1, where they
   * exist. Default 1; the paper takes 10 for mlp_out and attn_out.
   */
  window?: number;
  /** Positions that are restored; all when absent. */
  positions?: s.Indices;
  /** Which layers; all when absent. */
  layers?: s.Indices;
}

export const CAUSAL_TRACE_OPTIONS = s.object<CausalTraceOptions>("the options of causalTrace", {
  ...EXPERIMENT_FIELDS,
  prompt: PROMPT,
  subject: s.required(s.indices),
  noise: s.positive,
  embeddingsOf: TOKEN_INPUT,
  samples: s.wholeFrom(1),
  seed: s.whole,
  at: LAYER_SITE,
  window: s.wholeFrom(1),
  positions: s.indices,
  layers: s.indices,
});

/** Values, `corrupted` and `base` are means over the samples. */
export class TraceGrid extends PatchGrid {
  constructor(
    axes: { rows: GridAxis; columns: GridAxis },
    values: Float32Array,
    clean: number,
    /** The metric of the corrupted run of each sample. */
    readonly corruptedSamples: Float32Array,
    /** Standard deviation of the noise, in the embedding's units. */
    readonly noiseStd: number,
  ) {
    const corrupted = corruptedSamples.reduce((sum, value) => sum + value, 0) / corruptedSamples.length;
    super(axes.rows, axes.columns, values, corrupted, clean, corrupted);
  }

  /** What `JSON.stringify` writes. */
  override toJSON(): GridJson & { clean: number; corrupted: number; corruptedSamples: number[]; noiseStd: number } {
    return { ...super.toJSON(), corruptedSamples: [...this.corruptedSamples], noiseStd: this.noiseStd };
  }
}

/**
 * One clean forward pass, then one sweep for each noise sample.
 * @throws HookError and InputError as `sweep`.
 */
export async function causalTrace(model: HookedModel, given: CausalTraceOptions): Promise<TraceGrid> {
  const options = readCall("causalTrace", model, CAUSAL_TRACE_OPTIONS, given);
  assertOneColumn(options.metric);
  const { samples = 10, seed = 0, noise = 3 } = options;
  const ids = sequenceOf(model, options.prompt, "prompt");
  const subject = pickPositions(options.subject, ids.length);
  const positions = pickPositions(options.positions, ids.length);
  const site = resolveSite(model.spec, options.at ?? "resid_post", options.layers);
  const windows = site.layers.map((layer) => windowAt(layer, options.window ?? 1, model.spec.nLayers));
  const names = resolveSite(model.spec, options.at ?? "resid_post", [...new Set(windows.flat())]).names;
  const end = metricEnd(options.metricPosition, ids.length);
  const prompts = options.embeddingsOf === undefined ? [ids] : toIds(options.embeddingsOf, model);
  const noiseStd = noise * (await embeddingStd(model, prompts, options.signal));

  const outcome = outcomePoints(model.spec, [options.metric]);
  using clean = await model.forward([ids], {
    capture: [...names, ...outcome],
    positions: [...positions, end],
    logits: [end],
    signal: options.signal,
  });
  const cells = restoreCells(site, windows, positions, clean);
  cells.push(outcomeCell(outcome, clean.cache, end));
  const metric = await againstClean(options.metric, clean.logits);
  const noises = Array.from({ length: samples }, (_, sample) =>
    gaussianNoise(seed, sample, subject.length * model.spec.dModel, noiseStd),
  );
  const runs = await traceSamples(model, { ...options, metric }, { ids, subject, cells, noises });
  const axes = { rows: layerAxis(site.layers), columns: positionAxis(model, ids, positions) };
  return new TraceGrid(axes, runs.means.slice(0, -1), runs.means.at(-1) as number, runs.bases, noiseStd);
}

interface TracePlan {
  ids: readonly number[];
  subject: readonly number[];
  cells: readonly Edit[][];
  /** One for each sample, [subject, dModel]. */
  noises: readonly Float32Array[];
}

/** The mean of every cell over the samples, and the corrupted metric of each sample. */
async function traceSamples(
  model: HookedModel,
  options: s.Read<CausalTraceOptions>,
  plan: TracePlan,
): Promise<{ means: Float32Array; bases: Float32Array }> {
  const { ids, subject, cells, noises } = plan;
  const total = noises.length * cells.length;
  const sums = new Float64Array(cells.length);
  const bases = new Float32Array(noises.length);
  for (const [sample, noise] of noises.entries()) {
    options.signal?.throwIfAborted();
    const corruption: Edit = { at: "hook_embed", op: "add", positions: subject, value: noise };
    const onProgress =
      options.onProgress &&
      (({ done }: { done: number }) => options.onProgress?.({ done: sample * cells.length + done, total }));
    const { values, base } = await model.withEdits([corruption], (corrupted) =>
      corrupted.sweep({ ...sweepOptions(options), onProgress, input: ids, cells, metric: options.metric }),
    );
    bases[sample] = base[0] as number;
    values.forEach((value, cell) => {
      sums[cell] = (sums[cell] as number) + value;
    });
  }
  return { means: Float32Array.from(sums, (sum) => sum / noises.length), bases };
}

function restoreCells(
  site: ResolvedSite,
  windows: readonly number[][],
  positions: readonly number[],
  { cache }: ForwardResult,
): Edit[][] {
  return windows.flatMap((window) =>
    positions.map((position) =>
      window.map((layer) => ({
        at: site.nameAt(layer),
        op: "set" as const,
        positions: [position],
        value: cache.at(site.nameAt(layer)),
      })),
    ),
  );
}

function windowAt(layer: number, width: number, nLayers: number): number[] {
  const start = Math.max(0, layer - Math.floor(width / 2));
  const end = Math.min(nLayers, layer + Math.ceil(width / 2));
  return Array.from({ length: end - start }, (_, index) => start + index);
}
