/** Generation with hooks: edits in the prompt's pass, in every new token's pass, or in both, and captures and functions in each pass. */
import { HookError } from "../errors.ts";
import {
  type CheckedGenerateOptions,
  GENERATE_FIELDS,
  type GenerateOptions,
  type GenerateStep,
  generateSteps,
  type HooksFor,
} from "../model/generate.ts";
import type { TokenInput } from "../model/input.ts";
import type { Model } from "../model/model.ts";
import * as s from "../schema/schema.ts";
import { ActivationCache } from "./activation-cache.ts";
import { EDIT_FIELDS, type Edit } from "./edit.ts";
import { HOOKS, type Hook, type Hooks, planPass } from "./plan.ts";
import { PATTERNS, type PointPattern } from "./points.ts";

/** An edit, and the passes it is made in. */
export interface GenerateEdit extends Edit {
  /**
   * `prompt`: in the pass over the prompt; `tokens`: in the pass of each new token; `both`. Default: `prompt` for edits
   * with `positions`, which are the prompt's, else `both`.
   */
  during?: "prompt" | "tokens" | "both";
}

/** Options of `HookedModel.generate`. */
export interface HookedGenerateOptions extends GenerateOptions {
  /** Changes to make; see `during`. */
  edits?: GenerateEdit | readonly GenerateEdit[];
  /** Points to capture in every pass. */
  capture?: PointPattern | readonly PointPattern[];
  /** JavaScript functions, called in every pass as by `runWithHooks`, with the positions that the pass computes. */
  hooks?: Hooks;
}

/** An edit of a generation as it is read. */
type CheckedGenerateEdit = s.Read<GenerateEdit>;

const GENERATE_EDIT = s.object<GenerateEdit>("an edit", {
  ...EDIT_FIELDS,
  during: s.oneOf("prompt", "tokens", "both"),
});

/** The options of `HookedModel.generate` as they are read. */
interface CheckedHookedOptions extends CheckedGenerateOptions, Pick<HookedGenerateOptions, "capture"> {
  hooks?: readonly Hook[];
  edits?: readonly CheckedGenerateEdit[];
}

export const HOOKED_GENERATE_OPTIONS = s.object<HookedGenerateOptions, CheckedHookedOptions>(
  "the options of generate",
  {
    ...GENERATE_FIELDS,
    edits: s.oneOrMore("edits", GENERATE_EDIT),
    capture: PATTERNS,
    hooks: HOOKS,
  },
);

/** One step of `HookedModel.generate`. */
export interface HookedGenerateStep extends GenerateStep {
  /** What the pass that chose this token captured. It ends when the next step is asked for: read it before. */
  cache: ActivationCache;
}

/** The steps of `HookedModel.generate`. */
export async function* generateHooked(
  model: Model,
  input: TokenInput,
  options: CheckedHookedOptions,
): AsyncGenerator<HookedGenerateStep> {
  const { edits = [], capture, hooks = [] } = options;
  checkPasses(edits);
  const empty = new ActivationCache(model.gpu, new Map(), []);
  let cache = empty;
  const hooksFor: HooksFor = ({ kind, inputs, kv }) => {
    cache.destroy();
    const here = edits.filter((edit) => isDuring(edit, kind));
    const plan = planPass(model, inputs, { kv }, { edits: here, logits: "last", capture }, hooks);
    cache = plan.cache;
    return plan.run;
  };
  // Where nobody looks, tokens may be decoded ahead of the host.
  const isPlain = edits.length === 0 && capture === undefined && hooks.length === 0;
  try {
    for await (const step of generateSteps(model, input, options, isPlain ? undefined : hooksFor))
      yield { ...step, cache };
  } finally {
    cache.destroy();
  }
}

const duringOf = ({ during, positions }: CheckedGenerateEdit) => during ?? (positions ? "prompt" : "both");

function isDuring(edit: CheckedGenerateEdit, kind: "prompt" | "token"): boolean {
  const during = duringOf(edit);
  return during === "both" || during === (kind === "prompt" ? "prompt" : "tokens");
}

function checkPasses(edits: readonly CheckedGenerateEdit[]): void {
  const wrong = edits.find((edit) => edit.positions && duringOf(edit) !== "prompt");
  if (!wrong) return;
  throw new HookError(
    "hook/position-range",
    `Edit of ${wrong.at} (${wrong.op}): positions belong to the prompt, so it cannot be made during "${wrong.during}". Give two edits, one without positions for the tokens.`,
  );
}
