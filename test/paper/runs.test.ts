/** Runs of figures: interrupted, sharded, merged; and two figures on a small trained model. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MemoryStore, readText } from "../../src/checkpoint/store.ts";
import { type HookedModel, loadModel } from "../../src/hooks/index.ts";
import type { AnyFigure, Comparison, Figure } from "../../src/paper/figure.ts";
import { FIGURES, figureOf } from "../../src/paper/figures/index.ts";
import { cellText, tableOf } from "../../src/paper/page.ts";
import { evaluationPrompts, promptIds } from "../../src/paper/prompts.ts";
import { type CellProgress, mergeRun, runFigure } from "../../src/paper/runs.ts";
import { type Subject, SubjectList } from "../../src/paper/subjects.ts";
import { taskFamily } from "../../src/paper/tasks/index.ts";
import { Vocabulary } from "../../src/paper/tasks/vocabulary.ts";
import { heatMap } from "../../src/pictures/index.ts";
import { testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";

const MODEL = fileURLToPath(new URL("../fixtures/paper/lc-d16-l2-h2", import.meta.url));

/** Squares of numbers: needs no model. `fails` is the cell at which it breaks off. */
function squares({ upTo = 5, fails = -1 } = {}) {
  const ran: number[] = [];
  const figure: Figure<{ upTo: number }, { id: string; n: number }, number> = {
    name: "squares",
    asks: "How large are squares?",
    paper: "Not negative.",
    settings: async () => ({ upTo }),
    cells: (settings) => Array.from({ length: settings.upTo }, (_, n) => ({ id: `n-${n}`, n })),
    run: async ({ n }) => {
      if (n === fails) throw new Error("lights out");
      ran.push(n);
      return n * n;
    },
    summarise: (_, results) => ({
      table: { columns: ["n", "a, b"], rows: results.map(({ cell, result }) => [cell.n, result]) },
      plots: [{ name: "plot", picture: heatMap([[1]]) }],
      sentence: "They are <not> negative.",
      verdict: "agrees",
    }),
  };
  return { figure: figure as unknown as Figure, ran };
}

let model: HookedModel;
let subject: Subject;
beforeAll(async () => {
  model = await loadModel(MODEL, { gpu: await testGpu() });
  const vocabulary = Vocabulary.fromJson(JSON.parse(await readFile(join(MODEL, "vocab.json"), "utf8")));
  subject = { model, vocabulary };
});
afterAll(() => model.destroy());

/** All files of a store by name, in order. */
async function textsOf(store: MemoryStore): Promise<Map<string, string>> {
  const names = await store.source().list?.();
  const texts = (names ?? []).sort().map(async (name) => [name, await readText(store, name)] as [string, string]);
  return new Map(await Promise.all(texts));
}

