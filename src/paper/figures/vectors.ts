/**
 * The paper's figures 4 and I to IV: where is the residual of a mixed prompt, beside those of prompts of one task? Groups of
 * prompts are shown on the two best linear discriminants of the pure ones, which come from other prompts than those shown, and
 * by t-SNE; and distances to the tasks' centres are compared with the probabilities of their answers.
 */
import { pointPlot } from "../../pictures/index.ts";
import type { Figure, Summary } from "../figure.ts";
import { discriminants, distance, dot, minus } from "../inside/projections.ts";
import {
  centroidOf,
  doTasks,
  findTaskVectors,
  lastResiduals,
  pureTwin,
  type TaskVectors,
} from "../inside/task-vectors.ts";
import { tsne } from "../inside/tsne.ts";
import { countsOf, evaluationPrompts, type Prompt } from "../prompts.ts";
import type { Subject } from "../subjects.ts";
import { type FamilySet, taskFamily } from "../tasks/index.ts";
import { ask, meanOf } from "./asking.ts";
import { firstTasks, roomNote } from "./examples.ts";
import { cellOfEach, type FamilyCell, type MixedSettings, mixedPrompts, settingsOf } from "./mixed.ts";

/** A prompt that is shown. */
interface Shown {
  /** Its tasks, by role: one, two or all. */
  readonly tasks: readonly number[];
  readonly probabilities: readonly number[];
  /** To each task's centre, in mean distances between centres. */
  readonly distances: readonly number[];
  /** On the way from the centre of the first of two tasks, 0, to that of the second, 1. */
  readonly along: number | undefined;
  readonly discriminants: readonly [number, number];
  readonly tsne: readonly [number, number];
}

interface Result {
  readonly search: Omit<TaskVectors, "residuals">;
  /** The part of pure prompts that lie nearest their own task's centre on the discriminants. */
  readonly separable: number;
  readonly shown: readonly Shown[];
}

/** Its prompts are of each group shown, and of each half of those that vectors are chosen by. */
export const VECTORS: Figure<MixedSettings, FamilyCell, Result> = {
  name: "vectors",
  asks: "Where does the residual of a mixed prompt lie, between those of prompts of one task each?",
  paper:
    "In pretrained models between the clusters of the single tasks (figure 4), and a nearer centre goes with a larger probability, though not in proportion (IV). In small models from scratch no layer gives a vector that makes them do the task: accuracy below 0.2 (I to III).",
  settings: (subject, { quick }) => settingsOf(subject, quick ? 16 : 30),
  cells: cellOfEach,
  run: lookInside,
  summarise,
};

/** Prompts to choose by have other seeds than those to show. */
const [SOURCES, QUERIES] = [1, 2];

async function lookInside(
  { family: name }: FamilyCell,
  { set, prompts: count, examples: ofFamilies, seed }: MixedSettings,
  subject: Subject,
  signal: AbortSignal | undefined,
): Promise<Result> {
  const family = taskFamily(name, set);
  const tasks = firstTasks(family);
  const examples = ofFamilies[name] as number;
  const draw = (of: number) => mixedPrompts(family, { examples, count, seed: of });
  const sources = draw(seed + SOURCES);
  const queries = draw(seed + QUERIES);
  const { residuals, ...search } = await findTaskVectors(subject, sources, queries, signal);
  const groups = residuals[search.best] as readonly (readonly Float32Array[])[];
  const plane = discriminants(groups);
  const centres = groups.map(centroidOf);
  const pairs = pairsOf(tasks);
  const scale = meanOf(pairs.map(([a, b]) => distance(centres[a] as Float32Array, centres[b] as Float32Array)));

  const mixed = draw(seed);
  const shown = [
    ...tasks.flatMap((task) => mixed.map((prompt) => ({ tasks: [task], prompt: pureTwin(prompt, task) }))),
    ...mixed.map((prompt) => ({ tasks, prompt })),
    ...pairs.slice(0, MOST_PAIRS).flatMap((pair) => pairPrompts(family.name, set, pair, examples, count, seed)),
  ];
  const prompts = shown.map(({ prompt }) => prompt);
  const vectors = (await lastResiduals(subject, prompts, signal))[search.best] as Float32Array[];
  const answered = await ask(subject, prompts, signal);
  const neighbours = tsne(vectors);
  const classes = vectors.map(plane.classify);
  return {
    search,
    separable: meanOf(
      shown.flatMap((one, index) => (one.tasks.length === 1 ? [Number(classes[index] === one.tasks[0])] : [])),
    ),
    shown: shown.map((one, index): Shown => {
      const vector = vectors[index] as Float32Array;
      const [x = 0, y = 0] = plane.project(vector);
      return {
        tasks: one.tasks,
        probabilities: answered[index]?.probabilities as number[],
        distances: centres.map((centre) => distance(vector, centre) / scale),
        along: one.tasks.length === 2 ? partOfWay(vector, one.tasks, centres) : undefined,
        discriminants: [x, y],
        tsne: neighbours[index] as [number, number],
      };
    }),
  };
}

