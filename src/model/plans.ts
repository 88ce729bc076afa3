/** Plans of passes: traced, fused and placed once for each form of a pass, and kept. */
import { FUSION_RULES, type FusionRule, fuse } from "../graph/fuse.ts";
import { type HookPoints, insertHooks } from "../graph/hooks.ts";
import { type Plan, place } from "../graph/place.ts";
import { prune } from "../graph/prune.ts";
import type { PassHooks } from "../ops/bindings.ts";
import type { ModelSpec } from "./spec.ts";
import { type PassForm, trace } from "./trace.ts";

/** Plans kept; the one not used for longest goes first. One of gpt2 takes about 0.2 MB. */
const KEPT = 64;

export class Plans {
  readonly #kept = new Map<string, Plan>();

  constructor(
    private readonly spec: ModelSpec,
    private readonly rules: readonly FusionRule[] = FUSION_RULES,
  ) {}

  /** The plan of passes of a form, with something to happen at the points of `hooks`. */
  of(form: PassForm, hooks: PassHooks | undefined): Plan {
    const points: HookPoints = {
      edits: hooks?.edits.map(({ at }) => at) ?? [],
      callbacks: hooks?.callbacks.map(({ name }) => name) ?? [],
      captures: hooks?.captures.map(({ name }) => name) ?? [],
    };
    const key = JSON.stringify([form, points]);
    const plan = this.#kept.get(key) ?? place(fuse(prune(insertHooks(trace(this.spec, form), points)), this.rules));
    this.#kept.delete(key);
    this.#kept.set(key, plan);
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value as string);
    return plan;
  }
}
