/**
 * A question of the paper's reviewers: can one choose which of the tasks in a mixed prompt runs? Three ways are tried on prompts with
 * equal parts of all tasks: add a task's vector, boost the task's most selective head, or cut those of the others. How strong, and in
 * which layer, is chosen on prompts of their own. The construction is the control: there one number, WEIGHT, is the answer.
 */
import type { Edit } from "../../hooks/index.ts";
import { placesOf, setSpace } from "../../theory/index.ts";
import type { Cell, Figure, Summary } from "../figure.ts";
import { constructionOf } from "../inside/construction.ts";
import { type HeadEffects, headEffects, headsOf, ownHeads, zOf } from "../inside/heads.ts";
import {
  centroidOf,
  combined,
  lastResiduals,
  mixedPrompts,
  pureTwin,
  residualOf,
  tasksOf,
} from "../inside/task-vectors.ts";
import { barChart } from "../plots/bars.ts";
import type { Prompt } from "../prompts.ts";
import type { Subject } from "../subjects.ts";
import { type FamilySet, taskFamily } from "../tasks/index.ts";
import { ask, examplesOf, factsOf, familiesOf, meanOf, type SubjectFacts, setOf } from "./asking.ts";

interface Settings {
  readonly model: SubjectFacts;
  readonly set: FamilySet;
  readonly families: readonly string[];
  /** Prompts to show, and as many to choose by. */
  readonly prompts: number;
  readonly seed: number;
}

interface TaskCell extends Cell {
  readonly family: string;
  /** The task that is to run. */
  readonly target: number;
  readonly isConstruction: boolean;
}

/** What came of a way to steer; means over the prompts. */
interface Outcome {
  readonly method: string;
  readonly setting: string;
  /** Probability of the target's answer. */
  readonly target: number;
  /** The part of prompts in which it is likelier than each other task's. */
  readonly likeliest: number;
  /** Probability of the other tasks' answers together, and of all that no task answers. */
  readonly others: number;
  readonly none: number;
  /** In pure prompts of the other tasks: the probability of their own answer. */
  readonly pure: number;
}

/** A way to steer, with how strong. */
interface Way {
  readonly setting: string;
  readonly edits: readonly Edit[];
}

/** The family of the construction: small, and no example is of two tasks. */
const CONTROL = { family: "plus", examples: 12 };

export const STEER: Figure<Settings, TaskCell, Outcome[]> = {
  name: "steer",
  asks: "Can one choose which task of a mixed prompt runs, and what does it cost the others?",
  paper:
    "Asked by a reviewer and left open. In the theorem's construction the share of each task is a number in the residual stream.",
  async settings(subject, { quick }) {
    return {
      model: await factsOf(subject),
      set: setOf(subject),
      families: familiesOf(subject),
      prompts: quick ? 6 : 20,
      seed: 0,
    };
  },
  cells: ({ families, set }) => [
    ...families.flatMap((family) =>
      tasksOf(taskFamily(family, set)).map((target) => ({
        id: `${family}-${target}`,
        family,
        target,
        isConstruction: false,
      })),
    ),
    ...tasksOf(taskFamily(CONTROL.family)).map((target) => ({
      id: `construction-${target}`,
      family: CONTROL.family,
      target,
      isConstruction: true,
    })),
  ],
  run: (cell, settings, subject, signal) =>
    cell.isConstruction
      ? steerConstruction(cell, settings, subject, signal)
      : steerModel(cell, settings, subject, signal),
  summarise,
};

/** Prompts to choose by have another seed than those to show. */
const CHOICE = 1;
/** Prompts by which heads are chosen. */
const HEAD_PROMPTS = 4;

async function steerModel(
  { family: name, target }: TaskCell,
  { set, prompts: count, seed }: Settings,
  subject: Subject,
  signal: AbortSignal | undefined,
): Promise<Outcome[]> {
  const family = taskFamily(name, set);
  const examples = examplesOf(set, tasksOf(family).length);
  const choice = mixedPrompts(family, examples, count, seed + CHOICE);
  const shown = mixedPrompts(family, examples, count, seed);
  const ways = {
    nothing: [{ setting: "", edits: [] }],
    "add the task's vector": await vectorWays(subject, choice, target, signal),
    ...(await headWays(subject, choice.slice(0, HEAD_PROMPTS), target, signal)),
  };
  const outcomes: Outcome[] = [];
  for (const [method, list] of Object.entries(ways)) {
    const way = list.length > 1 ? await bestOf(subject, choice, target, list, signal) : (list[0] as Way);
    outcomes.push({ method, ...(await outcomeOf(subject, shown, target, way, signal)) });
  }
  return outcomes;
}

