/**
 * The paper's section 6: convex combinations of the vectors of two and of three tasks, set into prompts without examples. Does the
 * model then do several tasks at once, and how do their probabilities go along the path?
 *
 * In small models a task's mean vector does nothing, so that there is nothing to combine. Beside it stand vectors of ours: the
 * residuals that the prompts of each task have for the same query, in the first layer that decides the answer alone.
 */
import { type Picture, pointPlot } from "../../pictures/index.ts";
import type { Figure, Summary } from "../figure.ts";
import {
  centroidOf,
  combined,
  doTasks,
  findTaskVectors,
  lastResiduals,
  pureTwin,
  setVector,
  zeroShot,
} from "../inside/task-vectors.ts";
import type { Prompt } from "../prompts.ts";
import type { Subject } from "../subjects.ts";
import { type FamilySet, taskFamily } from "../tasks/index.ts";
import { ask, meanOf } from "./asking.ts";
import { firstTasks, roomNote } from "./examples.ts";
import { cellOfEach, type FamilyCell, type MixedSettings, mixedPrompts, settingsOf } from "./mixed.ts";

/** Its prompts are of each half of those that vectors come from, and queries. */
interface Settings extends MixedSettings {
  /** Points of a path. */
  readonly points: number;
}

/** Whose vectors are combined: the tasks' means, or what prompts of each task have for the same query. */
const KINDS = ["task", "query"] as const;

interface Point {
  /** Of each task. */
  readonly weights: readonly number[];
  /** Mean probability of each task's answer over the queries. */
  readonly probabilities: readonly number[];
  readonly other: number;
  /** The part of queries in which every task with a weight has at least a fifth of it. */
  readonly fair: number;
}

interface Path {
  readonly kind: (typeof KINDS)[number];
  readonly layer: number;
  /** Whether the vectors work at all: the part of queries whose likeliest answer is the task's with its own vector. */
  readonly works: number;
  /** Of mean vectors: whether that is more than nothing; see `doTasks`. */
  readonly isWorking: boolean;
  /** The tasks that are combined. */
  readonly tasks: readonly number[];
  readonly points: readonly Point[];
}

export const CONVEX: Figure<Settings, FamilyCell, Path[]> = {
  name: "convex",
  asks: "Do convex combinations of the vectors of two or three tasks make the model do these tasks at once?",
  paper:
    "Combinations of task vectors, set into prompts without examples, produce superposition themselves (section 6).",
  async settings(subject, { quick }) {
    return { ...(await settingsOf(subject, quick ? 8 : 20)), points: quick ? 7 : 30 };
  },
  cells: cellOfEach,
  run: followPaths,
  summarise,
};

/** Prompts that vectors come from, those the layer is chosen by, and the queries of the figure have seeds of their own. */
const [SOURCES, CHOICE] = [1, 2];

async function followPaths(
  { family: name }: FamilyCell,
  { set, prompts: count, examples, points, seed }: Settings,
  subject: Subject,
  signal: AbortSignal | undefined,
): Promise<Path[]> {
  const family = taskFamily(name, set);
  const draw = (of: number) => mixedPrompts(family, { examples: examples[name] as number, count, seed: of });
  const queries = draw(seed);
  const { residuals, ...search } = await findTaskVectors(subject, draw(seed + SOURCES), draw(seed + CHOICE), signal);
  const { best, scores } = search;
  const means = (residuals[best] as Float32Array[][]).map(centroidOf);
  const own = await ownVectors(subject, queries, signal);
  const vectorsOf = {
    task: { layer: best, works: scores[best]?.mean as number, isWorking: doTasks(search), of: () => means },
    query: {
      layer: own.layer,
      works: own.works,
      isWorking: true,
      of: (query: number) => own.vectors[query] as Float32Array[],
    },
  };
  const paths: Path[] = [];
  for (const kind of KINDS)
    for (const tasks of subsets(firstTasks(family))) {
      const { of, ...facts } = vectorsOf[kind];
      const steps = pathOf(tasks, family.tasks.length, points);
      paths.push({ kind, ...facts, tasks, points: await measure(subject, queries, steps, facts.layer, of, signal) });
    }
  return paths;
}

