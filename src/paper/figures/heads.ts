/**
 * Beyond the paper: which heads carry which task? In the construction of its theorem a head of each layer belongs to each task. Exact
 * sweeps over the heads' outputs say whether a trained model has such heads, and how well attribution patching would have found
 * them. What is measured is log P of a task's whole answer and the line break after it, by the chain rule over its tokens.
 */
import { heatMap, pointPlot } from "../../pictures/index.ts";
import type { Figure, Summary } from "../figure.ts";
import { type Changes, type HeadEffects, headEffects, type OwnHead, ownHeads } from "../inside/heads.ts";
import type { Subject } from "../subjects.ts";
import { taskFamily } from "../tasks/index.ts";
import { meanOf } from "./asking.ts";
import { firstTasks, roomNote } from "./examples.ts";
import { type FamilyCell, type MixedSettings, mixedPrompts, settingsOf } from "./mixed.ts";

interface Block extends FamilyCell {
  readonly first: number;
}

/** Prompts of a cell. */
const BLOCK = 4;

export const HEADS: Figure<MixedSettings, Block, HeadEffects[]> = {
  name: "heads",
  asks: "Which heads carry which task, and does each task have a head of its own?",
  paper:
    "In the theorem's construction K heads do K tasks: without its head a task is gone, and the others stay. Whether trained models are like that is left open.",
  settings: (subject, { quick }) => settingsOf(subject, quick ? BLOCK : 4 * BLOCK),
  cells: ({ families, prompts }) =>
    families.flatMap((family) =>
      Array.from({ length: prompts / BLOCK }, (_, block) => ({
        id: `${family}-${block}`,
        family,
        first: block * BLOCK,
      })),
    ),
  run: sweepHeads,
  summarise,
};

async function sweepHeads(
  { family: name, first }: Block,
  { set, examples, seed }: MixedSettings,
  subject: Subject,
  signal: AbortSignal | undefined,
): Promise<HeadEffects[]> {
  const family = taskFamily(name, set);
  const prompts = mixedPrompts(family, { examples: examples[name] as number, count: BLOCK, seed, first });
  const found: HeadEffects[] = [];
  for (const prompt of prompts) found.push(await headEffects(subject, prompt, signal));
  return found;
}

/** What a family showed. */
interface Found {
  readonly family: string;
  readonly effects: readonly HeadEffects[];
  readonly own: readonly OwnHead[];
  /** Pearson's correlation of exact and approximate changes. */
  readonly correlations: { readonly ablated: number; readonly patched: number };
}

const pairsOf = (exact: Changes, approximate: Changes): [number, number][] =>
  exact.flatMap((row, head) =>
    row.map((value, task): [number, number] => [approximate[head]?.[task] as number, value]),
  );

const ablationsOf = (effects: readonly HeadEffects[]) =>
  effects.flatMap((one) => pairsOf(one.ablated, one.approximate.ablated));
const patchesOf = (effects: readonly HeadEffects[]) =>
  effects.flatMap((one) =>
    one.patched.flatMap((changes, twin) => pairsOf(changes, one.approximate.patched[twin] ?? [])),
  );

function correlation(pairs: readonly [number, number][]): number {
  const [x, y] = [meanOf(pairs.map(([a]) => a)), meanOf(pairs.map(([, b]) => b))];
  const product = (i: 0 | 1, j: 0 | 1) =>
    pairs.reduce((sum, pair) => sum + (pair[i] - (i ? y : x)) * (pair[j] - (j ? y : x)), 0);
  return product(0, 1) / (Math.sqrt(product(0, 0) * product(1, 1)) || 1);
}

const COLUMNS = [
  "family",
  "task",
  "most selective head",
  "the task keeps without it",
  "another task keeps at least",
  "a head of its own",
  "head whose z of a pure prompt raises the task most",
  "by (nats)",
  "correlation with attribution: ablated",
  "patched",
  "prompts",
];

/** A task takes part from a fifth of its share up, as in every report. One that does not has nothing that a head could carry. */
const takesPart = ({ probability }: OwnHead, tasks: number) => probability >= 1 / tasks / 5;

/** Without its head a task keeps less than a fifth, as one that does not count as done elsewhere; each other one keeps half. */
const isOwn = (head: OwnHead, tasks: number) => takesPart(head, tasks) && head.keeps < 0.2 && head.others >= 0.5;

