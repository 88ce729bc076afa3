/**
 * Ablation: take a component's information away and see what the answer loses. Zeros are simplest, but furthest from what the
 * model has seen. A mean keeps what all prompts share. Resampling takes activations of another prompt at the same positions,
 * so they are activations the model does have (Chan et al. 2022, "Causal scrubbing").
 */
import { HookError } from "../../errors.ts";
import { TOKEN_INPUT, type TokenInput, toIds } from "../../model/input.ts";
import { RandomStream } from "../../model/random.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import { captureAlone } from "../capture.ts";
import type { Edit } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import { meanOverPrompts } from "../mean-over-prompts.ts";
import { METRICS, type Metric } from "../metrics.ts";
import type { ForwardResult } from "../result.ts";
import {
  EXPERIMENT_FIELDS,
  type ExperimentOptions,
  metricsOfPrompts,
  PROMPT,
  referencePrompts,
  sweepOptions,
} from "./experiment.ts";
import { Grid, type GridAxis, type GridJson } from "./grid.ts";
import { meansOf } from "./means.ts";
import {
  type HeadSite,
  headAxis,
  LAYER_OR_HEAD_SITE,
  type LayerSite,
  layerAxis,
  pickHeads,
  pickPositions,
  type ResolvedSite,
  resolveSite,
  WHOLE_LAYER,
} from "./sites.ts";

/** What takes the place of the activation: zeros, a mean over reference prompts, or one of their activations. */
export type AblationKind = "zero" | "mean" | "resample";

/** Options of `ablate`. */
export interface AblateOptions extends Omit<ExperimentOptions, "metric"> {
  /** A prompt, or several of any lengths. */
  input: TokenInput;
  /** One number a cell: one metric for all prompts, or one for each. */
  metric: Metric | readonly Metric[];
  /** What takes the place of the activation. */
  kind: AblationKind;
  /** The activation to ablate, one head or one layer a cell. Default "z": the heads. */
  at?: LayerSite | HeadSite;
  /** Which layers; all when absent. */
  layers?: s.Indices;
  /** Only for sites with heads. Default all. */
  heads?: s.Indices;
  /** Positions ablated together in every cell. Default all. */
  positions?: s.Indices;
  /** Prompts to take values from, for mean and resample; with enough tokens to have every ablated position. */
  reference?: TokenInput;
  /**
   * Mean over all positions of all reference prompts ("all", the default; prompts of any length), or for each position
   * over the prompts ("position").
   */
  meanOver?: "all" | "position";
  /** Draws averaged in each cell of a resample ablation. Default 1. */
  samples?: number;
  /** Seed of those draws. Default 0. */
  seed?: number;
}

type CheckedAblateOptions = Omit<s.Read<AblateOptions>, "metric"> & { metric: readonly Metric[] };

export const ABLATE_OPTIONS = s.object<AblateOptions, CheckedAblateOptions>("the options of ablate", {
  ...EXPERIMENT_FIELDS,
  metric: s.required(METRICS),
  input: PROMPT,
  kind: s.required(s.oneOf("zero", "mean", "resample")),
  at: LAYER_OR_HEAD_SITE,
  layers: s.indices,
  heads: s.indices,
  positions: s.indices,
  reference: TOKEN_INPUT,
  meanOver: s.oneOf("all", "position"),
  samples: s.wholeFrom(1),
  seed: s.whole,
});

/** Options that belong to some kinds alone. */
const ONLY_FOR = {
  reference: ["mean", "resample"],
  meanOver: ["mean"],
  samples: ["resample"],
  seed: ["resample"],
} as const satisfies Partial<Record<keyof AblateOptions, readonly AblationKind[]>>;

/** Columns are heads, or the whole layer for sites without heads. */
export class AblationGrid extends Grid {
  constructor(
    rows: GridAxis,
    columns: GridAxis,
    values: Float32Array,
    base: number,
    readonly kind: AblationKind,
    /** For each cell of a resample ablation, the reference prompts drawn; empty otherwise. */
    readonly draws: readonly (readonly number[])[],
    /** With several prompts the grid of each, of which this one is the mean; else none. */
    readonly prompts: readonly AblationGrid[] = [],
  ) {
    super(rows, columns, values, base);
  }

  /** What `JSON.stringify` writes. */
  override toJSON(): GridJson & { kind: AblationKind; draws: readonly (readonly number[])[]; prompts?: unknown[] } {
    const each = this.prompts.length > 0 ? { prompts: this.prompts.map((grid) => grid.toJSON()) } : {};
    return { ...super.toJSON(), kind: this.kind, draws: this.draws, ...each };
  }
}

/** One cell before its values are known. */
interface Target {
  at: string;
  /** As they were given; all when absent. */
  positions: readonly number[] | undefined;
  /** The head, or undefined for sites without heads. */
  head: number | undefined;
}

/** The edits that ablate each target; `draws` has the prompts drawn for each, `run` what they are taken from. */
interface Ablation {
  edits: (target: Target) => Edit[];
  draws?: number[][];
  run?: ForwardResult;
}

/**
 * One sweep over the input, after the passes over the reference prompts. With several prompts the grid is the mean, and has the grid of
 * each as `prompts`; a cell of a resample ablation draws once for all of them.
 * @throws HookError `hook/no-reference`, `hook/reference-length`; `hook/patch-length` for a mean at each position of prompts of
 * several lengths; as `sweep` otherwise.
 */
