/**
 * Direct path patching: what a node sends to others straight through the residual stream, and what that does to the answer.
 *
 * Activation patching changes a node and all that follows from it. Here a path has two ends: the sender's output is that of the
 * corrupted prompt, and only the receivers see it; every other head and MLP keeps the output that it has on the clean prompt.
 * What the receivers then make of it goes on as it does (Wang et al. 2022, arXiv 2211.00593; Goldowsky-Dill et al. 2023,
 * arXiv 2304.05969). Three runs for each sender: the clean one, which is captured; one with the sender's output corrupted and
 * all others' frozen, in which the receivers' inputs are captured; and the clean one with those inputs.
 */

import { abortable } from "../../abort.ts";
import { HookError } from "../../errors.ts";
import type { TokenInput } from "../../model/input.ts";
import type { ModelSpec } from "../../model/spec.ts";
import * as s from "../../schema/schema.ts";
import type { ActivationCache } from "../activation-cache.ts";
import { readCall } from "../call.ts";
import { captureAlone } from "../capture.ts";
import { type CheckedEdit, compileEdits } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import {
  assertOneColumn,
  EXPERIMENT_FIELDS,
  type ExperimentOptions,
  PROMPT,
  promptPair,
  sweepOptions,
} from "../patching/experiment.ts";
import { type GridAxis, PatchGrid } from "../patching/grid.ts";
import {
  headAxis,
  layerAxis,
  metricEnd,
  outcomeCell,
  outcomePoints,
  pickHeads,
  pickPositions,
  resolveSite,
  WHOLE_LAYER,
} from "../patching/sites.ts";
import { assertPlainResidual } from "../plain-residual.ts";
import { pointTable, resolvePoint } from "../points.ts";
import type { SweepResult } from "../sweep.ts";
import { type CopiesPass, copiesPerPass, oneCopy, runCopies } from "./copies.ts";
import {
  type CheckedReceiver,
  RECEIVERS,
  type Receiver,
  type ReceiverPoint,
  receive,
  receiverPoints,
} from "./receivers.ts";

/** Options of `pathPatch`. */
export interface PathPatchOptions extends ExperimentOptions {
  /** One sequence, whose answer is the one that counts. */
  clean: TokenInput;
  /** As many tokens as `clean`. */
  corrupted: TokenInput;
  /** Which nodes send, each for itself: heads, MLPs, or both; the MLP is the last column then. Default "heads". */
  senders?: "heads" | "mlps" | "all";
  /** Where the path ends; several receive together. Default the logits. */
  receivers?: Receiver | readonly Receiver[];
  /** Positions where the sender's output is corrupted. Default all. */
  positions?: s.Indices;
  /** Layers of the senders; all when absent. */
  layers?: s.Indices;
  /** Heads that send; all when absent. Not for `senders: "mlps"`. */
  heads?: s.Indices;
}

type CheckedPathOptions = Omit<s.Read<PathPatchOptions>, "receivers"> & {
  receivers?: readonly CheckedReceiver[];
};

export const PATH_PATCH_OPTIONS = s.object<PathPatchOptions, CheckedPathOptions>("the options of pathPatch", {
  ...EXPERIMENT_FIELDS,
  clean: PROMPT,
  corrupted: PROMPT,
  senders: s.oneOf("heads", "mlps", "all"),
  receivers: RECEIVERS,
  positions: s.indices,
  layers: s.indices,
  heads: s.indices,
});

/** A node whose output is corrupted: a head's z, or what an MLP adds. */
interface Sender {
  readonly at: string;
  readonly layer: number;
  readonly head: number | undefined;
}

/**
 * One number for each sender: the metric of the clean run whose receivers got that sender's corrupted output.
 * @throws HookError `hook/receiver`, `hook/no-path` when no sender comes before a receiver, `hook/patch-length`; as `sweep`
 * otherwise.
 */
export async function pathPatch(model: HookedModel, given: PathPatchOptions): Promise<PatchGrid> {
  const options = readCall("pathPatch", model, PATH_PATCH_OPTIONS, given);
  assertPlainResidual(model.spec, "pathPatch");
  assertOneColumn(options.metric);
  const { clean: ids, corrupted } = promptPair(model, options);
  const receivers = receiverPoints(model.spec, options.receivers ?? [{ at: "logits" }]);
  const { senders, rows, columns } = resolveSenders(model.spec, options);
  const before = Math.max(...receivers.map(({ point }) => point.order));
  const upstream = senders.filter(({ at }) => resolvePoint(model.spec, at).order < before);
  if (upstream.length === 0)
    throw new HookError("hook/no-path", "No sender comes before a receiver. Take earlier layers, or later receivers.");
  const positions = pickPositions(options.positions, ids.length);
  const end = metricEnd(options.metricPosition, ids.length);
  const last = Math.max(...receivers.map(({ point }) => point.layer as number));

  const { signal } = options;
  const residuals = receivers.filter(({ isResidual }) => isResidual).map(({ point }) => point.name);
  const sent = [...new Set([...upstream.map(({ at }) => at), ...outcomePoints(model.spec, [options.metric])])];
  using source = await captureAlone(model, [corrupted], sent, { signal });
  using clean = await captureAlone(model, [ids], [...frozenPoints(model.spec, last), ...residuals], { signal });
  const paths = { ids, receivers, positions, end, last, source: source.cache, clean: clean.cache };
  const { values, base, outcome } = await new PathRun(model, options, paths).measure(upstream);
  const all = Float32Array.from(senders, (sender) => values.get(sender) ?? base);
  return new PatchGrid(rows, columns, all, base, base, outcome);
}

