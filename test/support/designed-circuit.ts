/**
 * A constructed transformer whose circuit is known, two prompts for it that differ in the examples' labels, and the edges that
 * the label runs through. Runs on every host.
 */
import { metric } from "../../src/index.ts";
import { buildSuperposition } from "../../src/theory/build.ts";
import { retrieval } from "../../src/theory/presets/retrieval.ts";
import { encodePrompt } from "../../src/theory/prompts.ts";

export const built = buildSuperposition(retrieval({ symbols: ["x", "y", "z"], inputs: 2 }), { examples: 2 });
const prompt = (...words: string[]) =>
  encodePrompt(built.program, 2, {
    examples: words.slice(0, 2).map((word) => [...word]),
    query: [...(words[2] as string)],
  });

// Examples xy -> x and zy -> z: the first input is asked for. Corrupted, the labels are y: the second.
const clean = prompt("xyx", "zyz", "xy");
const corrupted = prompt("xyy", "zyy", "xy");
const id = (word: string) => built.vocabulary.indexOf(word);
export const PROMPTS = { clean, corrupted, metric: metric.logitDiff(id("x"), id("y")) };

/** What the label runs through: it is matched with each task, weighed, and picks the answer. */
const { match, weigh, logit, superpose, log } = built.stages as Record<string, number>;
export const PATH = [
  ...[0, 1].flatMap((head) => [
    `input->a${match}.h${head}<q>`,
    `a${match}.h${head}->a${weigh}.h${head}<v>`,
    `a${weigh}.h${head}->m${logit}`,
    `m${logit}->a${superpose}.h${head}<q>`,
    `a${superpose}.h${head}->m${log}`,
  ]),
  `m${log}->logits`,
];