describe("a run", () => {
  it("goes on where it was interrupted", async () => {
    const store = new MemoryStore();
    await expect(runFigure(squares({ fails: 3 }).figure, subject, { store })).rejects.toThrow("lights out");
    const { figure, ran } = squares();
    const summary = await runFigure(figure, subject, { store });
    expect(ran).toEqual([3, 4]);
    expect(summary?.table.rows).toEqual([
      [0, 0],
      [1, 1],
      [2, 4],
      [3, 9],
      [4, 16],
    ]);
    expect(await readText(store, "results.csv")).toBe('n,"a, b"\n0,0\n1,1\n2,4\n3,9\n4,16\n');
    expect(await readText(store, "index.html")).toContain("They are &lt;not&gt; negative.");
  });

  it("in shards gives the same files as a whole one; what is missing is named", async () => {
    const whole = new MemoryStore();
    await runFigure(squares().figure, subject, { store: whole });
    const store = new MemoryStore();
    expect(await runFigure(squares().figure, subject, { store, shard: { index: 1, count: 2 } })).toBeUndefined();
    await expect(mergeRun([squares().figure], store)).rejects.toMatchObject({
      code: "paper/missing-cells",
      message: expect.stringContaining("3 of 5 cells are missing in files in memory: n-0, n-2, n-4."),
    });
    const { figure, ran } = squares();
    await runFigure(figure, subject, { store, shard: { index: 0, count: 2 } });
    expect(ran).toEqual([0, 2, 4]);
    await mergeRun([figure], store);
    expect(await textsOf(store)).toEqual(await textsOf(whole));
  });

  it("of other settings is refused, and what is there is kept", async () => {
    const store = new MemoryStore();
    await runFigure(squares().figure, subject, { store });
    const before = await textsOf(store);
    await expect(runFigure(squares({ upTo: 6 }).figure, subject, { store })).rejects.toMatchObject({
      code: "paper/other-run",
    });
    expect(await textsOf(store)).toEqual(before);
    await expect(runFigure(squares().figure, subject, { store, shard: { index: 2, count: 2 } })).rejects.toMatchObject({
      code: "paper/shard",
    });
    await expect(mergeRun([], store)).rejects.toMatchObject({ code: "paper/figure" });
    await expect(mergeRun([], new MemoryStore())).rejects.toMatchObject({ code: "paper/no-run" });
  });

  it("goes on on another machine, where the model lies in another folder", async () => {
    const store = new MemoryStore();
    const { figure, ran } = squares();
    const of = (label: string) => ({ ...figure, settings: async () => ({ upTo: 5, model: { label } }) });
    await runFigure(of("/home/a/lc"), subject, { store, shard: { index: 0, count: 2 } });
    await runFigure(of("D:\\models\\lc"), subject, { store });
    expect(ran).toEqual([0, 2, 4, 1, 3]);
    for (const other of ["/home/a/mini", "hf:a/lc"])
      await expect(runFigure(of(other), subject, { store })).rejects.toMatchObject({ code: "paper/other-run" });
  });

  it("reports progress and ends with the signal", async () => {
    const seen: number[][] = [];
    const stop = new AbortController();
    const onProgress = ({ done, total }: CellProgress) => {
      seen.push([done, total]);
      if (done === 2) stop.abort(new Error("enough"));
    };
    const { figure, ran } = squares();
    await expect(
      runFigure(figure, subject, { store: new MemoryStore(), onProgress, signal: stop.signal }),
    ).rejects.toThrow("enough");
    expect(seen).toEqual([
      [1, 5],
      [2, 5],
    ]);
    expect(ran).toEqual([0, 1]);
  });

  it("keeps its files in a folder, whole or not at all, and says when it cannot", async () => {
    const folder = await mkdtemp(join(tmpdir(), "superlens-paper-"));
    try {
      await runFigure(squares().figure, subject, { store: folder });
      expect((await readdir(folder)).sort()).toEqual([
        "cells",
        "index.html",
        "plot.svg",
        "results.csv",
        "results.json",
        "run.json",
      ]);
      expect(JSON.parse(await readFile(join(folder, "results.json"), "utf8")).verdict).toBe("agrees");
      // A file where a folder should be cannot be read or written by anybody, root included.
      const inFile = join(folder, "run.json");
      const refused = { code: "checkpoint/no-folder", message: expect.stringContaining(inFile) };
      await expect(runFigure(squares().figure, subject, { store: inFile })).rejects.toMatchObject(refused);
      await expect(mergeRun([squares().figure], inFile)).rejects.toMatchObject(refused);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

/** Adds numbers to what a model is called by; needs no weights. */
const SUMS: Comparison<{ of: number }, { id: string; n: number }, number> = {
  name: "sums",
  asks: "How do sums compare?",
  paper: "They grow.",
  settings: async (subject) => ({ of: Number(subject.model.label) }),
  cells: () => [0, 1].map((n) => ({ id: `n-${n}`, n })),
  run: async ({ n }, { of }, { model }) => {
    if (Number(model.label) !== of) throw new Error("another model's settings");
    return of + n;
  },
  compare: (models) => ({
    table: {
      columns: ["of", "first", "second"],
      rows: models.map(({ settings, results }) => [settings.of, ...results.map(({ result }) => result)]),
    },
    plots: [],
    sentence: "They grow.",
    verdict: "agrees",
  }),
};

it("numbers of a table are short, and small ones are not 0", () => {
  const shown = ["all <3", 7, 0, 0.12345, -0.5, 1.7e-5, Number.NaN].map(cellText);
  expect(shown).toEqual(["all <3", "7", "0", "0.123", "-0.500", "1.7e-5", "NaN"]);
  expect(tableOf({ columns: ["a"], rows: [["all <3"], [1.7e-5]] })).toContain(
    "<td>all &lt;3</td></tr><tr><td>1.7e-5</td>",
  );
});

describe("a comparison", () => {
  const figure = SUMS as unknown as AnyFigure;
  /** Which models were asked for, in order. */
  const asked: number[] = [];
  const at = async (index: number) => {
    asked.push(index);
    return { model: { label: String(10 * (index + 1)) } } as Subject;
  };

  it("measures each model by its own settings, also in shards, and sums up all", async () => {
    const whole = new MemoryStore();
    const summary = await runFigure(figure, { count: 3, at }, { store: whole });
    expect(summary?.table.rows).toEqual([
      [10, 10, 11],
      [20, 20, 21],
      [30, 30, 31],
    ]);
    expect(asked).toEqual([0, 1, 2, 0, 0, 1, 1, 2, 2]);
    const store = new MemoryStore();
    for (const index of [1, 0]) await runFigure(figure, { count: 3, at }, { store, shard: { index, count: 2 } });
    expect([...(await textsOf(store)).keys()]).toContain("cells/2-n-1.json");
    expect(await mergeRun([figure], store)).toEqual(summary);
    const fewer = runFigure(figure, { count: 2, at }, { store });
    await expect(fewer).rejects.toMatchObject({ code: "paper/other-run" });
  });

  it("is what several models are for", async () => {
    const alone = runFigure(squares().figure, { count: 2, at }, { store: new MemoryStore() });
    await expect(alone).rejects.toMatchObject({ code: "paper/one-model" });
  });

  it("has one model in memory at a time", async () => {
    const gpu = await testGpu();
    using list = new SubjectList([MODEL, MODEL], (source) => loadModel(source, { gpu }));
    const first = await list.at(0);
    expect((await list.at(0)).model).toBe(first.model);
    expect(first.vocabulary?.tokens).toContain("one\n");
    const second = await list.at(1);
    await expect(first.model.forward([[1]])).rejects.toMatchObject({ code: "input/model-destroyed" });
    using run = await second.model.forward([[1]]);
    expect(run.logits.shape[0]).toBe(1);
  });
});

describe("figures", () => {
  /** `seeds` trains models of its own, see comparisons.test.ts; `decode` takes answers of several tokens, see decode.test.ts. */
  const asked = FIGURES.map(({ name }) => name).filter((name) => name !== "seeds" && name !== "decode");
  /** One takes seconds; by day it has numbers in text.test.ts. */
  const quick = byDay(asked, (name) => name !== "vectors");
  it.each(quick)("%s gives every row a number, and drawings without NaN", async (name) => {
    const store = new MemoryStore();
    const summary = await runFigure(figureOf(name), subject, { store, quick: true });
    expect(summary?.table.rows.length).toBeGreaterThan(1);
    for (const row of summary?.table.rows ?? []) for (const value of row) expect(value).not.toBeNaN();
    for (const { picture } of summary?.plots ?? []) expect(await picture.svg()).not.toMatch(/NaN|undefined|Infinity/);
    expect(await readText(store, "index.html")).toContain(summary?.sentence.slice(0, 20));
  });

  it("mixtures has the means of a softmax over the logits of its prompts", async () => {
    const summary = await runFigure(figureOf("mixtures"), subject, { store: new MemoryStore(), quick: true });
    const family = taskFamily("countries");
    const tasks = [0, 1, 2];
    const prompts = evaluationPrompts(family, { counts: [7, 6, 7], tasks, count: 20, seed: 0 });
    const vocabulary = subject.vocabulary as Vocabulary;
    const sums = [0, 0, 0];
    for (const prompt of prompts) {
      using run = await model.forward(promptIds(vocabulary, prompt), { logits: "last" });
      const logits = await run.logits.read();
      const total = logits.reduce((sum, value) => sum + Math.exp(value), 0);
      for (const task of tasks) {
        const id = vocabulary.answerIds(prompt.answers[task] as string)[0] as number;
        sums[task] = (sums[task] as number) + Math.exp(logits[id] as number) / total / prompts.length;
      }
    }
    const rows = summary?.table.rows.filter(([name]) => name === "countries") ?? [];
    expect(rows.map(([, task]) => task)).toEqual(["capital", "continent", "upper"]);
    for (const [task, row] of rows.entries()) expect(row[3]).toBeCloseTo(sums[task] as number, 5);
  });
});
