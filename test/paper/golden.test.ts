/**
 * Mixed prompts with the paper's four settings, and what transformers says of their answers with TinyStories-656K, in float32: by
 * the chain rule over an answer's tokens. Where the model is not at hand the test says so and checks nothing.
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { loadModel } from "../../src/hooks/index.ts";
import { answerProbabilities, type PromptProbabilities } from "../../src/paper/answers.ts";
import type { Tokenizer } from "../../src/tokenizer/index.ts";
import { testGpu } from "../support/gpu.ts";

const FOLDER = fileURLToPath(new URL("../../../shared/models/TinyStories-656K", import.meta.url));

interface Case {
  setting: string;
  prompt: string;
  promptIds: number[];
  answers: { answer: string; ids: number[]; logProb: number }[];
}
const { cases }: { cases: Case[] } = JSON.parse(
  readFileSync(new URL("../fixtures/paper/transformers-answers.json", import.meta.url), "utf8"),
);

/** "+", "@" and "=": tokenizer.json has no token for them and says <unk>, which transformers 5 leaves out. */
const UNKNOWN = 0;

it("answers of mixed prompts have transformers' log probabilities, by token ids and as text", async () => {
  if (!existsSync(FOLDER))
    return console.warn(`Put TinyStories-656K (a Llama of 656 thousand parameters) into ${FOLDER} to check it.`);
  using model = await loadModel(FOLDER, { gpu: await testGpu(), dtype: "float32" });
  const encode = ({ prompt }: Case) => (model.tokenizer as Tokenizer).encode(prompt, { addBos: false });
  for (const one of cases) expect(encode(one).filter((id) => id !== UNKNOWN)).toEqual(one.promptIds);
  const known = cases.filter((one) => !encode(one).includes(UNKNOWN));
  expect(new Set(known.map(({ setting }) => setting))).toEqual(new Set(["countries", "letters"]));

  const byIds = cases.map(({ promptIds, answers }) => ({ prompt: promptIds, answers: answers.map(({ ids }) => ids) }));
  const asText = known.map(({ prompt, answers }) => ({ prompt, answers: answers.map(({ answer }) => answer) }));
  compare(cases, await answerProbabilities(model, byIds));
  compare(known, await answerProbabilities(model, asText, { addBos: false }));
});

function compare(expected: readonly Case[], found: readonly PromptProbabilities[]): void {
  for (const [index, { setting, answers }] of expected.entries())
    for (const [number, { answer, ids, logProb }] of answers.entries()) {
      const ours = found[index]?.answers[number];
      expect(ours?.tokens, `${setting} ${index}: ${answer}`).toEqual(ids);
      expect(Math.abs((ours?.logProb as number) - logProb), `${setting} ${index}: ${answer}`).toBeLessThan(1e-4);
    }
}
