/** The rebuttal's table 2: with K tasks in the prompt, how often is a task's answer among the K likeliest? */
import { pointPlot } from "../../pictures/index.ts";
import type { Figure, Summary } from "../figure.ts";
import { taskFamily } from "../tasks/index.ts";
import { meanOf } from "./asking.ts";
import { roomNote } from "./examples.ts";
import { blocksOf, type MixedSettings, mixedSettings } from "./mixed.ts";
import { numbersOfTasks, type Ranked, rank, type Several } from "./several.ts";

export const TOP_K: Figure<MixedSettings, Several, Ranked[]> = {
  name: "top-k",
  asks: "With examples of K tasks in the prompt, how often is a task's answer among the K likeliest answers?",
  paper: "The answers of two and more tasks in one prompt are among as many likeliest ones (rebuttal, table 2).",
  settings: mixedSettings,
  cells: (settings) =>
    settings.families.flatMap((family) =>
      numbersOfTasks(taskFamily(family, settings.set)).flatMap((tasks) =>
        blocksOf(settings, `${family}-${tasks}`, { family, tasks, examples: settings.examples[family] as number }),
      ),
    ),
  run: rank,
  summarise,
};

const COLUMNS = [
  "family",
  "tasks in the prompt (K)",
  "answers among the top K",
  "tasks done (of K)",
  "prompts with all answers in the top K",
];

function summarise(settings: MixedSettings, results: readonly { cell: Several; result: Ranked[] }[]): Summary {
  const found = settings.families.flatMap((family) =>
    numbersOfTasks(taskFamily(family, settings.set)).map((tasks) => {
      const ranked = results
        .filter(({ cell }) => cell.family === family && cell.tasks === tasks)
        .flatMap(({ result }) => result);
      return {
        family,
        tasks,
        accuracy: meanOf(ranked.flatMap(({ inTop }) => inTop.map(Number))),
        all: meanOf(ranked.map(({ inTop }) => Number(inTop.every(Boolean)))),
      };
    }),
  );
  // A model that does one task at a time has one answer of K among the top K, whatever K is.
  const several = found.filter(({ tasks }) => tasks > 1);
  const done = several.filter(({ tasks, accuracy }) => tasks * accuracy > 1 && accuracy > 0.5);
  return {
    table: {
      columns: COLUMNS,
      rows: found.map(({ family, tasks, accuracy, all }) => [family, tasks, accuracy, tasks * accuracy, all]),
    },
    plots: [
      {
        name: "top-k",
        picture: pointPlot(
          settings.families.map((family) => ({
            name: family,
            line: found.filter((one) => one.family === family).map(({ tasks, accuracy }) => [tasks, accuracy] as const),
          })),
          {
            title: "Answers among the K likeliest, for K tasks in the prompt",
            x: { label: "K, tasks in the prompt", from: 0, to: Math.max(4, ...found.map(({ tasks }) => tasks)) },
            y: { label: "part of the answers", from: 0, to: 1 },
          },
        ),
      },
    ],
    sentence: `${settings.families
      .map((family) => {
        const own = found.filter((one) => one.family === family);
        return `${family}: of 1 to ${own.length} tasks ${own.map(({ tasks, accuracy }) => (tasks * accuracy).toFixed(2)).join(", ")} are done`;
      })
      .join("; ")}.${roomNote(settings.set, settings.examples)}`,
    verdict: done.length === several.length ? "agrees" : done.length === 0 ? "disagrees" : "agrees in part",
  };
}
