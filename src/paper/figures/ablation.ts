/** The rebuttal's figure 7: a task is dropped from the prompt, which keeps its length and its query; is its answer gone? */
import { groupedBars } from "../../pictures/index.ts";
import type { Figure, Summary } from "../figure.ts";
import type { Measured } from "../measure.ts";
import { mixtureReport } from "../report.ts";
import { taskFamily } from "../tasks/index.ts";
import { ask, meanOf, OTHER } from "./asking.ts";
import { roomNote } from "./examples.ts";
import { type Block, blockPrompts, blocksOf, type MixedSettings, mixedSettings, roleNames } from "./mixed.ts";

/** Prompts of all tasks, or without one. */
interface Dropped extends Block {
  readonly without?: number;
}

export const ABLATION: Figure<MixedSettings, Dropped, Measured[]> = {
  name: "ablation",
  asks: "If a task's examples are replaced by examples of the others, what is left of the probability of its answer?",
  paper: "A task that is dropped from the prompt loses its probability to the others (rebuttal, figure 7).",
  settings: mixedSettings,
  cells: (settings) =>
    settings.families.flatMap((family) => [
      ...blocksOf(settings, `${family}-all`, { family }),
      ...roleNames(taskFamily(family, settings.set)).flatMap((_, without) =>
        blocksOf(settings, `${family}-without-${without}`, { family, without }),
      ),
    ]),
  run: (cell, settings, subject, signal) => ask(subject, blockPrompts(settings, cell, cell.without), signal),
  summarise,
};

const COLUMNS = [
  "family",
  "dropped",
  "task",
  "share of the examples",
  "mean probability",
  "standard deviation",
  "part of what it has with all tasks",
  "other",
];

/** What prompts without a task showed; or without none. */
interface Kind {
  readonly family: string;
  readonly roles: readonly string[];
  readonly without: number | undefined;
  readonly tasks: readonly { readonly share: number; readonly mean: number; readonly spread: number }[];
  readonly other: number;
}

function summarise(settings: MixedSettings, results: readonly { cell: Dropped; result: Measured[] }[]): Summary {
  const kinds = settings.families.flatMap((family) => kindsOf(settings, family, results));
  const whole = (family: string) => kinds.find((kind) => kind.family === family && kind.without === undefined) as Kind;
  const dropped = kinds.flatMap(({ family, roles, without, tasks }) => {
    if (without === undefined) return [];
    const { share, mean: before } = whole(family).tasks[without] as Kind["tasks"][number];
    const mean = tasks[without]?.mean as number;
    return [
      {
        family,
        task: roles[without] as string,
        before,
        mean,
        hadPart: before >= share / 5,
        hasPart: mean >= share / 5,
      },
    ];
  });
  const taking = dropped.filter(({ hadPart }) => hadPart);
  const gone = taking.filter(({ hasPart }) => !hasPart);
  return {
    table: {
      columns: COLUMNS,
      rows: kinds.flatMap(({ family, roles, without, tasks, other }) =>
        tasks.map(({ share, mean, spread }, role) => [
          family,
          nameOf(roles, without),
          roles[role] as string,
          share,
          mean,
          spread,
          mean / Math.max(whole(family).tasks[role]?.mean as number, 1e-30),
          other,
        ]),
      ),
    },
    plots: settings.families.map((family) => plotOf(family, kinds)),
    sentence: `${dropped
      .map(
        ({ family, task, before, mean }) =>
          `${family}, ${task}: ${before.toFixed(3)} with its examples, ${mean.toFixed(3)} without`,
      )
      .join("; ")}.${roomNote(settings.set, settings.examples)}`,
    // A task takes part in a prompt from a fifth of its share up, as in every report; it is gone where it has less. Tasks that take no
    // part with their examples have nothing to lose, and say nothing.
    verdict: gone.length === 0 ? "disagrees" : gone.length === taking.length ? "agrees" : "agrees in part",
  };
}

function kindsOf(
  settings: MixedSettings,
  family: string,
  results: readonly { cell: Dropped; result: Measured[] }[],
): Kind[] {
  const roles = roleNames(taskFamily(family, settings.set));
  return [undefined, ...roles.keys()].map((without): Kind => {
    const measured = results
      .filter(({ cell }) => cell.family === family && cell.without === without)
      .flatMap(({ result }) => result);
    const prompts = blockPrompts(settings, { family, first: 0, count: measured.length }, without);
    return {
      family,
      roles,
      without,
      tasks: mixtureReport(prompts, measured).roles,
      other: meanOf(measured.map(({ other }) => other)),
    };
  });
}

const nameOf = (roles: readonly string[], without: number | undefined) =>
  without === undefined ? "none" : (roles[without] as string);

function plotOf(family: string, kinds: readonly Kind[]) {
  return {
    name: `ablation-${family}`,
    picture: groupedBars(
      kinds
        .filter((kind) => kind.family === family)
        .map(({ roles, without, tasks, other }) => ({
          name: without === undefined ? "all tasks" : `no ${roles[without]}`,
          bars: [
            ...tasks.map(({ mean, spread }, role) => ({ name: roles[role] as string, value: mean, spread })),
            { name: "other", value: other, series: OTHER },
          ],
        })),
      {
        title: `${family}: mean probability of each answer, by the task that is dropped`,
        y: { label: "probability", from: 0, to: 1 },
      },
    ),
  };
}
