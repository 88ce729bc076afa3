/** The paper's figures 1 and 2: examples of all tasks of a family in one prompt, and the probability of each task's answer. */

import type { Cell, Figure, Summary } from "../figure.ts";
import { barChart } from "../plots/bars.ts";
import { ternaryPlot } from "../plots/ternary.ts";
import { countsOf, equalShares, evaluationPrompts, type Prompt } from "../prompts.ts";
import { mixtureReport } from "../report.ts";
import { type FamilySet, taskFamily } from "../tasks/index.ts";
import { type Answered, ask, factsOf, familiesOf, meanOf, measuredOf, type SubjectFacts, setOf } from "./asking.ts";

interface Settings {
  readonly model: SubjectFacts;
  readonly set: FamilySet;
  readonly families: readonly string[];
  readonly prompts: number;
  readonly seed: number;
}

interface Block extends Cell {
  readonly family: string;
  readonly first: number;
  readonly count: number;
}

/** Prompts of a cell. */
const BLOCK = 20;

/** A family with more tasks than this is asked three of them, drawn for each prompt. */
const MOST_TASKS = 4;

/** Examples a prompt: the paper's for a pretrained model, twenty for one that was trained on short sequences. */
const examplesOf = (set: FamilySet, tasks: number) => (set === "pretrained" ? 20 * tasks : 20);

/** Prompts with equal parts of a family's tasks: of all, or of three of many. */
export function mixedPrompts(
  { set, seed }: Pick<Settings, "set" | "seed">,
  name: string,
  first: number,
  count: number,
): Prompt[] {
  const family = taskFamily(name, set);
  const isWhole = family.tasks.length <= MOST_TASKS;
  const tasks = isWhole ? family.tasks.length : 3;
  const counts = countsOf(equalShares(tasks), examplesOf(set, tasks));
  return evaluationPrompts(family, {
    counts,
    count,
    first,
    seed,
    ...(isWhole && { tasks: family.tasks.map((task) => task.name) }),
  });
}

export const MIXTURES: Figure<Settings, Block, Answered[]> = {
  name: "mixtures",
  asks: "With examples of several tasks in one prompt, in equal parts, how likely is each task's answer to the query?",
  paper:
    "The three or four answers together take most of the probability, each of them a part that is not negligible; every model prefers some tasks to others (figures 1 and 2).",
  async settings(subject, { quick }) {
    return {
      model: await factsOf(subject),
      set: setOf(subject),
      families: familiesOf(subject),
      prompts: quick ? BLOCK : 5 * BLOCK,
      seed: 0,
    };
  },
  cells: ({ families, prompts }) =>
    families.flatMap((family) =>
      Array.from({ length: Math.ceil(prompts / BLOCK) }, (_, block) => ({
        id: `${family}-${block}`,
        family,
        first: block * BLOCK,
        count: Math.min(BLOCK, prompts - block * BLOCK),
      })),
    ),
  run: ({ family, first, count }, settings, subject, signal) =>
    ask(subject, mixedPrompts(settings, family, first, count), signal),
  summarise,
};

const COLUMNS = [
  "family",
  "task",
  "share",
  "mean probability",
  "standard deviation",
  "all answers",
  "other",
  "likeliest other token",
  "entropy (nats)",
  "KL (nats)",
  "prompts with every task at a fifth of its share",
  "prompts with all answers in the top K",
  "prompts with overlapping answers",
];

function summarise(settings: Settings, results: readonly { cell: Block; result: Answered[] }[]): Summary {
  const families = settings.families.map((name) => {
    const answered = results.filter(({ cell }) => cell.family === name).flatMap(({ result }) => result);
    const prompts = mixedPrompts(settings, name, 0, answered.length);
    const { tasks } = taskFamily(name, settings.set);
    const roles = tasks.length <= MOST_TASKS ? tasks.map((task) => task.name) : ["role 1", "role 2", "role 3"];
    return {
      name,
      roles,
      answered,
      report: mixtureReport(prompts, measuredOf(answered)),
      together: 1 - meanOf(answered.map(({ other }) => other)),
    };
  });
  const rows = families.flatMap(({ name, roles, answered, report, together }) =>
    report.roles.map(({ share, mean, spread }, role) => [
      name,
      roles[role] as string,
      share,
      mean,
      spread,
      together,
      1 - together,
      meanOf(answered.map((one) => one.likeliestOther)),
      meanOf(answered.map((one) => one.entropy)),
      report.kl,
      report.fair,
      report.topK ?? "",
      meanOf(answered.map((one) => Number(one.isOverlapping))),
    ]),
  );
  const most = Math.max(...families.map(({ roles }) => roles.length));
  const bars = barChart({
    title: "Mean probability of each task's answer, and its standard deviation over prompts",
    y: { label: "probability", from: 0, to: 1 },
    series: [...Array.from({ length: most }, (_, role) => `task ${role + 1}`), "other"],
    groups: families.map(({ name, roles, report, together }) => ({
      name,
      bars: [
        ...report.roles.map(({ mean, spread }, role) => ({ name: roles[role] as string, value: mean, spread })),
        ...Array.from({ length: most - roles.length }, () => ({ name: "", value: 0 })),
        { name: "other", value: 1 - together },
      ],
    })),
  });
  const triangles = families.flatMap(({ name, roles, answered }) =>
    triples(roles.length).map((triple) => ({
      name: `mixtures-${name}-${triple.join("")}`,
      svg: ternaryPlot({
        title: `${name}: a point a prompt`,
        corners: triple.map((role) => roles[role] as string),
        points: answered.map(({ probabilities }) => triple.map((role) => probabilities[role] as number)),
      }),
    })),
  );
  const isMost = families.filter(({ together }) => together > 0.5).length;
  const isEach = families.filter(({ report }) => report.roles.every(({ share, mean }) => mean >= share / 5)).length;
  const percent = (value: number) => `${Math.round(100 * value)}%`;
  return {
    table: { columns: COLUMNS, rows },
    plots: [{ name: "mixtures", svg: bars }, ...triangles],
    sentence: `${families
      .map(
        ({ name, together, report }) =>
          `${name}: all answers together ${percent(together)}, and every task has at least a fifth of its share in ${percent(report.fair)} of the prompts`,
      )
      .join("; ")}.`,
    verdict:
      isMost + isEach === 2 * families.length ? "agrees" : isMost + isEach === 0 ? "disagrees" : "agrees in part",
  };
}

/** Every three of `count` roles. */
function triples(count: number): number[][] {
  const roles = Array.from({ length: count }, (_, role) => role);
  return roles.flatMap((a) => roles.slice(a + 1).flatMap((b) => roles.slice(b + 1).map((c) => [a, b, c])));
}