/** What the prompts of each task have for each query, [queries][tasks], in the first layer that decides almost all answers alone. */
async function ownVectors(subject: Subject, queries: readonly Prompt[], signal: AbortSignal | undefined) {
  const roles = [...(queries[0] as Prompt).answers.keys()];
  const pure = queries.flatMap((query) => roles.map((role) => pureTwin(query, role)));
  const layers = await lastResiduals(subject, pure, signal);
  const works: number[] = [];
  for (const [layer, vectors] of layers.entries()) {
    const edits = vectors.map((vector) => [setVector(layer, vector)]);
    const answered = await ask(subject, pure.map(zeroShot), signal, { edits });
    const isDone = ({ probabilities }: (typeof answered)[number], index: number) =>
      probabilities[index % roles.length] === Math.max(...probabilities);
    works.push(meanOf(answered.map((one, index) => Number(isDone(one, index)))));
  }
  const layer = works.findIndex((part) => part >= 0.9 * Math.max(...works));
  const all = layers[layer] as Float32Array[];
  const vectors = queries.map((_, index) => all.slice(index * roles.length, (index + 1) * roles.length));
  return { layer, works: works[layer] as number, vectors };
}

const MOST_PAIRS = 3;

/** Pairs of tasks, and the first three. */
function subsets(tasks: readonly number[]): number[][] {
  const pairs = tasks.flatMap((a) => tasks.filter((b) => b > a).map((b) => [a, b]));
  return [...pairs.slice(0, MOST_PAIRS), ...(tasks.length >= 3 ? [tasks.slice(0, 3)] : [])];
}

/** Weights of all tasks along a path: two from (1, 0) to (0, 1), three from equal parts to (0, 1/2, 1/2). */
function pathOf(tasks: readonly number[], count: number, points: number): number[][] {
  const ends =
    tasks.length === 2
      ? [
          [1, 0],
          [0, 1],
        ]
      : [
          [1 / 3, 1 / 3, 1 / 3],
          [0, 1 / 2, 1 / 2],
        ];
  return Array.from({ length: points }, (_, index) => {
    const t = index / (points - 1);
    const weights = new Array<number>(count).fill(0);
    for (const [place, task] of tasks.entries())
      weights[task] = (1 - t) * (ends[0]?.[place] as number) + t * (ends[1]?.[place] as number);
    return weights;
  });
}

async function measure(
  subject: Subject,
  queries: readonly Prompt[],
  path: readonly number[][],
  layer: number,
  vectorsOf: (query: number) => readonly Float32Array[],
  signal: AbortSignal | undefined,
): Promise<Point[]> {
  const prompts = path.flatMap(() => queries.map(zeroShot));
  const edits = path.flatMap((weights) =>
    queries.map((_, query) => [setVector(layer, combined(vectorsOf(query), weights))]),
  );
  const answered = await ask(subject, prompts, signal, { edits });
  return path.map((weights, index): Point => {
    const own = answered.slice(index * queries.length, (index + 1) * queries.length);
    const isFair = (probabilities: readonly number[]) =>
      weights.every((weight, task) => weight === 0 || (probabilities[task] as number) >= weight / 5);
    return {
      weights,
      probabilities: (queries[0] as Prompt).answers.map((_, task) =>
        meanOf(own.map(({ probabilities }) => probabilities[task] as number)),
      ),
      other: meanOf(own.map(({ other }) => other)),
      fair: meanOf(own.map(({ probabilities }) => Number(isFair(probabilities)))),
    };
  });
}