export async function ablate(model: HookedModel, given: AblateOptions): Promise<AblationGrid> {
  const options = readCall("ablate", model, ABLATE_OPTIONS, given);
  for (const [name, kinds] of Object.entries(ONLY_FOR) as [keyof typeof ONLY_FOR, readonly AblationKind[]][]) {
    if (options[name] !== undefined && !kinds.includes(options.kind))
      s.refuseIdle("ablate", name, `in a ${options.kind} ablation; it is for ${kinds.join(" and ")}`);
  }
  const inputs = toIds(options.input, model);
  const metrics = metricsOfPrompts(options.metric, inputs.length);
  const site = resolveSite(model.spec, options.at ?? "z", options.layers);
  const heads = pickHeads(site, options.heads);
  const places = inputs.map(({ length }) => pickPositions(options.positions, length));
  // Ascending, as captures are.
  const positions = [...new Set(places.flat())].sort((a, b) => a - b);
  const targets = site.names.flatMap((at): Target[] => {
    const target = { at, positions: options.positions };
    return heads.length > 0 ? heads.map((head) => ({ ...target, head })) : [{ ...target, head: undefined }];
  });
  const { edits, draws = [], run } = await ABLATIONS[options.kind](model, options, site, positions, inputs);
  try {
    const cells = targets.flatMap((target) => edits(target).map((edit) => [edit]));
    const { prompts } = await model.sweep({
      ...sweepOptions(options),
      input: inputs,
      cells,
      metric: metrics.map((own) => [own]),
    });
    const rows = layerAxis(site.layers);
    const columns = heads.length > 0 ? headAxis(heads) : WHOLE_LAYER;
    const grids = prompts.map(({ values, base }) => {
      const averaged = averageOf(values, options.samples ?? 1);
      return new AblationGrid(rows, columns, averaged, base[0] as number, options.kind, draws);
    });
    const [only] = grids as [AblationGrid];
    if (grids.length === 1) return only;
    const values = meanOverPrompts(grids.map((grid) => grid.values));
    const [base] = meanOverPrompts(grids.map((grid) => [grid.base]));
    return new AblationGrid(rows, columns, values, base as number, options.kind, draws, grids);
  } finally {
    run?.destroy();
  }
}

type Prepare = (
  model: HookedModel,
  options: CheckedAblateOptions,
  site: ResolvedSite,
  positions: readonly number[],
  inputs: readonly (readonly number[])[],
) => Promise<Ablation>;

const ABLATIONS: Record<AblationKind, Prepare> = { zero: zeroAblation, mean: meanAblation, resample: resampleAblation };

const select = ({ at, positions, head }: Target) => ({
  at,
  ...(positions && { positions }),
  ...(head !== undefined && { heads: [head] }),
});

async function zeroAblation(): Promise<Ablation> {
  return { edits: (target) => [{ ...select(target), op: "zero" }] };
}

async function meanAblation(
  model: HookedModel,
  options: CheckedAblateOptions,
  site: ResolvedSite,
  positions: readonly number[],
  inputs: readonly (readonly number[])[],
): Promise<Ablation> {
  const perPosition = options.meanOver === "position";
  const [first] = inputs as [readonly number[]];
  const other = inputs.find(({ length }) => length !== first.length);
  if (perPosition && other)
    throw new HookError(
      "hook/patch-length",
      `The prompts have ${first.length} and ${other.length} tokens, and meanOver "position" has a mean for each position. Give prompts of one length, or take meanOver "all".`,
    );
  const prompts = referencePrompts(model, options.reference, "mean", perPosition ? positions : []);
  const means = await meansOf(model, prompts, site, perPosition ? positions : undefined, options.signal);
  // Means at each position are in ascending order, whatever the order of the option.
  const selected = (target: Target) => select(perPosition ? { ...target, positions } : target);
  return { edits: (target) => [{ ...selected(target), op: "set", value: means.valueOf(target.at, target.head) }] };
}

/** The reference activations stay on the GPU, [prompts, positions, …] for each layer. */
async function resampleAblation(
  model: HookedModel,
  options: CheckedAblateOptions,
  site: ResolvedSite,
  positions: readonly number[],
  inputs: readonly (readonly number[])[],
): Promise<Ablation> {
  const { samples = 1, seed = 0, signal } = options;
  const prompts = referencePrompts(model, options.reference, "resample", positions);
  const isSame = (ids: readonly number[]) =>
    prompts.every((prompt) => ids.every((id, position) => id === prompt[position]));
  if (inputs.every(isSame))
    throw new HookError(
      "hook/same-prompts",
      "resample ablation sets the activations of the reference prompts, and all of them have the input's tokens: nothing would change. Give prompts that differ.",
    );
  const run = await captureAlone(model, prompts, site.names, { positions, signal });
  const random = RandomStream.fromSeed(seed);
  const draws: number[][] = [];
  const edits = (target: Target) => {
    const drawn = Array.from({ length: samples }, () => Math.floor(random.next() * prompts.length));
    draws.push(drawn);
    return drawn.map((batch) => ({ ...select(target), op: "set" as const, value: run.cache.at(target.at, { batch }) }));
  };
  return { edits, draws, run };
}

/** The mean of each run of `samples` values. */
function averageOf(values: Float32Array, samples: number): Float32Array {
  return Float32Array.from(
    { length: values.length / samples },
    (_, cell) => values.subarray(cell * samples, (cell + 1) * samples).reduce((sum, value) => sum + value, 0) / samples,
  );
}