/** What all senders of a call share. */
interface Paths {
  readonly ids: readonly number[];
  readonly receivers: readonly ReceiverPoint[];
  readonly positions: readonly number[];
  readonly end: number;
  /** The block of the last receiver. */
  readonly last: number;
  /** The corrupted run: what senders send. */
  readonly source: ActivationCache;
  /** The clean run: what all others keep. */
  readonly clean: ActivationCache;
}

class PathRun {
  readonly #pass: CopiesPass;

  constructor(
    private readonly model: HookedModel,
    private readonly options: CheckedPathOptions,
    private readonly paths: Paths,
  ) {
    const { ids, receivers } = paths;
    const points = [...new Set(receivers.map(({ point }) => point))];
    this.#pass = { ids, points, positions: ids.map((_, position) => position), signal: options.signal };
  }

  /** The metric for each sender, of the clean run (`base`), and of the corrupted one. */
  async measure(senders: readonly Sender[]): Promise<{ values: Map<Sender, number>; base: number; outcome: number }> {
    const { signal, onProgress } = this.options;
    const values = new Map<Sender, number>();
    const block = copiesPerPass(this.model, this.#pass);
    let [base, outcome] = [Number.NaN, Number.NaN];
    while (values.size < senders.length) {
      signal?.throwIfAborted();
      const some = senders.slice(values.size, values.size + block);
      const measured = await this.#sweep(some);
      base = measured.base[0] as number;
      outcome = measured.values.at(-1) as number;
      for (const [index, sender] of some.entries()) values.set(sender, measured.values[index] as number);
      await abortable(Promise.resolve(onProgress?.({ done: values.size, total: senders.length })), signal);
    }
    return { values, base, outcome };
  }

  /** A cell for each sender, and one with the outcome of the corrupted run. */
  async #sweep(senders: readonly Sender[]): Promise<SweepResult> {
    const { model, options, paths } = this;
    const { ids, receivers, clean, source, end } = paths;
    const scope = oneCopy(model, ids);
    const edits = senders.map((sender) => compileEdits(this.#send(sender), scope));
    using sent = await runCopies(model, edits, this.#pass);
    const cells = senders.map((_, copy) => receive(receivers, sent, copy, clean, end));
    cells.push(outcomeCell(outcomePoints(model.spec, [options.metric]), source, end));
    const { onProgress: _, ...rest } = sweepOptions(options);
    return await model.sweep({ ...rest, input: [...ids], cells, metric: options.metric });
  }

  /** The sender's output is the corrupted run's, and the output of every node after it the clean run's. */
  #send({ at, layer, head }: Sender): CheckedEdit[] {
    const { clean, source, positions, last } = this.paths;
    const { order } = resolvePoint(this.model.spec, at);
    const later = frozenPoints(this.model.spec, last).filter((name) => {
      const point = resolvePoint(this.model.spec, name);
      // A head's own layer adds what it sends.
      return point.order > order && name !== `blocks.${layer}.hook_attn_out`;
    });
    return [
      { at, op: "set", positions, value: source.at(at), ...(head !== undefined && { heads: [head] }) },
      ...later.map((name): CheckedEdit => ({ at: name, op: "set", value: clean.at(name) })),
    ];
  }
}

/** What attention and the MLP of each block add to the residual, up to block `last`. */
function frozenPoints(spec: ModelSpec, last: number): string[] {
  const names = Array.from({ length: last + 1 }, (_, layer) => [
    `blocks.${layer}.hook_attn_out`,
    `blocks.${layer}.hook_mlp_out`,
  ]).flat();
  return names.filter((name) => pointTable(spec).has(name));
}

/** The senders row by row, and the axes of their grid. */
function resolveSenders(
  spec: ModelSpec,
  { senders: kind = "heads", layers, heads: chosen }: CheckedPathOptions,
): { senders: Sender[]; rows: GridAxis; columns: GridAxis } {
  const z = resolveSite(spec, "z", layers);
  const mlp = kind === "heads" ? undefined : resolveSite(spec, "mlp_out", layers);
  const heads = kind === "mlps" ? pickHeads(mlp as typeof z, chosen) : pickHeads(z, chosen);
  const senders = z.layers.flatMap((layer): Sender[] => [
    ...heads.map((head) => ({ at: z.nameAt(layer), layer, head })),
    ...(mlp ? [{ at: mlp.nameAt(layer), layer, head: undefined }] : []),
  ]);
  return { senders, rows: layerAxis(z.layers), columns: columnsOf(spec, kind, heads) };
}

function columnsOf({ nHeads }: ModelSpec, kind: "heads" | "mlps" | "all", heads: readonly number[]): GridAxis {
  if (kind === "mlps") return WHOLE_LAYER;
  const axis = headAxis(heads);
  if (kind === "heads") return axis;
  return { name: "node", indices: [...heads, nHeads], labels: [...axis.labels, "MLP"] };
}