const ADDED = [1, 2, 4];

/** The way from the mean residual of mixed prompts to that of the target's pure ones, some times over, in each layer. */
async function vectorWays(
  subject: Subject,
  prompts: readonly Prompt[],
  target: number,
  signal: AbortSignal | undefined,
): Promise<Way[]> {
  const pure = prompts.map((prompt) => pureTwin(prompt, target));
  const layers = await lastResiduals(subject, [...prompts, ...pure], signal);
  return layers.flatMap((vectors, layer) => {
    const means = [vectors.slice(prompts.length), vectors.slice(0, prompts.length)].map(centroidOf);
    const value = combined(means, [1, -1]);
    return ADDED.map((alpha) => ({
      setting: `layer ${layer}, ${alpha} times`,
      edits: [{ at: residualOf(layer), op: "add" as const, positions: [-1], value, alpha }],
    }));
  });
}

const BOOSTS = [1.5, 2, 4];

/** The target's most selective head made stronger, or those of the other tasks switched off. */
async function headWays(
  subject: Subject,
  prompts: readonly Prompt[],
  target: number,
  signal: AbortSignal | undefined,
): Promise<Record<string, Way[]>> {
  const effects: HeadEffects[] = [];
  for (const prompt of prompts) {
    const found = await headEffects(subject, prompt, signal);
    if (found) effects.push(found);
  }
  if (effects.length === 0) return {};
  const all = headsOf(subject.model);
  const own = ownHeads(effects).map(({ index }) => all[index] as (typeof all)[number]);
  const mine = own[target] as (typeof all)[number];
  const nameOf = ({ layer, head }: typeof mine) => `L${layer}H${head}`;
  const others = [...new Set(own)].filter((head) => head !== mine);
  return {
    "boost its head": BOOSTS.map((value) => ({
      setting: `${nameOf(mine)}, ${value} times`,
      edits: [{ at: zOf(mine), op: "scale" as const, heads: [mine.head], value }],
    })),
    ...(others.length > 0 && {
      "cut the others' heads": [
        {
          setting: others.map(nameOf).join(", "),
          edits: others.map((one) => ({ at: zOf(one), op: "zero" as const, heads: [one.head] })),
        },
      ],
    }),
  };
}

/** The way that makes the target likeliest. */
async function bestOf(
  subject: Subject,
  prompts: readonly Prompt[],
  target: number,
  ways: readonly Way[],
  signal: AbortSignal | undefined,
): Promise<Way> {
  const all = ways.flatMap(({ edits }) => prompts.map(() => edits));
  const answered = await ask(
    subject,
    ways.flatMap(() => prompts),
    signal,
    all,
  );
  const means = ways.map((_, way) =>
    meanOf(
      answered
        .slice(way * prompts.length, (way + 1) * prompts.length)
        .map(({ probabilities }) => probabilities[target] as number),
    ),
  );
  return ways[means.indexOf(Math.max(...means))] as Way;
}

async function outcomeOf(
  subject: Subject,
  prompts: readonly Prompt[],
  target: number,
  { setting, edits }: Way,
  signal: AbortSignal | undefined,
): Promise<Omit<Outcome, "method">> {
  const others = [...(prompts[0] as Prompt).answers.keys()].filter((role) => role !== target);
  const twins = others.flatMap((role) => prompts.map((prompt) => ({ prompt: pureTwin(prompt, role), role })));
  const asked = [...prompts, ...twins.map(({ prompt }) => prompt)];
  const answered = await ask(
    subject,
    asked,
    signal,
    asked.map(() => edits),
  );
  const mixed = answered.slice(0, prompts.length);
  const pure = answered.slice(prompts.length);
  const mean = (of: (one: (typeof answered)[number]) => number) => meanOf(mixed.map(of));
  return {
    setting,
    target: mean(({ probabilities }) => probabilities[target] as number),
    likeliest: mean(({ probabilities }) => Number(probabilities[target] === Math.max(...probabilities))),
    others: mean(({ probabilities }) => others.reduce((sum, role) => sum + (probabilities[role] as number), 0)),
    none: mean(({ other }) => other),
    pure: meanOf(pure.map(({ probabilities }, index) => probabilities[twins[index]?.role as number] as number)),
  };
}

