/**
 * A pass over copies of one sequence, each with edits of its own: what a sweep is for metrics, this is for activations and
 * gradients. Many short passes become one that fills the GPU.
 */
import type { Tensor } from "../../gpu/tensor.ts";
import type { BackwardRequest } from "../../model/engine.ts";
import { attentionWidths } from "../../model/weights/table.ts";
import { widestAttentionGradient } from "../../ops/attention.ts";
import { ActivationCache } from "../activation-cache.ts";
import { type CompiledEdit, compileEdits, type EditScope } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import { mergeEdits } from "../merge-edits.ts";
import { pointShape, rowWidth } from "../plan.ts";
import type { Point } from "../points.ts";

/** What is looked at in every copy, and how far a pass goes. */
export interface CopiesPass {
  readonly ids: readonly number[];
  /** The points that are captured, or whose gradients are. */
  readonly points: readonly Point[];
  /** Captured positions, ascending. */
  readonly positions: readonly number[];
  readonly signal?: AbortSignal | undefined;
  /** Goes on backwards from a point; gradients are captured then. */
  readonly backward?: { readonly from: Point } & BackwardRequest;
}

/** One copy as edits are checked against it. */
export function oneCopy({ spec }: HookedModel, ids: readonly number[]): EditScope {
  return { spec, lengths: [ids.length], starts: [0] };
}

/** Copies that one pass takes. */
export function copiesPerPass(model: HookedModel, pass: CopiesPass): number {
  return Math.max(1, Math.floor(model.base.engine.rowsPerPass(widestOf(model, pass)) / pass.ids.length));
}

/** Runs a copy for each list of edits, which come after those of the model's scope. Entry i of the batch is copy i. */
export async function runCopies(
  model: HookedModel,
  edits: readonly (readonly CompiledEdit[])[],
  pass: CopiesPass,
): Promise<ActivationCache> {
  const { spec, gpu, base } = model;
  const { ids, points, backward, signal } = pass;
  const batch = edits.map(() => [...ids]);
  const standing = compileEdits(model.standing, oneCopy(model, ids));
  const positions = batch.map(() => pass.positions);
  const scope = { spec, lengths: batch.map(() => ids.length), starts: batch.map(() => 0) };
  const tensors = new Map<string, Tensor>();
  const cache = new ActivationCache(gpu, tensors, positions);
  const kv = model.createKvCache({ sequences: batch.length, capacity: batch.length * ids.length });
  try {
    for (const point of points) tensors.set(point.name, gpu.tensor(pointShape(point, scope, positions), point.name));
    const logits = await base.run(batch, {
      kv,
      signal,
      backward,
      hooks: {
        edits: mergeEdits(edits.map((own) => [...standing, ...own])),
        captures: [...tensors].map(([name, tensor]) => ({ name, tensor, ofGradient: backward !== undefined })),
        callbacks: [],
        positions,
        allPositions: positions,
        seedAt: backward?.from.name,
      },
      widest: widestOf(model, pass),
      everyRow: true,
      logits: "none",
      stopAtLayer: endOf(pass),
    });
    logits.destroy();
    return cache;
  } catch (error) {
    cache.destroy();
    throw error;
  } finally {
    kv.destroy();
  }
}

/** The block before which the pass may end; undefined when something after the blocks is wanted. */
function endOf({ points, backward }: CopiesPass): number | undefined {
  const layers = (backward ? [backward.from] : points).map(({ layer }) => layer);
  return layers.includes(undefined) ? undefined : 1 + Math.max(...(layers as number[]));
}

/** Elements of one row of the widest value. */
function widestOf(model: HookedModel, { ids, points, backward }: CopiesPass): number {
  const looked = backward ? [...points, backward.from] : points;
  const widths = looked.map((point) => rowWidth(point, oneCopy(model, ids)));
  return Math.max(
    ...widths,
    backward ? widestAttentionGradient(model.spec.nHeads, attentionWidths(model.spec), ids.length) : 0,
  );
}
