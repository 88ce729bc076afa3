/**
 * A question of the paper's reviewers: can one choose which of the tasks in a mixed prompt runs? Three ways are tried on prompts with
 * equal parts of all tasks: add a task's vector, boost the task's most selective head, or cut those of the others. How strong, and in
 * which layer, is chosen on prompts of their own. The construction is the control: there one number, WEIGHT, is the answer.
 */

import type { Edit } from "../../hooks/index.ts";
import { groupedBars, type Picture } from "../../pictures/index.ts";
import { placesOf, setSpace } from "../../theory/index.ts";
import type { Figure, Summary } from "../figure.ts";
import { constructionOf } from "../inside/construction.ts";
import { type Head, type HeadEffects, headEffects, headsOf, ownHeads, zOf } from "../inside/heads.ts";
import { centroidOf, combined, lastResiduals, pureTwin, residualOf } from "../inside/task-vectors.ts";
import type { Prompt } from "../prompts.ts";
import type { Subject } from "../subjects.ts";
import { taskFamily } from "../tasks/index.ts";
import { ask, meanOf, OTHER } from "./asking.ts";
import { firstTasks, roomNote } from "./examples.ts";
import { cellOfEach, type FamilyCell, type MixedSettings, mixedPrompts, settingsOf } from "./mixed.ts";

interface SteerCell extends FamilyCell {
  readonly isConstruction: boolean;
}

