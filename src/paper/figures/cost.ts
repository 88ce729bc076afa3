/**
 * A reviewer's question (W2): what does superposition cost each task? A task in a prompt of K has a Kth of the examples, so there are
 * two comparisons: with prompts of that task alone that are as long, and with ones that have as many examples of it. The second
 * shows what the others' presence costs.
 */
import { pointPlot } from "../../pictures/index.ts";
import type { Figure, Summary } from "../figure.ts";
import { taskFamily } from "../tasks/index.ts";
import { meanOf } from "./asking.ts";
import { roomNote } from "./examples.ts";
import { blocksOf, type MixedSettings, mixedSettings } from "./mixed.ts";
import { numbersOfTasks, type Ranked, rank, type Several } from "./several.ts";

/** Beside how many tasks a prompt's task would have as many examples. */
interface Priced extends Several {
  readonly mixture: number;
}

export const COST: Figure<MixedSettings, Priced, Ranked[]> = {
  name: "cost",
  asks: "How accurate is each task alone, and in mixtures of two to K, where its answer may be any of the K likeliest?",
  paper: "A reviewer asked what superposition costs each task (W2); by table 2, the tasks of a mixture are still done.",
  settings: mixedSettings,
  cells: (settings) =>
    settings.families.flatMap((family) =>
      numbersOfTasks(taskFamily(family, settings.set)).flatMap((mixture) => {
        const all = settings.examples[family] as number;
        const alone = { family, mixture, tasks: 1, examples: Math.round(all / mixture) };
        const mixed = { family, mixture, tasks: mixture, examples: all };
        return [
          ...blocksOf(settings, `${family}-alone-${mixture}`, alone),
          ...(mixture > 1 ? blocksOf(settings, `${family}-mixed-${mixture}`, mixed) : []),
        ];
      }),
    ),
  run: rank,
  summarise,
};

const COLUMNS = [
  "family",
  "task",
  "tasks in the mixture (K)",
  "examples of the task",
  "alone, as long a prompt",
  "alone, as many examples",
  "in the mixture, among the top K",
  "cost: alone with as many examples less in the mixture",
  "mean probability alone, as many examples",
  "mean probability in the mixture, times K",
];

interface Price {
  readonly family: string;
  readonly task: string;
  readonly mixture: number;
  readonly examples: number;
  readonly longAlone: number;
  readonly alone: number;
  readonly mixed: number;
  readonly probabilityAlone: number;
  readonly probabilityMixed: number;
}

function summarise(settings: MixedSettings, results: readonly { cell: Priced; result: Ranked[] }[]): Summary {
  const prices = settings.families.flatMap((family) => pricesOf(settings, family, results));
  const cost = ({ alone, mixed }: Price) => alone - mixed;
  const mixtures = [...new Set(prices.map(({ mixture }) => mixture))];
  const isKept = ({ mixed, alone }: Price) => mixed > alone / 2;
  const kept = prices.filter(isKept).length;
  return {
    table: {
      columns: COLUMNS,
      rows: prices.map((price) => [
        price.family,
        price.task,
        price.mixture,
        price.examples,
        price.longAlone,
        price.alone,
        price.mixed,
        cost(price),
        price.probabilityAlone,
        price.probabilityMixed,
      ]),
    },
    plots: settings.families.map((family) => plotOf(family, prices)),
    sentence: `${settings.families
      .map((family) => {
        const means = mixtures.flatMap((mixture) => {
          const own = prices.filter((price) => price.family === family && price.mixture === mixture);
          return own.length === 0 ? [] : [`${meanOf(own.map(cost)).toFixed(2)} in mixtures of ${mixture}`];
        });
        return `${family}: the accuracy lost is ${means.join(", ")}`;
      })
      .join("; ")}.${roomNote(settings.set, settings.examples)}`,
    // "Still done": more often than not, of the cases in which the task is done alone.
    verdict: kept === prices.length ? "agrees" : kept === 0 ? "disagrees" : "agrees in part",
  };
}

/** A task's results, in all prompts that have it, whichever its role. */
function ofTask(task: number, results: readonly { result: Ranked[] }[]) {
  const own = results.flatMap(({ result }) =>
    result.flatMap(({ tasks, inTop, probabilities }) => {
      const role = tasks.indexOf(task);
      return role < 0 ? [] : [{ isDone: inTop[role] as boolean, probability: probabilities[role] as number }];
    }),
  );
  return {
    count: own.length,
    accuracy: meanOf(own.map(({ isDone }) => Number(isDone))),
    probability: meanOf(own.map(({ probability }) => probability)),
  };
}

/** Tasks that were drawn for no prompt are left out. */
function pricesOf(
  settings: MixedSettings,
  name: string,
  results: readonly { cell: Priced; result: Ranked[] }[],
): Price[] {
  const family = taskFamily(name, settings.set);
  const at = (mixture: number, tasks: number) =>
    results.filter(({ cell }) => cell.family === name && cell.mixture === mixture && cell.tasks === tasks);
  return numbersOfTasks(family).flatMap((mixture) =>
    family.tasks.flatMap((task, number): Price[] => {
      if (mixture === 1) return [];
      const [longAlone, alone, mixed] = [at(1, 1), at(mixture, 1), at(mixture, mixture)].map((one) =>
        ofTask(number, one),
      );
      if (!longAlone?.count || !alone?.count || !mixed?.count) return [];
      return [
        {
          family: name,
          task: task.name,
          mixture,
          examples: Math.round((settings.examples[name] as number) / mixture),
          longAlone: longAlone.accuracy,
          alone: alone.accuracy,
          mixed: mixed.accuracy,
          probabilityAlone: alone.probability,
          probabilityMixed: mixture * mixed.probability,
        },
      ];
    }),
  );
}

function plotOf(family: string, prices: readonly Price[]) {
  const own = prices.filter((price) => price.family === family);
  const mixtures = [...new Set(own.map(({ mixture }) => mixture))];
  const series = (name: string, value: (price: Price) => number) => ({
    name,
    line: mixtures.map((at) => [at, meanOf(own.filter(({ mixture }) => mixture === at).map(value))] as const),
    points: own.map((price) => [price.mixture, value(price)] as const),
  });
  return {
    name: `cost-${family}`,
    picture: pointPlot(
      [
        series("alone, as long", ({ longAlone }) => longAlone),
        series("alone, as many", ({ alone }) => alone),
        series("in the mixture", ({ mixed }) => mixed),
      ],
      {
        title: `${family}: accuracy of the tasks, means and a point a task`,
        x: { label: "K, tasks in the mixture", from: 0, to: Math.max(4, ...mixtures) },
        y: { label: "accuracy", from: 0, to: 1 },
        jitter: 0.05,
      },
    ),
  };
}
