/**
 * What a list of mixed prompts shows. Means alone mislead: one half and one half on average is as well a model that superposes
 * in every prompt as one that picks a task in each. So a report says what happens within prompts, too.
 */
import * as s from "../schema/schema.ts";
import { PaperError } from "./errors.ts";
import type { Measured } from "./measure.ts";
import { PROMPT, type Prompt } from "./prompts.ts";

/** A task, or a role of which the task differs from prompt to prompt. */
export interface RoleReport {
  /** The part of examples it had. */
  readonly share: number;
  readonly mean: number;
  /** Standard deviation over the prompts. */
  readonly spread: number;
}

/** What a model answers to prompts that mix tasks, over many of them. */
export interface MixtureReport {
  readonly prompts: number;
  readonly roles: readonly RoleReport[];
  /** Mean of the smallest of a prompt's probabilities. */
  readonly smaller: number;
  /** The part of prompts in which every task has at least a fifth of its share. */
  readonly fair: number;
  /** The part of prompts in which every task has more than 0.2. */
  readonly allAboveFifth: number;
  /** Mean probability of all that no task answers. */
  readonly other: number;
  /** Mean over prompts of KL(shares || probabilities), in nats; what goes to other answers counts against the model. */
  readonly kl: number;
  /** The part of prompts whose K answers are the K likeliest tokens. Undefined where an answer has several tokens. */
  readonly topK: number | undefined;
}

const PROMPTS = s.list("prompts, of evaluationPrompts()", PROMPT);
/** The part of what was measured that is summed up. Without `other`, no answer may begin another. */
type Ranked = Pick<Measured, "probabilities" | "ranks"> & Partial<Pick<Measured, "other">>;

const MEASURED = s.list("what measurePrompts() gave", s.madeObject<Ranked>("a measured prompt", "probabilities"));

/** Sums up prompts with the same shares. */
export function mixtureReport(
  prompts: readonly Prompt[],
  measured: readonly (Pick<Measured, "probabilities" | "ranks"> & Partial<Pick<Measured, "other">>)[],
): MixtureReport {
  const [first] = s.readArgument(PROMPTS, prompts, "mixtureReport", "prompts");
  const rows = s.readArgument(MEASURED, measured, "mixtureReport", "measured");
  if (first === undefined || rows.length !== prompts.length)
    throw new PaperError(
      "paper/prompt",
      `mixtureReport got ${prompts.length} prompts and ${rows.length} measured ones. It takes one or more, and as many of the other.`,
    );
  const { shares } = first;
  const over = (value: (row: Ranked) => number) => rows.reduce((sum, row) => sum + value(row), 0) / rows.length;
  const part = (holds: (row: Ranked) => boolean) => over((row) => Number(holds(row)));
  const everyRole = (row: Ranked, holds: (p: number, share: number) => boolean) =>
    row.probabilities.every((p, role) => holds(p, shares[role] as number));
  return {
    prompts: rows.length,
    roles: shares.map((share, role) => {
      const mean = over((row) => row.probabilities[role] as number);
      return { share, mean, spread: Math.sqrt(over((row) => ((row.probabilities[role] as number) - mean) ** 2)) };
    }),
    smaller: over(({ probabilities }) => Math.min(...probabilities)),
    fair: part((row) => everyRole(row, (p, share) => p >= share / 5)),
    allAboveFifth: part((row) => everyRole(row, (p) => p > 0.2)),
    other: over(({ probabilities, other = 1 - probabilities.reduce((sum, p) => sum + p, 0) }) => other),
    kl: over(({ probabilities }) => divergence(shares, probabilities)),
    topK: rows.some(({ ranks }) => ranks === undefined)
      ? undefined
      : part(({ ranks }) => (ranks as number[]).every((rank) => rank < shares.length)),
  };
}

/** KL(shares || probabilities) = sum of share * log(share / p); a probability of 0 counts as the smallest that float32 tells from it. */
function divergence(shares: readonly number[], probabilities: readonly number[]): number {
  return shares.reduce((sum, share, role) => {
    if (share === 0) return sum;
    return sum + share * Math.log(share / Math.max(probabilities[role] as number, 1e-38));
  }, 0);
}