/** What came of steering to one task. */
interface Steered {
  /** The task that was to run. */
  readonly target: number;
  readonly outcomes: readonly Outcome[];
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
/** Its prompts all give the same numbers. */
const MOST_CONTROL = 3;

/** Its prompts are to show, and as many to choose by. */
export const STEER: Figure<MixedSettings, SteerCell, Steered[]> = {
  name: "steer",
  asks: "Can one choose which task of a mixed prompt runs, and what does it cost the others?",
  paper:
    "Asked by a reviewer and left open. In the theorem's construction the share of each task is a number in the residual stream.",
  settings: (subject, { quick }) => settingsOf(subject, quick ? 6 : 20),
  cells: (settings) => [
    ...cellOfEach(settings).map((cell) => ({ ...cell, isConstruction: false })),
    { id: "construction", family: CONTROL.family, isConstruction: true },
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
  { family: name }: SteerCell,
  { set, prompts: count, examples: ofFamilies, seed }: MixedSettings,
  subject: Subject,
  signal: AbortSignal | undefined,
): Promise<Steered[]> {
  const family = taskFamily(name, set);
  const examples = ofFamilies[name] as number;
  const choice = mixedPrompts(family, { examples, count, seed: seed + CHOICE });
  const shown = mixedPrompts(family, { examples, count, seed });
  const own = await findHeads(subject, choice.slice(0, HEAD_PROMPTS), signal);
  const steered: Steered[] = [];
  for (const target of firstTasks(family)) {
    const ways = {
      nothing: [{ setting: "", edits: [] }],
      "add vector": await vectorWays(subject, choice, target, signal),
      ...headWays(own, target),
    };
    const outcomes: Outcome[] = [];
    for (const [method, list] of Object.entries(ways)) {
      if (list.length === 0) continue;
      const way = list.length > 1 ? await bestOf(subject, choice, target, list, signal) : (list[0] as Way);
      outcomes.push({ method, ...(await outcomeOf(subject, shown, target, way, signal)) });
    }
    steered.push({ target, outcomes });
  }
  return steered;
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

/** The most selective head of each task. */
async function findHeads(
  subject: Subject,
  prompts: readonly Prompt[],
  signal: AbortSignal | undefined,
): Promise<Head[]> {
  const effects: HeadEffects[] = [];
  for (const prompt of prompts) effects.push(await headEffects(subject, prompt, signal));
  const all = headsOf(subject.model);
  return ownHeads(effects).map(({ index }) => all[index] as Head);
}

/** The target's head made stronger, or those of the other tasks switched off. */
function headWays(own: readonly Head[], target: number): Record<string, Way[]> {
  const mine = own[target] as Head;
  const nameOf = ({ layer, head }: Head) => `L${layer}H${head}`;
  const others = [...new Set(own)].filter((head) => head !== mine);
  const zeros = others.map((one): Edit => ({ at: zOf(one), op: "zero", heads: [one.head] }));
  return {
    "boost head": BOOSTS.map((value) => ({
      setting: `${nameOf(mine)}, ${value} times`,
      edits: [{ at: zOf(mine), op: "scale", heads: [mine.head], value }],
    })),
    "cut others": others.length > 0 ? [{ setting: others.map(nameOf).join(", "), edits: zeros }] : [],
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
    { edits: all },
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

/** What rounding makes of equal probabilities is below. */
const CLEARLY = 1e-3;

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
  const answered = await ask(subject, asked, signal, { edits: asked.map(() => edits) });
  const mixed = answered.slice(0, prompts.length);
  const pure = answered.slice(prompts.length);
  const mean = (of: (one: (typeof answered)[number]) => number) => meanOf(mixed.map(of));
  return {
    setting,
    target: mean(({ probabilities }) => probabilities[target] as number),
    likeliest: mean(({ probabilities: p }) =>
      Number(others.every((role) => (p[role] as number) < (p[target] as number) - CLEARLY)),
    ),
    others: mean(({ probabilities }) => others.reduce((sum, role) => sum + (probabilities[role] as number), 0)),
    none: mean(({ other }) => other),
    pure: meanOf(pure.map(({ probabilities }, index) => probabilities[twins[index]?.role as number] as number)),
  };
}

/** WEIGHT at the last position, part of the way from the prompt's shares to the target alone. */
async function steerConstruction(
  { family: name }: SteerCell,
  { prompts: count, seed }: MixedSettings,
  { model: { gpu } }: Subject,
  signal: AbortSignal | undefined,
): Promise<Steered[]> {
  const family = taskFamily(name);
  const construction = await constructionOf(family, CONTROL.examples, gpu);
  using _model = construction.model;
  const { blueprint } = construction;
  const prompts = mixedPrompts(family, { examples: CONTROL.examples, count: Math.min(count, MOST_CONTROL), seed });
  const shares = family.tasks.map((_, task) => (prompts[0] as Prompt).shares[task] ?? 0);
  const steered: Steered[] = [];
  for (const target of firstTasks(family)) {
    const outcomes: Outcome[] = [];
    for (const part of [0, 0.5, 1]) {
      const weights = shares.map((share, task) => (1 - part) * share + part * Number(task === target));
      const edits = part === 0 ? [] : [setSpace(blueprint, "WEIGHT", [placesOf(blueprint).last], weights)];
      const method = part === 0 ? "nothing" : `set WEIGHT, ${part}`;
      outcomes.push({ method, ...(await outcomeOf(construction, prompts, target, { setting: "", edits }, signal)) });
    }
    steered.push({ target, outcomes });
  }
  return steered;
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

function summarise(
  { set, examples }: MixedSettings,
  results: readonly { cell: SteerCell; result: Steered[] }[],
): Summary {
  const all = results.flatMap(({ cell: { family, isConstruction }, result }) =>
    result.map(({ target, outcomes }) => ({
      group: isConstruction ? `construction of ${family}` : family,
      task: taskFamily(family, isConstruction ? "small" : set).tasks[target]?.name as string,
      isConstruction,
      outcomes,
    })),
  );
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
      picture: plotOf(
        name,
        of.map(({ outcomes }) => outcomes),
      ),
    })),
    sentence: `Probability of the task that is to run, by what is done: ${groups
      .map(
        ({ name, of }) =>
          `${name}: ${methodsOf(of.map(({ outcomes }) => outcomes))
            .map(
              ({ method, target, none, pure }) =>
                `${method} ${target.toFixed(2)} (no task ${none.toFixed(2)}, others in their own prompts ${pure.toFixed(2)})`,
            )
            .join("; ")}`,
      )
      .join(". ")}.${roomNote(set, examples)}`,
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

function plotOf(name: string, cells: readonly (readonly Outcome[])[]): Picture {
  return groupedBars(
    methodsOf(cells).map(({ method, target, others, none, pure }) => ({
      name: method,
      bars: [
        { name: "its answer", value: target },
        { name: "other tasks", value: others },
        { name: "no task", value: none, series: OTHER },
        { name: "pure prompts", value: pure, series: 3 },
      ],
    })),
    {
      title: `${name}: one task of the prompt is to run; means over tasks`,
      y: { label: "probability", from: 0, to: 1 },
    },
  );
}
