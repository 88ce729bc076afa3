/**
 * Beyond the paper: when does a model superpose within a prompt? Models that were trained on prompts of which a part of the examples
 * is of another task (the presets lc, lc-mix2, lc-mix5, lc-mix10 and lc-mix20), asked mixtures of two tasks.
 */
import { groupedBars, type Picture, pointPlot } from "../../pictures/index.ts";
import type { Comparison, ModelResults, Summary } from "../figure.ts";
import type { Measured } from "../measure.ts";
import { TRAINING_PRESET_NAMES } from "../preset-spec.ts";
import { trainingPreset } from "../presets.ts";
import { countsOf, evaluationPrompts, type Prompt } from "../prompts.ts";
import { mixtureReport } from "../report.ts";
import { lastPart } from "../subjects.ts";
import { taskFamily } from "../tasks/index.ts";
import { ask } from "./asking.ts";
import { type Block, type MixedSettings, mixedSettings } from "./mixed.ts";

interface Shared extends Block {
  /** The first task's part of the examples. */
  readonly share: number;
}

const SHARES = [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1];

/** Two tasks, drawn for each prompt. */
function promptsOf({ set, seed, examples }: MixedSettings, { family, first, count, share }: Shared): Prompt[] {
  const counts = countsOf([share, 1 - share], examples[family] as number);
  return evaluationPrompts(taskFamily(family, set), { counts, count, first, seed });
}

export const PURITY: Comparison<MixedSettings, Shared, Measured[]> = {
  name: "purity",
  asks: "How do the two probabilities of a mixture follow its parts, in models whose training prompts were more or less pure?",
  paper: "Models are trained on one task a prompt (section 4). That a few examples of other tasks change them is ours.",
  models: (folder) => ["lc", "lc-mix10"].map((name) => `${folder}/${name}`),
  settings: mixedSettings,
  cells: ({ families, prompts }) =>
    families.flatMap((family) =>
      SHARES.map((share) => ({ id: `${family}-${share}`, family, share, first: 0, count: prompts })),
    ),
  run: (cell, settings, subject, signal) => ask(subject, promptsOf(settings, cell), signal),
  compare,
};

const COLUMNS = [
  "model",
  "family",
  "share",
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

type Results = readonly ModelResults<MixedSettings, Shared, Measured[]>[];

function compare(models: Results): Summary {
  const found = models.flatMap(({ settings, results }, model) =>
    results.map(({ cell, result }) => ({
      model,
      name: nameOf(settings),
      cell,
      report: mixtureReport(promptsOf(settings, cell), result),
    })),
  );
  const families = [...new Set(found.map(({ cell }) => cell.family))];
  const names = models.map(({ settings }) => nameOf(settings));
  const middle = (family: string, model: number) =>
    found.find((one) => one.model === model && one.cell.family === family && one.cell.share === 0.5)?.report;
  const smaller = (family: string, model: number) => middle(family, model)?.smaller ?? 0;
  return {
    table: {
      columns: COLUMNS,
      rows: found.map(({ name, cell, report }) => [
        name,
        cell.family,
        cell.share,
        ...report.roles.flatMap(({ mean, spread }) => [mean, spread]),
        report.smaller,
        report.allAboveFifth,
        report.fair,
        report.other,
        report.kl,
      ]),
    },
    plots: [
      ...families.map((family) => ({
        name: `purity-${family}`,
        picture: pointPlot(
          names.map((name, model) => ({
            name,
            line: found
              .filter((one) => one.model === model && one.cell.family === family)
              .map(({ cell, report }) => [cell.share, report.roles[0]?.mean as number] as const),
          })),
          {
            title: `${family}: the first task's mean probability; dashed: as its share`,
            x: { label: "the first task's part of the examples", from: 0, to: 1 },
            y: { label: "probability of the answer", from: 0, to: 1 },
            diagonal: true,
          },
        ),
      })),
      { name: "purity-smaller", picture: halvesPlot(families, names, smaller) },
    ],
    sentence: `At one half, ${families
      .map(
        (family) =>
          `${family}: ${names.map((name, model) => `${name} has both tasks above 0.2 in ${Math.round(100 * (middle(family, model)?.allAboveFifth ?? 0))}% of prompts, and ${smaller(family, model).toFixed(2)} for the smaller`).join("; ")}`,
      )
      .join(". ")}.`,
    verdict: "goes beyond",
  };
}

/** The part of a preset's training examples that is of another task; undefined for other models. */
const impurityOf = (name: string) =>
  TRAINING_PRESET_NAMES.some((known) => known === name) ? trainingPreset(name).data.impurity : undefined;

const HALVES = {
  title: "The smaller of a prompt's two probabilities at one half, mean",
  y: { label: "probability (0.5 at most)", from: 0, to: 0.5 },
};

/** Over the impurity of the training prompts where it is known of all models, and otherwise a bar for each. */
function halvesPlot(
  families: readonly string[],
  names: readonly string[],
  smaller: (family: string, model: number) => number,
): Picture {
  const parts = names.map(impurityOf);
  if (parts.includes(undefined)) {
    const bars = (family: string) => names.map((name, model) => ({ name, value: smaller(family, model) }));
    return groupedBars(
      families.map((family) => ({ name: family, bars: bars(family) })),
      { ...HALVES },
    );
  }
  const percents = (parts as number[]).map((part) => 100 * part);
  const line = (family: string) =>
    percents.map((percent, model) => [percent, smaller(family, model)] as const).sort(([a], [b]) => a - b);
  return pointPlot(
    families.map((family) => ({ name: family, line: line(family) })),
    { ...HALVES, x: { label: "training examples of another task (%)" } },
  );
}

const nameOf = ({ model: { label } }: MixedSettings) => lastPart(label);