const MOST_PAIRS = 3;

function pairsOf(tasks: readonly number[]): [number, number][] {
  return tasks.flatMap((a) => tasks.filter((b) => b > a).map((b): [number, number] => [a, b]));
}

function pairPrompts(
  family: string,
  set: FamilySet,
  tasks: [number, number],
  examples: number,
  count: number,
  seed: number,
): { tasks: readonly number[]; prompt: Prompt }[] {
  const counts = countsOf([0.5, 0.5], examples);
  return evaluationPrompts(taskFamily(family, set), { counts, tasks, count, seed }).map((prompt) => ({
    tasks,
    prompt,
  }));
}

function partOfWay(vector: Float32Array, [a, b]: readonly number[], centres: readonly Float32Array[]): number {
  const [from, to] = [centres[a as number] as Float32Array, centres[b as number] as Float32Array];
  const way = minus(to, from);
  return dot(minus(vector, from), way) / dot(way, way);
}

/** What a family showed. */
interface Found {
  readonly family: string;
  readonly result: Result;
  readonly bestScore: TaskVectors["scores"][number];
  /** Of prompts of two tasks: where they lie between the centres, and the part of them in the middle half. */
  readonly along: number;
  readonly between: number;
  /** Of prompts of all tasks: correlation of distance and probability, and how often the nearest centre's task is the likeliest. */
  readonly correlation: number;
  readonly nearest: number;
}

function foundIn(family: string, result: Result): Found {
  const ways = result.shown.flatMap(({ along }) => (along === undefined ? [] : [along]));
  const mixed = result.shown.filter(({ tasks }) => tasks.length > 2);
  const points = mixed.flatMap(({ distances, probabilities }) => {
    const [far, likely] = [meanOf(distances), meanOf(probabilities)];
    return distances.map((value, task) => [value - far, (probabilities[task] as number) - likely] as const);
  });
  const product = (a: 0 | 1, b: 0 | 1) => points.reduce((sum, point) => sum + point[a] * point[b], 0);
  const first = (values: readonly number[], best: number) => values.indexOf(best);
  return {
    family,
    result,
    bestScore: result.search.scores[result.search.best] as Found["bestScore"],
    along: meanOf(ways),
    between: meanOf(ways.map((way) => Number(way > 0.25 && way < 0.75))),
    correlation: product(0, 1) / Math.sqrt(product(0, 0) * product(1, 1) || 1),
    nearest: meanOf(
      mixed.map(({ distances: d, probabilities: p }) => Number(first(d, Math.min(...d)) === first(p, Math.max(...p)))),
    ),
  };
}

const COLUMNS = [
  "family",
  "layer",
  "best layer",
  "does the task: with mean vectors",
  "probability with mean vectors",
  "does the task: with a prompt's vector",
  "answers the vector's own query",
  "without vector",
  "with examples",
  "pure prompts nearest their task's centre (discriminants)",
  "prompts of two tasks: part of the way between centres, mean",
  "of them in the middle half",
  "mixed prompts: correlation of distance and probability",
  "nearest centre is the likeliest task",
  "by chance",
];

