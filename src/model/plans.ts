/** Plans of passes: traced, fused and placed once for each form of a pass, and kept. */
import { differentiate } from "../graph/differentiate.ts";
import { FUSION_RULES, type FusionRule, fuse, rulesBeforeGradients } from "../graph/fuse.ts";
import { type HookPoints, insertHooks } from "../graph/hooks.ts";
import { type Plan, place } from "../graph/place.ts";
import { prune } from "../graph/prune.ts";
import type { PassHooks } from "../ops/bindings.ts";
import type { WeightChoice } from "../ops/weight-ref.ts";
import type { ModelSpec } from "./spec.ts";
import { type PassForm, trace } from "./trace.ts";

/** What a backward pass is made for, besides the gradients that the hooks capture. */
export interface GradientForm {
  /** Tells one choice of weights from another. */
  readonly weights: string;
  readonly wantsWeight: WeightChoice;
  /** Keeps less of the forward pass, and computes it again; see `differentiate`. */
  readonly recompute?: boolean | undefined;
}

/** Plans kept; the one not used for longest goes first. One of gpt2 takes about 0.2 MB. */
const KEPT = 64;

export class Plans {
  readonly #kept = new Map<string, Plan>();

  constructor(
    private readonly spec: ModelSpec,
    private readonly rules: readonly FusionRule[] = FUSION_RULES,
  ) {}

  /** The plan of passes of a form, with something to happen at the points of `hooks`. */
  of(form: PassForm, hooks: PassHooks | undefined, gradients?: GradientForm): Plan {
    const points: HookPoints = {
      edits: hooks?.edits.map(({ at }) => at) ?? [],
      callbacks: hooks?.callbacks.map(({ name }) => name) ?? [],
      captures: hooks?.captures.map(({ name, ofGradient }) => ({ name, ofGradient })) ?? [],
      seedAt: hooks?.seedAt,
    };
    const key = JSON.stringify([form, points, gradients?.weights, gradients?.recompute]);
    const plan = this.#kept.get(key) ?? this.#plan(form, points, gradients);
    this.#kept.delete(key);
    this.#kept.set(key, plan);
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value as string);
    return plan;
  }

  #plan(form: PassForm, points: HookPoints, gradients: GradientForm | undefined): Plan {
    const wanted = points.captures.flatMap(({ name, ofGradient }) => (ofGradient ? [name] : []));
    const changed = new Set([...points.edits, ...points.callbacks, ...wanted]);
    let graph = prune(insertHooks(trace(this.spec, { ...form, changed }), points));
    if (gradients) {
      const whole = fuse(graph, rulesBeforeGradients(this.rules));
      graph = prune(differentiate(whole, gradients.wantsWeight, gradients));
    }
    return place(fuse(graph, this.rules));
  }
}
