/** The paper's section 4: two tasks in one prompt, one with share lambda; do the two probabilities follow it? */

import { pointPlot } from "../../pictures/index.ts";
import type { Figure, Summary } from "../figure.ts";
import type { Measured } from "../measure.ts";
import { countsOf, evaluationPrompts, type Prompt } from "../prompts.ts";
import { type MixtureReport, mixtureReport } from "../report.ts";
import { taskFamily } from "../tasks/index.ts";
import { ask, meanOf } from "./asking.ts";
import { roomNote } from "./examples.ts";
import { type FamilyCell, type MixedSettings, settingsOf } from "./mixed.ts";

interface Settings extends MixedSettings {
  readonly shares: readonly number[];
}

/** Tasks drawn for each prompt hide that a model prefers one; the first two of the family show it. */
const PAIRS = ["random", "first"] as const;

const tasksInPair = () => 2;

interface Mixture extends FamilyCell {
  readonly pair: (typeof PAIRS)[number];
  readonly share: number;
}

function promptsOf({ set, examples, prompts, seed }: Settings, { family, pair, share }: Mixture): Prompt[] {
  const counts = countsOf([share, 1 - share], examples[family] as number);
  return evaluationPrompts(taskFamily(family, set), {
    counts,
    count: prompts,
    seed,
    ...(pair === "first" && { tasks: [0, 1] }),
  });
}

/** 0, 1/steps, ..., 1. */
const sharesOf = (steps: number) => Array.from({ length: steps + 1 }, (_, index) => index / steps);

export const LAMBDA: Figure<Settings, Mixture, Measured[]> = {
  name: "lambda",
  asks: "If a part lambda of the examples is of one task and the rest of another, how likely is each one's answer?",
  paper: "In models trained on one task at a time, the two probabilities follow lambda almost linearly (section 4).",
  async settings(subject, { quick }) {
    return { ...(await settingsOf(subject, quick ? 40 : 200, tasksInPair)), shares: sharesOf(quick ? 4 : 10) };
  },
  cells: ({ families, shares }) =>
    families.flatMap((family) =>
      PAIRS.flatMap((pair) => shares.map((share) => ({ id: `${family}-${pair}-${share}`, family, pair, share }))),
    ),
  run: (cell, settings, subject, signal) => ask(subject, promptsOf(settings, cell), signal),
  summarise,
};

const COLUMNS = [
  "family",
  "pair",
  "lambda",
  "first task, mean",
  "first, standard deviation",
  "second task, mean",
  "second, standard deviation",
  "smaller of the two, mean",
  "prompts with both above 0.2",
  "prompts with both at a fifth of their share",
  "other",
  "KL (nats)",
];

function summarise(settings: Settings, results: readonly { cell: Mixture; result: Measured[] }[]): Summary {
  const measured = results.map(({ cell, result }) => ({
    cell,
    result,
    report: mixtureReport(promptsOf(settings, cell), result),
  }));
  const curves = settings.families.flatMap((family) =>
    PAIRS.map((pair) => ({
      family,
      pair,
      of: measured.filter(({ cell }) => cell.family === family && cell.pair === pair),
    })),
  );
  const meanAt = (one: (typeof measured)[number], role: number) => one.report.roles[role]?.mean as number;
  const plots = curves.map(({ family, pair, of }) => ({
    name: `lambda-${family}-${pair}`,
    picture: pointPlot(
      [0, 1].map((role) => ({
        name: role === 0 ? "first task" : "second task",
        line: of.map((one) => [one.cell.share, meanAt(one, role)] as const),
        points: of.flatMap(({ cell, result }) =>
          result.map(({ probabilities }) => [cell.share, probabilities[role] as number] as const),
        ),
      })),
      {
        title: `${family}, ${pair === "first" ? "the first two tasks" : "random pairs"}: means and prompts; dashed: as lambda`,
        x: { label: "lambda, the first task's part of the examples", from: 0, to: 1 },
        y: { label: "probability of the answer", from: 0, to: 1 },
        diagonal: true,
        jitter: 0.02,
      },
    ),
  }));
  const found = curves.map(({ family, pair, of }) => {
    const curve = of
      .map((one) => [one.cell.share, meanAt(one, 0)] as const)
      .filter(([share]) => share > 0 && share < 1);
    const middle = (of.find(({ cell }) => cell.share === 0.5) as (typeof measured)[number]).report;
    return { family, pair, off: distance(curve, LAWS.lambda), law: nearestLaw(curve), middle };
  });
  const linear = found.filter(({ law, middle }) => law === "lambda" && middle.other <= 0.5).length;
  return {
    table: {
      columns: COLUMNS,
      rows: measured.map(
        ({
          cell,
          result,
          report: {
            roles: [first, second],
            ...report
          },
        }) => [
          cell.family,
          cell.pair,
          cell.share,
          first?.mean ?? "",
          first?.spread ?? "",
          second?.mean ?? "",
          second?.spread ?? "",
          report.smaller,
          report.allAboveFifth,
          report.fair,
          meanOf(result.map(({ other }) => other)),
          report.kl,
        ],
      ),
    },
    plots,
    sentence: found.map(sentenceOf).join(" ") + roomNote(settings.set, settings.examples, tasksInPair),
    verdict: linear === found.length ? "agrees" : linear === 0 ? "disagrees" : "agrees in part",
  };
}

/**
 * What a mean curve can be where both tasks have examples. The paper says that it follows lambda almost linearly. A model that does
 * not superpose picks the task with more examples, and one that does not heed the parts picks either half the time, or always the
 * same. A curve is called after the law that it is nearest to, so no bound has to be chosen.
 */
const LAWS = {
  lambda: (share: number) => share,
  "a step": (share: number) => (share === 0.5 ? 0.5 : Number(share > 0.5)),
  "a constant half": () => 0.5,
  "the first task always": () => 1,
  "the second task always": () => 0,
};

type Curve = readonly (readonly [share: number, mean: number])[];

/** Mean distance of a curve from a law. */
const distance = (curve: Curve, law: (share: number) => number) =>
  meanOf(curve.map(([share, mean]) => Math.abs(mean - law(share))));

function nearestLaw(curve: Curve): keyof typeof LAWS {
  const names = Object.keys(LAWS) as (keyof typeof LAWS)[];
  const offs = names.map((name) => distance(curve, LAWS[name]));
  return names[offs.indexOf(Math.min(...offs))] as keyof typeof LAWS;
}

/** The paper shows means. They say nothing of single prompts: a half is also what a model has that picks either task half the time. */
function sentenceOf({ family, pair, off, law, middle }: Found): string {
  const name = `${family}, ${pair === "first" ? "first two tasks" : "random pairs"}`;
  if (middle.other > 0.5)
    return `${name}: other answers have ${middle.other.toFixed(2)} at one half, more than both tasks together.`;
  const picks = middle.fair < 0.5 ? "most prompts pick one task, which the mean hides" : "most prompts have both tasks";
  return `${name}: the mean is ${off.toFixed(2)} from lambda on average and nearest to ${law}; at one half ${picks} (the smaller probability is ${middle.smaller.toFixed(2)} on average, both are above 0.2 in ${Math.round(100 * middle.allAboveFifth)}% of prompts).`;
}

interface Found {
  readonly family: string;
  readonly pair: (typeof PAIRS)[number];
  readonly off: number;
  readonly law: keyof typeof LAWS;
  readonly middle: MixtureReport;
}
