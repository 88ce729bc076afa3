/**
 * `--metric "logitDiff(5,7)"`: a metric as it is called in a program. A token is an id, or a text that is exactly one token.
 * A text's spaces count: `logitDiff( Paris, Rome)` is about " Paris" and " Rome". Quotes hold what else would be an id or two
 * tokens: `logit(" 5")`, `logit(",")`.
 */
import { InvalidArgumentError, Option } from "commander";
import { type Metric, metric } from "../hooks/metrics.ts";
import { requireTokenizer, type TextModel } from "../model/input.ts";
import { nearestNames } from "../schema/nearest.ts";

/** A metric whose texts are still to become ids. */
export interface MetricOption {
  name: MetricName;
  tokens: (number | string)[];
  /** As it was written. */
  text: string;
}

type MetricName = keyof typeof MAKERS;

/** A metric of some tokens; how many is the number of arguments. */
const MAKERS = {
  logit: (token: number) => metric.logit(token),
  logitDiff: (a: number, b: number) => metric.logitDiff(a, b),
  logProb: (token: number) => metric.logProb(token),
  prob: (token: number) => metric.prob(token),
  rank: (token: number) => metric.rank(token),
  kl: () => metric.kl(),
  loss: () => metric.loss(),
} as const;

const NAMES = Object.keys(MAKERS) as MetricName[];

/** What each takes, with tokens a and b: `logit(a), logitDiff(a,b), …`. */
const shapeOf = (name: MetricName) => ["", "(a)", "(a,b)"].map((tokens) => `${name}${tokens}`)[MAKERS[name].length];

/** The option, for metrics of these names. */
export function metricOption(names: readonly MetricName[]): Option {
  const meaning = `what is measured: ${names.map(shapeOf).join(", ")}; tokens are ids or texts of one token`;
  return new Option("--metric <metric>", meaning).argParser((text) => parseMetric(text, names)).makeOptionMandatory();
}

/** Parses `name(token, token)`. `names` are those that an error suggests; others are for the library to refuse, with a reason. */
function parseMetric(text: string, names: readonly MetricName[]): MetricOption {
  const [, word, inside] = /^\s*(\w+)\s*(?:\((.*)\))?\s*$/s.exec(text) ?? [];
  const name = NAMES.find((known) => known === word);
  if (!name) {
    const near =
      word === undefined ? "It is written as logitDiff(5,7)." : `The nearest is ${nearestNames(word, names)}.`;
    throw new InvalidArgumentError(`It must be one of ${names.map(shapeOf).join(", ")}. ${near}`);
  }
  const tokens = inside?.trim() ? inside.split(COMMA).map(readToken) : [];
  if (tokens.length === MAKERS[name].length) return { name, tokens, text };
  throw new InvalidArgumentError(`It has ${tokens.length} tokens; it must be ${shapeOf(name)}.`);
}

/** A comma that is not in quotes: quotes that open after it close again. */
const COMMA = /,(?=(?:[^"]|"(?:[^"\\]|\\.)*")*$)/;

function readToken(part: string): number | string {
  const word = part.trim();
  if (word === "") throw new InvalidArgumentError("A token is empty. Give ids, or texts with commas between them.");
  if (/^\d+$/.test(word)) return Number(word);
  if (!/^".*"$/s.test(word)) return part;
  try {
    return JSON.parse(word) as string;
  } catch {
    throw new InvalidArgumentError(`${word} is no text in quotes, as JSON writes it.`);
  }
}

/**
 * The metric for a model.
 * @throws InputError `tokenizer/not-one-token`, `input/no-tokenizer` for a text
 */
export function resolveMetric({ name, tokens }: MetricOption, model: TextModel): Metric {
  const idOf = (text: string) => requireTokenizer(model, "Give the token's id.").singleToken(text);
  const ids = tokens.map((token) => (typeof token === "number" ? token : idOf(token)));
  return (MAKERS[name] as (...ids: number[]) => Metric)(...ids);
}