/** WEIGHT at the last position, part of the way from the prompt's shares to the target alone. */
async function steerConstruction(
  { family: name, target }: TaskCell,
  { prompts: count, seed }: Settings,
  { model: { gpu } }: Subject,
  signal: AbortSignal | undefined,
): Promise<Outcome[]> {
  const family = taskFamily(name);
  const construction = await constructionOf(family, CONTROL.examples, gpu);
  using _model = construction.model;
  const { blueprint } = construction;
  const prompts = mixedPrompts(family, CONTROL.examples, Math.min(count, 6), seed);
  const shares = family.tasks.map((_, task) => (prompts[0] as Prompt).shares[task] ?? 0);
  const outcomes: Outcome[] = [];
  for (const part of [0, 0.5, 1]) {
    const weights = shares.map((share, task) => (1 - part) * share + part * Number(task === target));
    const edits = part === 0 ? [] : [setSpace(blueprint, "WEIGHT", [placesOf(blueprint).last], weights)];
    const method = part === 0 ? "nothing" : `set WEIGHT, ${part} of the way`;
    outcomes.push({ method, ...(await outcomeOf(construction, prompts, target, { setting: "", edits }, signal)) });
  }
  return outcomes;
}

const COLUMNS = [
  "family",
  "task to run",
  "method",
  "setting",
  "its probability",
  "prompts in which it is the likeliest task",
  "other tasks together",
  "no task",
  "other tasks in their pure prompts",
];

function summarise({ set }: Settings, results: readonly { cell: TaskCell; result: Outcome[] }[]): Summary {
  const all = results.map(({ cell, result }) => ({
    group: cell.isConstruction ? `construction of ${cell.family}` : cell.family,
    task: taskFamily(cell.family, cell.isConstruction ? "small" : set).tasks[cell.target]?.name as string,
    isConstruction: cell.isConstruction,
    outcomes: result,
  }));
  const groups = [...new Set(all.map(({ group }) => group))].map((name) => ({
    name,
    of: all.filter(({ group }) => group === name),
  }));
  // The target has more than all else together.
  const isSteered = ({ outcomes }: (typeof all)[number]) =>
    outcomes.some(({ method, target }) => method !== "nothing" && target > 0.5);
  const trained = all.filter(({ isConstruction }) => !isConstruction);
  const steered = trained.filter(isSteered).length;
  return {
    table: {
      columns: COLUMNS,
      rows: all.flatMap(({ group, task, outcomes }) =>
        outcomes.map(({ method, setting, target, likeliest, others, none, pure }) => [
          group,
          task,
          method,
          setting,
          target,
          likeliest,
          others,
          none,
          pure,
        ]),
      ),
    },
    plots: groups.map(({ name, of }) => ({
      name: `steer-${name.replaceAll(" ", "-")}`,
      svg: plotOf(
        name,
        of.map(({ outcomes }) => outcomes),
      ),
    })),
    sentence: `${groups
      .map(
        ({ name, of }) =>
          `${name}: ${methodsOf(of.map(({ outcomes }) => outcomes))
            .map(
              ({ method, target, none, pure }) =>
                `${method} gives the target ${target.toFixed(2)}, no task ${none.toFixed(2)}, and leaves the others ${pure.toFixed(2)} in their own prompts`,
            )
            .join("; ")}`,
      )
      .join(". ")}.`,
    verdict: steered === trained.length ? "agrees" : steered === 0 ? "disagrees" : "agrees in part",
  };
}

/** Each method's means over the tasks. */
function methodsOf(cells: readonly (readonly Outcome[])[]) {
  const methods = [...new Set(cells.flat().map(({ method }) => method))];
  return methods.map((method) => {
    const own = cells.flat().filter((outcome) => outcome.method === method);
    const mean = (of: "target" | "others" | "none" | "pure") => meanOf(own.map((outcome) => outcome[of]));
    return { method, target: mean("target"), others: mean("others"), none: mean("none"), pure: mean("pure") };
  });
}

function plotOf(name: string, cells: readonly (readonly Outcome[])[]): string {
  return barChart({
    title: `${name}: a mixed prompt in which one task is to run, means over the tasks`,
    y: { label: "probability", from: 0, to: 1 },
    series: ["its answer", "other tasks", "no task", "pure prompts"],
    groups: methodsOf(cells).map(({ method, target, others, none, pure }) => ({
      name: method,
      bars: [
        { name: "the task's answer", value: target },
        { name: "the other tasks' answers together", value: others },
        { name: "no task's answer", value: none },
        { name: "other tasks' answers in their pure prompts", value: pure },
      ],
    })),
  });
}
