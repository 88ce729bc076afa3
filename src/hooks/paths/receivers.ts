/**
 * The ends of a patched path: which inputs of which nodes take what the sender sends, as points of the model.
 *
 * Queries, keys and values are what a head makes of its input, before q/k norm and RoPE, and an MLP's hidden layer before the
 * activation is what it makes of its own: to set them is to set the input, for that node alone. The logits read the last
 * residual, at the position that is measured.
 */
import { HookError } from "../../errors.ts";
import type { ModelSpec } from "../../model/spec.ts";
import * as s from "../../schema/schema.ts";
import type { ActivationCache } from "../activation-cache.ts";
import type { Edit } from "../edit.ts";
import { lastResidual, pickHeads, resolveSite } from "../patching/sites.ts";
import { type Point, resolvePoint } from "../points.ts";

/** An end of a path. */
export interface Receiver {
  /** Queries, keys or values of heads; the input of an MLP; or the logits. */
  at: "q" | "k" | "v" | "mlp" | "logits";
  /** The block; for all but the logits. */
  layer?: number;
  /** Heads (key-value heads for k and v) that receive; all when absent. */
  heads?: s.Indices;
}

/** A receiver as it is read. */
export type CheckedReceiver = s.Read<Receiver>;

export const RECEIVER = s.object<Receiver>("a receiver", {
  at: s.required(s.oneOf("q", "k", "v", "mlp", "logits")),
  layer: s.wholeFrom(0),
  heads: s.indices,
});

/** One receiver or several. */
export const RECEIVERS = s.oneOrMore("receivers", RECEIVER);

/** Where a receiver takes its input. */
export interface ReceiverPoint {
  readonly point: Point;
  readonly heads?: readonly number[] | undefined;
  /** The logits' input: it gets what the sender adds, beside what other receivers add. */
  readonly isResidual?: boolean;
}

/** @throws HookError `hook/receiver`, `hook/repeated-selection`, `hook/layer-range`, `hook/head-range`, `hook/no-such-point` */
export function receiverPoints(spec: ModelSpec, receivers: readonly CheckedReceiver[]): ReceiverPoint[] {
  if (receivers.length === 0) throw new HookError("hook/receiver", "receivers is empty. Name one at least.");
  if (receivers.filter(({ at }) => at === "logits").length > 1)
    throw new HookError("hook/repeated-selection", "receivers names the logits twice. Name them once.");
  return receivers.flatMap((receiver) => pointsOf(spec, receiver));
}

function pointsOf(spec: ModelSpec, { at, layer, heads }: CheckedReceiver): ReceiverPoint[] {
  if ((at === "logits") !== (layer === undefined))
    throw new HookError(
      "hook/receiver",
      at === "logits" ? "The logits belong to no layer. Leave layer out." : `A receiver at ${at} needs its layer.`,
    );
  if (heads && (at === "mlp" || at === "logits"))
    throw new HookError("hook/head-range", `A receiver at ${at} has no heads. Leave heads out.`);
  if (layer === undefined) return [{ point: resolvePoint(spec, lastResidual(spec)), isResidual: true }];
  if (at === "mlp") {
    const names = spec.mlp.kind === "gated" ? ["hook_pre", "hook_pre_linear"] : ["hook_pre"];
    return names.map((name) => ({ point: resolvePoint(spec, `blocks.${layer}.mlp.${name}`) }));
  }
  const site = resolveSite(spec, at as "q", [layer]);
  return [{ point: resolvePoint(spec, site.nameAt(layer)), heads: pickHeads(site, heads) }];
}

/**
 * The edits by which receivers take the input that they have in entry `batch` of `sent`. `clean` is the unedited run; `end` is
 * the position that is measured.
 */
export function receive(
  receivers: readonly ReceiverPoint[],
  sent: ActivationCache,
  batch: number,
  clean: ActivationCache,
  end: number,
): Edit[] {
  return receivers.flatMap(({ point: { name }, heads, isResidual }): Edit[] => {
    const value = sent.at(name, { batch });
    if (!isResidual) return [{ at: name, op: "set", value, ...(heads && { heads }) }];
    const add = { at: name, op: "add", positions: [end] } as const;
    return [
      { ...add, value },
      { ...add, value: clean.at(name), alpha: -1 },
    ];
  });
}
