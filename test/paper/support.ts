/** Subjects that tests of figures share: a small trained model, and a family of tasks that the construction is built for at once. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type HookedModel, loadModel } from "../../src/hooks/index.ts";
import { lookUp, type TaskFamily } from "../../src/paper/tasks/family.ts";
import { Vocabulary } from "../../src/paper/tasks/vocabulary.ts";
import type { Tokenizer } from "../../src/tokenizer/index.ts";
import { LETTERS } from "../generate/support.ts";
import { testGpu } from "../support/gpu.ts";

/** A trained model with its vocabulary; the caller destroys it. */
export async function trained(name = "lc-d16-l2-h2"): Promise<{ model: HookedModel; vocabulary: Vocabulary }> {
  const folder = fileURLToPath(new URL(`../fixtures/paper/${name}`, import.meta.url));
  const vocabulary = Vocabulary.fromJson(JSON.parse(readFileSync(join(folder, "vocab.json"), "utf8")));
  return { model: await loadModel(folder, { gpu: await testGpu() }), vocabulary };
}

const COLOURS = ["red", "green", "black", "white", "blue"];
const shifted = (by: number) =>
  new Map(COLOURS.map((colour, index) => [colour, COLOURS[(index + by) % COLOURS.length] as string]));

/** `red>green`: the colour itself, the next one, the one after that. All differ on every input. */
export const WHEEL: TaskFamily = {
  name: "wheel",
  inputs: [{ values: COLOURS, after: ">" }],
  tasks: [0, 1, 2].map((by) => lookUp(`next ${by}`, shifted(by), ([colour = ""]) => colour)),
};

/** Letters, of which one is the line break, and one stands for all that others have. */
export const LINES: Tokenizer = {
  ...LETTERS,
  encode: (text) => Array.from(text, (c) => (c === "\n" ? 94 : c < "~" && c >= " " ? c.charCodeAt(0) - 32 : 93)),
  decode: (ids) => ids.map((id) => LINES.tokenText(id)).join(""),
  tokenText: (id) => (id === 94 ? "\n" : LETTERS.tokenText(id)),
};

/** Probabilities of what follows each of some sequences, in doubles. */
export async function nextOf(model: HookedModel, sequences: readonly number[][]): Promise<number[][]> {
  using run = await model.forward(sequences, { logits: "last" });
  return Promise.all(
    sequences.map(async (_, row) => {
      const logits = [...(await run.logits.at(row, -1))];
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      return logits.map((logit) => Math.exp(logit) / total);
    }),
  );
}
