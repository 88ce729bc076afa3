/**
 * The model that users load: forward passes with captures, edits and JavaScript hooks, and everything built on them.
 *
 * `HookedModel` wraps the plain `Model` and gives each pass its hooks. Edits are data and run on the GPU without any
 * readback; a JavaScript hook costs one readback, one write and one split of the submission for each call.
 */
import { HookError } from "../errors.ts";
import {
  isEmbeds,
  MODEL_INPUT,
  type ModelInput,
  type SequenceInput,
  TOKEN_INPUT,
  type TokenInput,
  vectorsOf,
} from "../model/input.ts";
import { type LoadOptions, loadParts, type ModelSource } from "../model/load.ts";
import { LoadedModel } from "../model/loaded-model.ts";
import type { AnswerLogProb, LogProbsOptions } from "../model/log-probs.ts";
import { Model } from "../model/model.ts";
import { type ProcessOptions, processedParts } from "../model/processed.ts";
import * as s from "../schema/schema.ts";
import { type BackwardOptions, type BackwardResult, backward } from "./backward.ts";
import { type CheckedEdit, EDITS, type Edit } from "./edit.ts";
import {
  generateHooked,
  HOOKED_GENERATE_OPTIONS,
  type HookedGenerateOptions,
  type HookedGenerateStep,
} from "./generate.ts";
import { type Dictionary, weightsOf } from "./modules/dictionary.ts";
import { assertUsable, DICTIONARIES, SPLICE_OPTIONS, type SpliceOptions, splicedSpec } from "./modules/splice.ts";
import {
  type CheckedForwardOptions,
  HOOKED_FORWARD_OPTIONS,
  HOOKS,
  type Hook,
  type HookedForwardOptions,
  type Hooks,
  planPass,
} from "./plan.ts";
import { isUsual, PATTERNS, type PointPattern, reachedPoints, resolvePoint, resolvePoints } from "./points.ts";
import { type ForwardResult, forwardResult } from "./result.ts";
import { type SweepResult, sweep } from "./sweep.ts";
import type { SweepOptions } from "./sweep-options.ts";

/** A loaded model with captures, edits and sweeps: what `loadModel` returns. Works with `using`. */
export class HookedModel extends LoadedModel {
  #closed = false;

  constructor(
    /** The model without hooks, for those who build passes of their own. */
    readonly base: Model,
    /** Edits that every pass of this view applies first. */
    readonly standing: readonly CheckedEdit[] = [],
    /** The view that this one was made in, whose end is this one's too. */
    private readonly outer?: HookedModel,
  ) {
    super(base);
  }

  /** The names of every point this model has, in the order of the forward pass. */
  pointNames(patterns: PointPattern | readonly PointPattern[] = "*"): string[] {
    return resolvePoints(this.spec, s.readArgument(PATTERNS, patterns, "pointNames", "patterns")).map(
      ({ name }) => name,
    );
  }

  /**
   * Runs the model with edits and captures. Nothing is read back; logits and captures stay on the GPU until read.
   * @throws HookError for a point that does not exist, an empty or impossible selection, a value of the wrong shape, a
   * destroyed cache; InputError and GpuError as `Model.forward`.
   */
  async forward(input: ModelInput, options: HookedForwardOptions = {}): Promise<ForwardResult> {
    return this.#forward("forward", input, s.readOptions(HOOKED_FORWARD_OPTIONS, options, "forward"), []);
  }

  /**
   * TransformerLens's spelling of a forward pass that captures: unless told, every point that the pass reaches but scores,
   * pattern, result, logits and the inputs of heads and MLPs.
   */
  async runWithCache(input: ModelInput, options: HookedForwardOptions = {}): Promise<ForwardResult> {
    const read = s.readOptions(HOOKED_FORWARD_OPTIONS, options, "runWithCache");
    const given = s.readArgument(MODEL_INPUT, input, "runWithCache", "input");
    const { startAtLayer } = isEmbeds(given) ? vectorsOf(given) : {};
    const reached = reachedPoints(this.spec, { startAtLayer, stopAtLayer: read.stopAtLayer });
    const usual = (name: string) => isUsual(resolvePoint(this.spec, name)) && reached.has(name);
    return this.#forward("runWithCache", input, { ...read, capture: read.capture ?? usual }, []);
  }

  /**
   * Runs with JavaScript hooks, called in the order of the forward pass. Each call waits for the GPU, copies the
   * activation to the host and what the hook made of it back: prefer `edits` for anything they can say. A hook may change
   * the array in place, as in PyTorch, or return another.
   */
  async runWithHooks(input: ModelInput, hooks: Hooks, options: HookedForwardOptions = {}): Promise<ForwardResult> {
    const read = s.readOptions(HOOKED_FORWARD_OPTIONS, options, "runWithHooks");
    return this.#forward("runWithHooks", input, read, s.readArgument(HOOKS, hooks, "runWithHooks", "hooks"));
  }

  /**
   * Runs `body` with a view of the model that applies `edits` in every pass. The view ends with `body`: it cannot leak
   * into later runs, and using it afterwards is an error.
   */
  async withEdits<T>(edits: Edit | readonly Edit[], body: (edited: HookedModel) => T | Promise<T>): Promise<T> {
    this.assertOpen();
    const read = s.readArgument(EDITS, edits, "withEdits", "edits");
    s.readArgument(s.callback, body, "withEdits", "body");
    const edited = new HookedModel(this.base, [...this.standing, ...read], this);
    try {
      return await body(edited);
    } finally {
      edited.#closed = true;
    }
  }

