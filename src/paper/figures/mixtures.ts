/** The paper's figures 1 and 2: examples of all tasks of a family in one prompt, and the probability of each task's answer. */

import { groupedBars, ternaryPlot } from "../../pictures/index.ts";
import type { Figure, Summary } from "../figure.ts";
import type { Measured } from "../measure.ts";
import { mixtureReport } from "../report.ts";
import { taskFamily } from "../tasks/index.ts";
import { ask, meanOf, OTHER } from "./asking.ts";
import { roomNote } from "./examples.ts";
import { type Block, blockPrompts, blocksOf, type MixedSettings, mixedSettings, roleNames } from "./mixed.ts";

export const MIXTURES: Figure<MixedSettings, Block, Measured[]> = {
  name: "mixtures",
  asks: "With examples of several tasks in one prompt, in equal parts, how likely is each task's answer to the query?",
  paper:
    "The three or four answers together take most of the probability, each of them a part that is not negligible; every model prefers some tasks to others (figures 1 and 2).",
  settings: mixedSettings,
  cells: (settings) => settings.families.flatMap((family) => blocksOf(settings, family, { family })),
  run: (block, settings, subject, signal) => ask(subject, blockPrompts(settings, block), signal),
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
  "smallest of a prompt's, mean",
  "prompts with every task at a fifth of its share",
  "prompts with all answers in the top K",
  "prompts with overlapping answers",
];

function summarise(settings: MixedSettings, results: readonly { cell: Block; result: Measured[] }[]): Summary {
  const families = settings.families.map((name) => {
    const answered = results.filter(({ cell }) => cell.family === name).flatMap(({ result }) => result);
    const prompts = blockPrompts(settings, { family: name, first: 0, count: answered.length });
    const roles = roleNames(taskFamily(name, settings.set));
    return {
      name,
      roles,
      answered,
      report: mixtureReport(prompts, answered),
      together: 1 - meanOf(answered.map(({ other }) => other)),
      likeliestOther: meanOf(answered.map((one) => one.likeliestOther)),
    };
  });
  const rows = families.flatMap(({ name, roles, answered, report, together, likeliestOther }) =>
    report.roles.map(({ share, mean, spread }, role) => [
      name,
      roles[role] as string,
      share,
      mean,
      spread,
      together,
      1 - together,
      likeliestOther,
      meanOf(answered.map((one) => one.entropy)),
      report.kl,
      report.smaller,
      report.fair,
      report.topK ?? "",
      meanOf(answered.map((one) => Number(one.isOverlapping))),
    ]),
  );
  const bars = groupedBars(
    families.map(({ name, roles, report, together }) => ({
      name,
      bars: [
        ...report.roles.map(({ mean, spread }, role) => ({ name: roles[role] as string, value: mean, spread })),
        { name: "other", value: 1 - together, series: OTHER },
      ],
    })),
    {
      title: "Mean probability of each task's answer, and its standard deviation",
      y: { label: "probability", from: 0, to: 1 },
    },
  );
  const triangles = families.flatMap(({ name, roles, answered }) =>
    triples(roles.length).map((triple) => ({
      name: `mixtures-${name}-${triple.join("")}`,
      picture: ternaryPlot(
        answered.map(({ probabilities }) => triple.map((role) => probabilities[role] as number)),
        { title: `${name}: a point a prompt`, corners: triple.map((role) => roles[role] as string) },
      ),
    })),
  );
  const isMost = families.filter(({ together }) => together > 0.5).length;
  const isEach = families.filter(({ report, likeliestOther }) =>
    report.roles.every(({ mean }) => mean > likeliestOther),
  ).length;
  const percent = (value: number) => `${Math.round(100 * value)}%`;
  return {
    table: { columns: COLUMNS, rows },
    plots: [{ name: "mixtures", picture: bars }, ...triangles],
    sentence: `${families
      .map(
        ({ name, together, report, likeliestOther }) =>
          `${name}: all answers together ${percent(together)}, the least likely task ${percent(Math.min(...report.roles.map(({ mean }) => mean)))} and the likeliest other token ${percent(likeliestOther)}, and every task has at least a fifth of its share in ${percent(report.fair)} of the prompts`,
      )
      .join("; ")}.${roomNote(settings.set, settings.examples)}`,
    // "Most" is more than half. "Not negligible" is more than the likeliest token that begins no task's answer, as in the paper's
    // figure 8. Both of means, as the paper shows them; the part of prompts says whether single prompts are so, too.
    verdict:
      isMost + isEach === 2 * families.length ? "agrees" : isMost + isEach === 0 ? "disagrees" : "agrees in part",
  };
}

/** Every three of `count` roles. */
function triples(count: number): number[][] {
  const roles = Array.from({ length: count }, (_, role) => role);
  return roles.flatMap((a) => roles.slice(a + 1).flatMap((b) => roles.slice(b + 1).map((c) => [a, b, c])));
}