const COLUMNS = [
  "family",
  "vectors",
  "layer",
  "vectors alone do their task",
  "tasks",
  "weight of the first",
  "probability of the first",
  "of the second",
  "of the third",
  "other",
  "queries with every task at a fifth of its weight",
];

function summarise({ set, examples }: Settings, results: readonly { cell: FamilyCell; result: Path[] }[]): Summary {
  const nameOf = (family: string, tasks: readonly number[]) =>
    tasks.map((task) => taskFamily(family, set).tasks[task]?.name).join(" + ");
  const all = results.flatMap(({ cell, result }) => result.map((path) => ({ family: cell.family, path })));
  const judged = results.map(({ cell, result }) => ({ family: cell.family, ...judgedOf(result) }));
  const paths = judged.flatMap(({ fair }) => fair);
  const held = paths.filter((fair) => fair >= 0.5).length;
  const percent = (value: number) => `${Math.round(100 * value)}%`;
  return {
    table: {
      columns: COLUMNS,
      rows: all.flatMap(({ family, path }) =>
        path.points.map(({ weights, probabilities, other, fair }) => [
          family,
          path.kind,
          path.layer,
          path.works,
          nameOf(family, path.tasks),
          weights[path.tasks[0] as number] as number,
          ...[0, 1, 2].map((place) => probabilities[path.tasks[place] ?? -1] ?? ""),
          other,
          fair,
        ]),
      ),
    },
    plots: all.map(({ family, path }) => ({
      name: `convex-${family}-${path.kind}-${path.tasks.join("")}`,
      picture: plotOf(family, path, nameOf(family, path.tasks), set),
    })),
    sentence: `${judged
      .map(
        ({ family, kind, works, fair, task }) =>
          `${family}: the tasks' mean vectors alone do their task in ${percent(task)} of queries; ${kind === "task" ? "of these" : `of the queries' own vectors, which do it in ${percent(works)},`} equal combinations give every task a fifth of its part in ${fair.map(percent).join(", ")} of queries`,
      )
      .join(". ")}.${roomNote(set, examples)}`,
    verdict: held === paths.length ? "agrees" : held === 0 ? "disagrees" : "agrees in part",
  };
}

/**
 * What the verdict is about: the tasks' mean vectors where they work, and else the queries' own. Superposition is that with equal weights every task has a fifth of its part, in most queries.
 */
function judgedOf(paths: readonly Path[]) {
  const of = (kind: Path["kind"]) => paths.filter((path) => path.kind === kind);
  const kind = of("task").every(({ isWorking }) => isWorking) ? "task" : "query";
  const equal = ({ points, tasks }: Path) => points[tasks.length === 2 ? Math.floor(points.length / 2) : 0]?.fair ?? 0;
  return { kind, task: of("task")[0]?.works ?? 0, works: of(kind)[0]?.works ?? 0, fair: of(kind).map(equal) };
}

function plotOf(family: string, { kind, layer, tasks, points }: Path, names: string, set: FamilySet): Picture {
  const x = ({ weights }: Point) => weights[tasks[tasks.length === 2 ? 1 : 0] as number] as number;
  const { tasks: all } = taskFamily(family, set);
  const which = kind === "task" ? "tasks' mean vectors" : "the queries' own vectors";
  return pointPlot(
    [
      ...tasks.map((task) => ({
        name: all[task]?.name as string,
        line: points.map((point) => [x(point), point.probabilities[task] as number] as const),
      })),
      { name: "other", line: points.map((point) => [x(point), point.other] as const) },
    ],
    {
      title: `${family}: ${which} of ${names}, layer ${layer}`,
      x:
        tasks.length === 2
          ? { label: `weight of ${all[tasks[1] as number]?.name}`, from: 0, to: 1 }
          : { label: `weight of ${all[tasks[0] as number]?.name}; the others share the rest`, from: 0, to: 0.4 },
      y: { label: "probability of the answer", from: 0, to: 1 },
    },
  );
}
