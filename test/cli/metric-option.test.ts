/** `--metric` as text: ids, texts of one token whose spaces count, and quotes. */
import { InvalidArgumentError } from "commander";
import { beforeAll, describe, expect, it } from "vitest";
import { type MetricOption, metricOption, resolveMetric } from "../../src/cli/metric-option.ts";
import { type Metric, metric } from "../../src/hooks/metrics.ts";
import { loadTokenizer, type Tokenizer } from "../../src/tokenizer/index.ts";
import { memorySource } from "../tokenizer/fixtures.ts";

const OPTION = metricOption(["logit", "logitDiff", "loss"]);
const parse = (text: string) => OPTION.parseArg?.(text, undefined as never) as unknown as MetricOption;

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = (await loadTokenizer(memorySource({}), { modelType: "gpt2", vocabSize: 50_257 })) as Tokenizer;
});

describe("--metric", () => {
  const [paris, rome, five, comma, quote] = [6342, 10598, 642, 11, 1];
  it.each<[text: string, expected: Metric]>([
    ["logit(5)", metric.logit(5)],
    ["logitDiff(5,7)", metric.logitDiff(5, 7)],
    [" logitDiff ( 5, 7 ) ", metric.logitDiff(5, 7)],
    ["logitDiff( Paris, Rome)", metric.logitDiff(paris, rome)],
    ['logitDiff(" Paris", 7)', metric.logitDiff(paris, 7)],
    ['logProb(" 5")', metric.logProb(five)],
    ['logitDiff(",",5)', metric.logitDiff(comma, 5)],
    ['logitDiff(5,"\\"")', metric.logitDiff(5, quote)],
    ['logitDiff(",5)', metric.logitDiff(quote, 5)],
    ["rank(5)", metric.rank(5)],
    ["kl", metric.kl()],
    ["kl()", metric.kl()],
    ["loss", metric.loss()],
  ])("%s", (text, expected) => {
    expect(tokenizer.tokenText(paris)).toBe(" Paris");
    expect(resolveMetric(parse(text), { tokenizer })).toEqual(expected);
  });

  it.each<[text: string, message: RegExp]>([
    ["", /one of logit\(a\), logitDiff\(a,b\), loss\. It is written as logitDiff\(5,7\)/],
    ["logitDif(5,7)", /The nearest is logitDiff/],
    ["logit", /has 0 tokens; it must be logit\(a\)/],
    ["logit(5,6)", /has 2 tokens; it must be logit\(a\)/],
    ["logitDiff(5,)", /A token is empty/],
    ['logit("\\x")', /no text in quotes/],
  ])("refuses %j", (text, message) => {
    expect(() => parse(text)).toThrow(InvalidArgumentError);
    expect(() => parse(text)).toThrow(message);
  });

  it("refuses a text of several tokens", () => {
    expect(() => resolveMetric(parse("logit( Paris Rome)"), { tokenizer })).toThrow(/2 tokens: " Paris", " Rome"/);
  });
});
