/** The paper's section 7: do larger models do more of a prompt's tasks at once, and are they nearer to its mixture? */

import { neededTensors } from "../../model/weights/needed.ts";
import { pointPlot } from "../../pictures/index.ts";
import type { Comparison, ModelResults, Summary } from "../figure.ts";
import type { Measured } from "../measure.ts";
import { countsOf, equalShares, evaluationPrompts, type Prompt } from "../prompts.ts";
import { mixtureReport } from "../report.ts";
import type { Subject } from "../subjects.ts";
import type { TaskFamily } from "../tasks/family.ts";
import { taskFamily } from "../tasks/index.ts";
import { ask, meanOf } from "./asking.ts";
import { MOST_TASKS, roomNote } from "./examples.ts";
import { cellOfEach, type FamilyCell, type MixedSettings, settingsOf } from "./mixed.ts";

interface Settings extends MixedSettings {
  readonly parameters: number;
}

/** Of a family with more tasks than that, so many are drawn for each prompt. */
const tasksOf = ({ tasks }: TaskFamily) => Math.min(tasks.length, MOST_TASKS);

function promptsOf({ set, prompts, examples, seed }: Settings, name: string): Prompt[] {
  const family = taskFamily(name, set);
  const counts = countsOf(equalShares(tasksOf(family)), examples[name] as number);
  return evaluationPrompts(family, { counts, count: prompts, seed });
}

function parametersOf({ model }: Subject): number {
  const sizes = [...neededTensors(model.spec).values()].map(({ shape }) => shape.reduce((size, n) => size * n, 1));
  return sizes.reduce((sum, size) => sum + size, 0);
}

export const SCALE: Comparison<Settings, FamilyCell, Measured[]> = {
  name: "scale",
  asks: "Do larger models do more of the tasks of a prompt at once, and come nearer to its mixture?",
  paper:
    "Of models of a kind, the larger have more tasks' answers among the K likeliest, and their KL divergence from the mixture of the examples is smaller (section 7).",
  models: (folder) => ["lc-d16", "lc-d32", "lc"].map((name) => `${folder}/${name}`),
  async settings(subject, { quick }) {
    return {
      ...(await settingsOf(subject, quick ? 40 : 200, tasksOf)),
      parameters: parametersOf(subject),
    };
  },
  cells: cellOfEach,
  run: ({ family }, settings, subject, signal) => ask(subject, promptsOf(settings, family), signal),
  compare,
};

/**
 * Tasks whose answer is among the K likeliest tokens. An answer of several tokens has no such rank: it counts if it is likelier
 * than any other beginning, and so than any other text.
 */
function completed({ ranks, probabilities, likeliestOther }: Measured): number {
  return ranks
    ? ranks.filter((rank) => rank < ranks.length).length
    : probabilities.filter((probability) => probability > likeliestOther).length;
}

/** A model on a family. */
interface Point {
  readonly label: string;
  readonly width: number;
  readonly parameters: number;
  readonly family: string;
  readonly tasks: number;
  readonly completed: number;
  readonly all: number;
  readonly kl: number;
}

function pointsOf({ settings, results }: ModelResults<Settings, FamilyCell, Measured[]>): Point[] {
  const { label, width } = settings.model;
  return results.map(({ cell: { family }, result }) => {
    const counts = result.map(completed);
    const tasks = result[0]?.probabilities.length as number;
    return {
      label,
      width,
      parameters: settings.parameters,
      family,
      tasks,
      completed: meanOf(counts),
      all: meanOf(counts.map((count) => Number(count === tasks))),
      kl: mixtureReport(promptsOf(settings, family), result).kl,
    };
  });
}

const COLUMNS = [
  "model",
  "width",
  "parameters",
  "family",
  "tasks",
  "tasks completed, mean",
  "prompts with all completed",
  "KL (nats)",
];

function compare(models: readonly ModelResults<Settings, FamilyCell, Measured[]>[]): Summary {
  const points = models.flatMap(pointsOf).sort((a, b) => a.parameters - b.parameters);
  const families = [...new Set(points.map(({ family }) => family))];
  const lines = families.map((family) => ({ family, of: points.filter((point) => point.family === family) }));
  const plotted = (title: string, label: string, value: (point: Point) => number) =>
    pointPlot(
      lines.map(({ family, of }) => ({
        name: family,
        line: of.map((point) => [log10(point), value(point)] as const),
      })),
      {
        title,
        x: {
          label: "parameters (power of ten)",
          from: Math.floor(Math.min(...points.map(log10))),
          to: Math.ceil(Math.max(...points.map(log10)) + 1e-9),
        },
        y: { label: label },
      },
    );
  const trends = lines.map(({ family, of }) => ({
    family,
    completed: trend(of, (point) => point.completed),
    kl: trend(of, (point) => point.kl),
    listed: (value: (point: Point) => number) => of.map((point) => value(point).toFixed(2)).join(", "),
  }));
  const asPaper = trends.flatMap(({ completed, kl }) => [completed > 0, kl < 0]);
  const holds = asPaper.filter(Boolean).length;
  const way = (value: number) => (value > 0 ? "rises" : value < 0 ? "falls" : "neither rises nor falls");
  return {
    table: {
      columns: COLUMNS,
      rows: points.map((p) => [p.label, p.width, p.parameters, p.family, p.tasks, p.completed, p.all, p.kl]),
    },
    plots: [
      {
        name: "scale-completed",
        picture: plotted("Tasks completed in a prompt", "answers among the K likeliest", (p) => p.completed),
      },
      { name: "scale-kl", picture: plotted("Distance from the mixture of the examples", "KL (nats)", (p) => p.kl) },
    ],
    sentence: `From the smallest model to the largest, over all pairs of them, ${trends
      .map(
        ({ family, completed, kl, listed }) =>
          `on ${family} the number of tasks completed ${way(completed)} (${listed((p) => p.completed)}) and KL ${way(kl)} (${listed((p) => p.kl)} nats)`,
      )
      .join("; ")}.${models.map(noteOf).join("")}`,
    verdict: holds === asPaper.length ? "agrees" : holds === 0 ? "disagrees" : "agrees in part",
  };
}

/** Whether a model's context has room for fewer examples. */
function noteOf({ settings: { model, set, examples } }: ModelResults<Settings, FamilyCell, Measured[]>): string {
  const note = roomNote(set, examples, tasksOf);
  return note && ` ${model.label}:${note}`;
}

const log10 = ({ parameters }: Point) => Math.log10(parameters);

/** Pairs of models in which the larger has more, less those in which it has less (Kendall): the paper's "larger, more" needs no threshold. */
function trend(points: readonly Point[], value: (point: Point) => number): number {
  return points.reduce(
    (sum, one, index) =>
      sum +
      points
        .slice(index + 1)
        .reduce(
          (own, other) => own + Math.sign(other.parameters - one.parameters) * Math.sign(value(other) - value(one)),
          0,
        ),
    0,
  );
}
