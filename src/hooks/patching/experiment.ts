/** What all experiments share: their options, prompts as ids, and a metric that is one number. */
import { HookError, InputError } from "../../errors.ts";
import { type TextModel, TOKEN_INPUT, type TokenInput, toIds } from "../../model/input.ts";
import type { Logits } from "../../model/logits.ts";
import * as s from "../../schema/schema.ts";
import type { HookedModel } from "../hooked-model.ts";
import { METRIC_SCHEMA, type Metric, metric, metricWidth } from "../metrics.ts";
import { MEASURE_FIELDS, type SweepOptions } from "../sweep-options.ts";

/** What every experiment takes. */
export interface ExperimentOptions extends Pick<SweepOptions, "onProgress" | "signal" | "memoryBudget"> {
  /** One number a cell; `metric.logits` only of a single token. */
  metric: Metric;
  /** Position whose logits are measured; negative from the end. Default -1. */
  metricPosition?: number;
}

export const EXPERIMENT_FIELDS = {
  ...MEASURE_FIELDS,
  metric: s.required(METRIC_SCHEMA),
  metricPosition: s.whole,
} as const satisfies s.Fields<ExperimentOptions>;

/** A prompt of an experiment: text or ids, since its positions are tokens. */
export const PROMPT: s.Schema<TokenInput> = s.required(TOKEN_INPUT);

/** The part of a sweep's options that experiments hand on. */
export function sweepOptions(options: Omit<ExperimentOptions, "metric">): Partial<SweepOptions> {
  const { onProgress, signal, memoryBudget, metricPosition: position = -1 } = options;
  return { onProgress, signal, memoryBudget, position };
}

/** @throws HookError `hook/metric` for a metric of several columns. */
export function assertOneColumn(chosen: Metric): void {
  const columns = metricWidth(chosen);
  if (columns === 1) return;
  throw new HookError(
    "hook/metric",
    `An experiment measures one number a cell; metric ${chosen.kind} gives ${columns}. Use model.sweep for several.`,
  );
}

/** `kl()` without a reference compares with the clean run, whose logits these are; other metrics stay as they are. */
export async function againstClean(chosen: Metric, clean: Logits, prompt = 0): Promise<Metric> {
  return chosen.kind === "kl" && !chosen.reference ? metric.kl(await clean.at(prompt, -1)) : chosen;
}

/**
 * The metric of each prompt, each one number a cell.
 * @throws HookError `hook/metric` for lists that are not one for each prompt
 */
export function metricsOfPrompts(given: readonly Metric[], prompts: number): Metric[] {
  given.forEach(assertOneColumn);
  const [only] = given;
  if (only && given.length === 1) return Array.from({ length: prompts }, () => only);
  if (given.length === prompts) return [...given];
  throw new HookError(
    "hook/metric",
    `There are ${given.length} metrics for ${prompts} prompts. Give one for each prompt, or one for all.`,
  );
}

/** Token ids of the one sequence of `input`. `what` names it in errors. */
export function sequenceOf(model: TextModel, input: TokenInput, what: string): number[] {
  const sequences = toIds(input, model);
  if (sequences.length === 1) return sequences[0] as number[];
  throw new InputError(
    "input/experiment",
    `${what} is one sequence, not ${sequences.length}. Run one experiment for each.`,
  );
}

/**
 * Pairs of prompts, clean and corrupted ones in the same order.
 * @throws HookError as `checkPair`, InputError `input/experiment`
 */
export function promptPairs(
  model: TextModel,
  options: { clean: TokenInput; corrupted: TokenInput },
): { clean: number[]; corrupted: number[] }[] {
  const [clean, corrupted] = [toIds(options.clean, model), toIds(options.corrupted, model)];
  if (clean.length !== corrupted.length)
    throw new InputError(
      "input/experiment",
      `There are ${clean.length} clean prompts and ${corrupted.length} corrupted ones. Give pairs.`,
    );
  return clean.map((ids, pair) => {
    const others = corrupted[pair] as number[];
    const which = clean.length > 1 ? ` of pair ${pair}` : "";
    checkPair(`clean prompt${which}`, ids, "corrupted one", others);
    return { clean: ids, corrupted: others };
  });
}

/** Token ids of two prompts. @throws HookError as `checkPair` */
export function promptPair(
  model: TextModel,
  options: { clean: TokenInput; corrupted: TokenInput },
): { clean: number[]; corrupted: number[] } {
  const clean = sequenceOf(model, options.clean, "clean");
  const corrupted = sequenceOf(model, options.corrupted, "corrupted");
  checkPair("clean prompt", clean, "corrupted one", corrupted);
  return { clean, corrupted };
}

/**
 * Checks that two prompts agree position by position, and differ in a token: else nothing differs, and every answer is 0.
 * @throws HookError `hook/patch-length`, `hook/same-prompts`
 */
export function checkPair(one: string, ids: readonly number[], other: string, others: readonly number[]): void {
  if (ids.length !== others.length)
    throw new HookError(
      "hook/patch-length",
      `The ${one} has ${ids.length} tokens, the ${other} ${others.length}. Patching needs prompts that agree position by position; reword one.`,
    );
  if (ids.some((id, position) => id !== others[position])) return;
  throw new HookError(
    "hook/same-prompts",
    `The ${one} and the ${other} are the same tokens, so that every score would be 0. Give a prompt that differs.`,
  );
}

/** Prompts at which values are taken, each long enough to have every position. */
export function referencePrompts(
  model: HookedModel,
  input: TokenInput | undefined,
  kind: string,
  positions: readonly number[],
): number[][] {
  if (input === undefined)
    throw new HookError(
      "hook/no-reference",
      `${kind} ablation takes values from other prompts. Give them as reference.`,
    );
  const prompts = toIds(input, model);
  const last = Math.max(-1, ...positions);
  const short = prompts.findIndex(({ length }) => length <= last);
  if (short < 0) return prompts;
  throw new HookError(
    "hook/reference-length",
    `Reference prompt ${short} has ${prompts[short]?.length} tokens; position ${last} is ablated. Use prompts of at least ${last + 1} tokens, or fewer positions.`,
  );
}