function summarise(
  { set, examples }: MixedSettings,
  results: readonly { cell: FamilyCell; result: Result }[],
): Summary {
  const all = results.map(({ cell, result }) => foundIn(cell.family, result));
  const taskCount = ({ family }: Found) => firstTasks(taskFamily(family, set)).length;
  const percent = (value: number) => `${Math.round(100 * value)}%`;
  const claims = all.flatMap((found) => claimsOf(found, set, taskCount(found)));
  const held = claims.filter(Boolean).length;
  return {
    table: {
      columns: COLUMNS,
      rows: all.flatMap((found) =>
        found.result.search.scores.map((score) => [
          found.family,
          score.layer,
          score.layer === found.result.search.best ? "best" : "",
          score.mean,
          score.probability,
          score.single,
          score.copies,
          found.result.search.without,
          found.result.search.withExamples,
          found.result.separable,
          found.along,
          found.between,
          found.correlation,
          found.nearest,
          1 / taskCount(found),
        ]),
      ),
    },
    plots: all.flatMap((found) => plotsOf(found, set)),
    sentence: `${all
      .map(
        (found) =>
          `${found.family}: with the best layer's vectors (${found.result.search.best}) ${percent(found.bestScore.mean)} of queries are answered without examples (${percent(found.result.search.without)} without a vector); prompts of two tasks lie at ${found.along.toFixed(2)} of the way between their centres; distance and probability have the correlation ${found.correlation.toFixed(2)}, and the nearest centre's task is the likeliest in ${percent(found.nearest)} of mixed prompts`,
      )
      .join(". ")}.${roomNote(set, examples)}`,
    verdict: held === claims.length ? "agrees" : held === 0 ? "disagrees" : "agrees in part",
  };
}

/**
 * The paper's statements: in models from scratch no layer's vectors do tasks, in pretrained ones some layer's do; mixed prompts lie between the centres, that is on average in the middle half of the way; and a nearer centre is likelier.
 */
function claimsOf(
  { result: { search }, along, correlation, nearest }: Found,
  set: FamilySet,
  tasks: number,
): boolean[] {
  return [doTasks(search) === (set !== "small"), along > 0.25 && along < 0.75, correlation < 0 && nearest > 1 / tasks];
}

function plotsOf({ family: name, result }: Found, set: FamilySet): Summary["plots"][number][] {
  const family = taskFamily(name, set);
  const tasks = firstTasks(family);
  const nameOf = (members: readonly number[]) =>
    members.length === tasks.length ? "all" : members.map((task) => family.tasks[task]?.name).join(" + ");
  // One pair of tasks is enough to see; there is a colour for each of six groups.
  const groups = [...new Set(result.shown.map((one) => nameOf(one.tasks)))].slice(0, tasks.length + 2);
  const cloud = (kind: "discriminants" | "tsne", title: string, [x, y]: [string, string]) => ({
    name: `vectors-${name}-${kind}`,
    picture: pointPlot(
      groups.map((group) => ({
        name: group,
        points: result.shown.filter((one) => nameOf(one.tasks) === group).map((one) => one[kind]),
      })),
      { title: `${name}, layer ${result.search.best}: ${title}`, x: { label: x }, y: { label: y } },
    ),
  });
  const mixed = result.shown.filter((one) => one.tasks.length === tasks.length);
  const distances = {
    name: `vectors-${name}-distances`,
    picture: pointPlot(
      tasks.map((task) => ({
        name: family.tasks[task]?.name as string,
        points: mixed.map((one) => [one.distances[task] as number, one.probabilities[task] as number] as const),
      })),
      {
        title: `${name}: mixed prompts' distances to the tasks' centres`,
        x: { label: "distance, in mean distances between centres" },
        y: { label: "probability of the task's answer", from: 0, to: 1 },
      },
    ),
  };
  const plane = cloud("discriminants", "linear discriminants of pure prompts", ["first", "second"]);
  return [plane, cloud("tsne", "t-SNE", ["t-SNE 1", "t-SNE 2"]), distances];
}