function summarise(
  { model, set, families, prompts, examples }: MixedSettings,
  results: readonly { cell: Block; result: HeadEffects[] }[],
): Summary {
  const nameOf = (index: number) => `L${Math.floor(index / model.heads)}H${index % model.heads}`;
  const all = families.flatMap((family): Found[] => {
    const effects = results.filter(({ cell }) => cell.family === family).flatMap(({ result }) => result);
    if (effects.length === 0) return [];
    const correlations = { ablated: correlation(ablationsOf(effects)), patched: correlation(patchesOf(effects)) };
    return [{ family, effects, own: ownHeads(effects), correlations }];
  });
  const taskNames = (family: string) => {
    const asked = taskFamily(family, set);
    return firstTasks(asked).map((task) => asked.tasks[task]?.name as string);
  };
  const rows = all.flatMap(({ family, effects, own, correlations }) =>
    own.map((head, task) => {
      const raises = meanChanges(effects.map(({ patched }) => patched[task] as Changes)).map(
        (row) => row[task] as number,
      );
      const best = Math.max(...raises);
      return [
        family,
        taskNames(family)[task] as string,
        nameOf(head.index),
        head.keeps,
        head.others,
        isOwn(head, own.length) ? "yes" : "no",
        nameOf(raises.indexOf(best)),
        best,
        correlations.ablated,
        correlations.patched,
        effects.length,
      ];
    }),
  );
  const count = (holds: typeof isOwn) => (own: readonly OwnHead[]) =>
    own.filter((head) => holds(head, own.length)).length;
  const [owned, taking] = [count(isOwn), count(takesPart)].map((of) =>
    all.reduce((sum, { own }) => sum + of(own), 0),
  ) as [number, number];
  return {
    table: { columns: COLUMNS, rows },
    plots: all.flatMap((found) => plotsOf(found, taskNames(found.family), nameOf)),
    sentence: `${all
      .map(
        ({ family, own, correlations }) =>
          `${family}: ${count(isOwn)(own)} of ${count(takesPart)(own)} tasks${count(takesPart)(own) < own.length ? " that take part" : ""} have a head of their own; attribution patching has the correlation ${correlations.ablated.toFixed(2)} with exact ablations and ${correlations.patched.toFixed(2)} with exact patches`,
      )
      .join(". ")}. (${prompts} prompts.)${roomNote(set, examples)}`,
    verdict: taking > 0 && owned === taking ? "agrees" : owned === 0 ? "disagrees" : "agrees in part",
  };
}

function meanChanges(list: readonly Changes[]): number[][] {
  return (list[0] as Changes).map((row, head) =>
    row.map((_, task) => meanOf(list.map((changes) => changes[head]?.[task] as number))),
  );
}

const MOST_ROWS = 24;

function plotsOf(
  { family, effects }: Found,
  tasks: readonly string[],
  nameOf: (index: number) => string,
): Summary["plots"][number][] {
  const table = (name: string, title: string, changes: readonly number[][]) => {
    const strength = (row: readonly number[]) => Math.max(...row.map(Math.abs));
    const chosen = [...changes.keys()]
      .sort((a, b) => strength(changes[b] as number[]) - strength(changes[a] as number[]))
      .slice(0, MOST_ROWS)
      .sort((a, b) => a - b);
    const values = chosen.map((index) => changes[index] as number[]);
    const picture = heatMap(values, {
      title: `${family}: ${title}`,
      measure: "nats",
      rows: chosen.map(nameOf),
      columns: tasks,
      colours: "diverging",
    });
    return { name: `heads-${family}-${name}`, picture };
  };
  const ablated = meanChanges(effects.map((one) => one.ablated));
  // Of each task's own twin alone: what the head of a prompt of this task does for its answer.
  const patches = tasks.map((_, task) => meanChanges(effects.map((one) => one.patched[task] as Changes)));
  const patched = ablated.map((row, head) => row.map((_, task) => patches[task]?.[head]?.[task] as number));
  const series = [
    { name: "ablated", points: ablationsOf(effects) },
    { name: "patched", points: patchesOf(effects) },
  ];
  return [
    table("ablated", "change of log P without a head", ablated),
    table("patched", "change of log P with a pure prompt's head", patched),
    {
      name: `heads-${family}-attribution`,
      picture: pointPlot(series, {
        title: `${family}: changes of log P, a point a prompt, head and answer`,
        x: { label: "attribution patching (nats)" },
        y: { label: "exact (nats)" },
        diagonal: true,
      }),
    },
  ];
}