  /**
   * Generates text step by step, as `Model.generate`, with edits and captures. An abandoned iteration (`break`) frees
   * what it made.
   */
  async *generate(input: TokenInput, options: HookedGenerateOptions = {}): AsyncGenerator<HookedGenerateStep> {
    this.assertOpen();
    const read = s.readOptions(HOOKED_GENERATE_OPTIONS, options, "generate");
    const edits = [...this.standing, ...(read.edits ?? [])];
    const prompt = s.readArgument(TOKEN_INPUT, input, "generate", "input");
    for await (const step of generateHooked(this.base, prompt, { ...read, edits })) {
      yield step;
      this.assertOpen();
    }
  }

  /**
   * Log probability of each answer after a prompt, by the chain rule; see `Model.logProbs`.
   * @throws HookError `hook/unsupported` in a `withEdits` scope: answers run on forks that the edits do not know.
   */
  async logProbs(
    prompt: SequenceInput,
    answers: readonly SequenceInput[],
    options?: LogProbsOptions,
  ): Promise<AnswerLogProb[]> {
    this.assertOpen();
    if (this.standing.length > 0) {
      throw new HookError(
        "hook/unsupported",
        "logProbs does not apply the edits of withEdits(). Use forward() with the answer appended.",
      );
    }
    return this.base.logProbs(prompt, answers, options);
  }

  /**
   * Runs the model forwards and backwards: the gradient of a metric at every point `at`, for the model with its edits.
   *
   *     const { value, cache, grads } = await model.backward(ids, { metric: metric.logitDiff(5, 7), at: "*.hook_resid_pre" });
   *
   * @throws HookError as `forward`; `hook/metric` for a metric without a gradient, `hook/no-gradient` for an edit without
   * one, `hook/metric-value` for a metric that is NaN or infinite; InputError `input/backward-rows` for a sequence whose activations do not fit in one pass.
   */
  async backward(input: ModelInput, options: BackwardOptions): Promise<BackwardResult> {
    this.assertOpen();
    return backward(this.base, this.standing, input, options);
  }

  /**
   * A model with the same logits whose weights are folded and centred, as TransformerLens does by default: see `ProcessOptions`.
   * Where the unembedding is centred the logits of each position are shifted, and their probabilities are the same. Its weights
   * are copies in float32 on this model's device. It is destroyed apart, and before a model that requested the device.
   *
   *     using processed = await model.processed();
   *
   * @throws InputError `input/processing` for a step that this architecture does not allow; HookError `hook/unsupported` in
   * a `withEdits` scope; GpuError out of memory.
   */
  async processed(options: ProcessOptions = {}): Promise<HookedModel> {
    this.assertOpen();
    if (this.spec.modules)
      throw new HookError(
        "hook/unsupported",
        "A view with dictionaries cannot be processed: they are of the weights as they are. Process the model itself.",
      );
    if (this.standing.length > 0) {
      throw new HookError(
        "hook/unsupported",
        "processed does not apply the edits of withEdits(). Process the model itself, and edit the result.",
      );
    }
    return new HookedModel(new Model(await processedParts(this, options)));
  }

  /**
   * A view of the model with dictionaries spliced in: their features are points like any other, behind the names of their hooks.
   * The view shares the model's weights and edits, and is destroyed apart; that frees neither model nor dictionaries.
   *
   *     using spliced = model.withModules(sae);
   *     const edits = { at: `${sae.hook}.hook_sae_acts_post`, op: "zero", dims: [123] };
   *     using result = await spliced.forward(ids, { edits });
   *
   * @throws HookError `module/twice`, `module/device`, `module/destroyed`, `module/hook`; ConfigError `module/shape`
   */
  withModules(dictionaries: Dictionary | readonly Dictionary[], options: SpliceOptions = {}): HookedModel {
    this.assertOpen();
    const all = s.readArgument(DICTIONARIES, dictionaries, "withModules", "dictionaries");
    const { error = true } = s.readOptions(SPLICE_OPTIONS, options, "withModules");
    const { base } = this;
    for (const each of all) assertUsable(each, base.gpu);
    const spec = splicedSpec(base.spec, all, error);
    const weights = { ...base.engine.weights, modules: all.flatMap(weightsOf) };
    const parts = { ...base, spec, weights, ownsGpu: false };
    return new HookedModel(new Model(parts, [base.engine, ...all]), this.standing, this);
  }

  /** Runs many edited passes for the price of what the edits can change; see `sweep`. */
  sweep(options: SweepOptions): Promise<SweepResult> {
    return sweep(this, options);
  }

  async #forward(
    call: string,
    input: ModelInput,
    options: CheckedForwardOptions,
    hooks: readonly Hook[],
  ): Promise<ForwardResult> {
    this.assertOpen();
    return this.base.withInput(s.readArgument(MODEL_INPUT, input, call, "input"), options, async (ids, run) => {
      const plan = planPass(
        this.base,
        ids,
        run,
        { ...options, edits: [...this.standing, ...(options.edits ?? [])] },
        hooks,
      );
      try {
        const logits = await this.base.run(ids, { ...run, ...plan.run });
        return forwardResult(logits, plan.cache);
      } catch (error) {
        plan.cache.destroy();
        throw error;
      }
    });
  }

  /** @throws HookError `hook/scope-ended` for a view of a `withEdits` that has ended. */
  assertOpen(): void {
    this.outer?.assertOpen();
    if (this.#closed)
      throw new HookError(
        "hook/scope-ended",
        "This view of the model belonged to a withEdits() that has ended. Use the model itself.",
      );
  }
}

/** Loads a model from a folder, a URL prefix, `hf:owner/name[@revision]` or chosen files. */
export async function loadModel(source: ModelSource, options: LoadOptions = {}): Promise<HookedModel> {
  return new HookedModel(new Model(await loadParts(source, options)));
}
