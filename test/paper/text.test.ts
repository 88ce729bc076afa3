/** Figures on a model with a tokenizer, which is asked the paper's own prompts as text. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/checkpoint/index.ts";
import { HookedModel } from "../../src/hooks/index.ts";
import type { AnyFigure, Summary } from "../../src/paper/figure.ts";
import type { MixedSettings } from "../../src/paper/figures/mixed.ts";
import { MIXTURES } from "../../src/paper/figures/mixtures.ts";
import {
  countsOf,
  equalShares,
  evaluationPrompts,
  FIGURES,
  figureOf,
  promptText,
  runFigure,
  type Subject,
  taskFamily,
} from "../../src/paper/index.ts";
import { loadChanged } from "../support/fixtures.ts";
import "../support/host.ts";
import { byDay } from "../support/nightly.ts";
import { LINES, nextOf } from "./support.ts";

let subject: Subject;
beforeAll(async () => {
  const base = await loadChanged("llama", { max_position_embeddings: 256 });
  Object.assign(base, { tokenizer: LINES });
  subject = { model: new HookedModel(base), vocabulary: undefined };
});
afterAll(() => subject.model.destroy());

/** A figure of few short prompts, of a family that is written in ASCII. */
async function summaryOf(figure: AnyFigure): Promise<Summary> {
  const few = {
    ...figure,
    settings: async (...given: Parameters<AnyFigure["settings"]>) => ({
      ...((await figure.settings(...given)) as MixedSettings),
      families: ["words"],
      examples: { words: 4 },
      prompts: 4,
    }),
  } as AnyFigure;
  return (await runFigure(few, subject, { store: new MemoryStore(), quick: true })) as Summary;
}

/** These are for models that are presets. */
const OWN = ["seeds", "purity"];
const SHARED = FIGURES.filter(({ name }) => !OWN.includes(name));
/** Compiled for seconds; on a preset they run by day, too (test/paper/runs.test.ts). */
const LONG = ["steer", "cost", "heads", "top-k"];

describe("a figure", () => {
  it.each(byDay(SHARED, ({ name }) => !LONG.includes(name)))(
    "$name has numbers, and says that the context had room for less",
    async (figure) => {
      const { table, plots, sentence } = await summaryOf(figure);
      expect(table.rows.flat()).toContain("words");
      for (const row of table.rows) for (const value of row) expect(value).not.toBeNaN();
      for (const { picture } of plots) expect(await picture.svg()).not.toMatch(/NaN|undefined|Infinity/);
      expect(sentence).toMatch(/The context had room for fewer examples: 4 instead of \d+ for words/);
    },
  );

  it("says of a model that does no task that it does none", async () => {
    expect((await summaryOf(figureOf("lambda"))).sentence).toMatch(
      /^words, random pairs: other answers have [01]\.\d+ at one half/,
    );
    expect((await summaryOf(figureOf("heads"))).sentence).toMatch(/^words: 0 of 0 tasks that take part have a head/);
  });
});

it("mixtures has the chain rule's probability of each answer, whatever begins another", async () => {
  const store = new MemoryStore();
  const settings = { ...(await MIXTURES.settings(subject, { quick: true })), families: ["arithmetic"], prompts: 4 };
  const summary = await runFigure({ ...MIXTURES, settings: async () => settings } as AnyFigure, subject, { store });
  const counts = countsOf(equalShares(3), settings.examples.arithmetic as number);
  const prompts = evaluationPrompts(taskFamily("arithmetic", "pretrained"), { counts, tasks: [0, 1, 2], count: 4 });
  const sums = [0, 0, 0];
  for (const prompt of prompts) {
    const start = LINES.encode(promptText(prompt));
    for (const [role, answer] of prompt.answers.entries()) {
      const ids = LINES.encode(answer);
      const nexts = await nextOf(
        subject.model,
        ids.map((_, at) => [...start, ...ids.slice(0, at)]),
      );
      const probability = ids.reduce((product, id, at) => product * (nexts[at]?.[id] as number), 1);
      sums[role] = (sums[role] as number) + probability / prompts.length;
    }
  }
  const rows = summary?.table.rows ?? [];
  expect(rows.map(([, task]) => task)).toEqual(["copy a", "copy b", "a + b"]);
  for (const [role, row] of rows.entries()) expect((row[3] as number) / (sums[role] as number)).toBeCloseTo(1, 3);
});
