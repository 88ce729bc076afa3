/**
 * The paper's Figure V: models that differ in their number of heads alone are trained, with three seeds each, and asked mixtures of
 * two tasks. A cell trains a model and asks it, so a run that was ended loses at most a model.
 */

import { pointPlot } from "../../pictures/index.ts";
import { train } from "../../train/index.ts";
import { PaperError } from "../errors.ts";
import type { Cell, Comparison, ModelResults, Summary } from "../figure.ts";
import { heldOutAccuracy } from "../held-out.ts";
import type { Measured } from "../measure.ts";
import { type Preset, presetBatches, presetModel, trainingPreset } from "../presets.ts";
import { countsOf, evaluationPrompts, type Prompt } from "../prompts.ts";
import { mixtureReport } from "../report.ts";
import type { Subject } from "../subjects.ts";
import { taskFamily } from "../tasks/index.ts";
import { ask, meanOf } from "./asking.ts";

const HEADS = [1, 2, 4, 8];
const SEEDS = [0, 1, 2];
const SHARES = [0.1, 0.3, 0.5, 0.7, 0.9];
const EXAMPLES = 20;

/** The preset `lc` with other heads, another seed, and if quick few steps, in which it learns little. */
function presetOf(heads: number, seed: number, quick: boolean): Preset {
  const { spec } = trainingPreset("lc");
  return trainingPreset({
    ...spec,
    name: `lc-h${heads}-s${seed}`,
    size: { ...spec.size, heads },
    seed,
    ...(quick && { steps: 3, batch: 4 }),
  });
}

interface Settings {
  readonly heads: number;
  readonly seed: number;
  readonly quick: boolean;
  readonly prompts: number;
}

interface Trained {
  readonly losses: readonly number[];
  readonly accuracy: Readonly<Record<string, number>>;
  /** By family and share. */
  readonly answered: readonly { readonly family: string; readonly share: number; readonly of: Measured[] }[];
}

const promptsOf = (family: string, share: number, count: number): Prompt[] =>
  evaluationPrompts(taskFamily(family), { counts: countsOf([share, 1 - share], EXAMPLES), count });

/** The models' numbers stand in their names, which say what is trained. */
function settingsOf({ model }: Subject, quick: boolean): Settings {
  const [, heads, seed] = /^preset lc-h(\d+)-s(\d+),/.exec(model.label) ?? [];
  if (heads === undefined)
    throw new PaperError(
      "paper/own-models",
      `The figure "seeds" trains twelve models of its own, in twenty minutes to an hour or more, and takes no other. Run it alone and without a model: superlens paper seeds.`,
    );
  return { heads: Number(heads), seed: Number(seed), quick, prompts: quick ? 10 : 100 };
}

async function trainAndAsk(settings: Settings, subject: Subject, signal: AbortSignal | undefined): Promise<Trained> {
  const { heads, seed, quick, prompts } = settings;
  const preset = presetOf(heads, seed, quick);
  const steps = await train({
    model: subject.model,
    data: presetBatches(preset),
    ...preset.training,
    ...(signal && { signal }),
  });
  const answered: { family: string; share: number; of: Measured[] }[] = [];
  for (const { name: family } of preset.data.families)
    for (const share of SHARES)
      answered.push({ family, share, of: await ask(subject, promptsOf(family, share, prompts), signal) });
  const accuracy = await heldOutAccuracy(subject.model, preset, { count: prompts, signal });
  return { losses: steps.map(({ loss }) => Number(loss.toPrecision(7))), accuracy, answered };
}

export const SEEDS_FIGURE: Comparison<Settings, Cell, Trained> = {
  name: "seeds",
  asks: "Does the number of heads decide whether a model trained on one task at a time superposes?",
  paper:
    "A model of one head learns each task and cannot superpose two of them; models of the same width with more heads can (Figure V).",
  models: (_, quick) =>
    (quick ? [1, 4] : HEADS).flatMap((heads) =>
      (quick ? [0] : SEEDS).map((seed) => presetModel(presetOf(heads, seed, quick))),
    ),
  settings: async (subject, { quick }) => settingsOf(subject, quick),
  cells: () => [{ id: "trained" }],
  run: (_, settings, subject, signal) => trainAndAsk(settings, subject, signal),
  compare,
};

/** A model on a family. */
interface Row {
  readonly heads: number;
  readonly seed: number;
  readonly family: string;
  readonly accuracy: number;
  readonly loss: number;
  /** [share, mean probability of the first task]. */
  readonly curve: readonly (readonly [number, number])[];
  /** At one half. */
  readonly smaller: number;
  readonly both: number;
  /** Mean distance of the curve from the share. */
  readonly off: number;
}

function rowsOf({ settings, results }: ModelResults<Settings, Cell, Trained>): Row[] {
  const { heads, seed, prompts } = settings;
  return results.flatMap(({ result: { losses, accuracy, answered } }) =>
    Object.keys(accuracy).map((family) => {
      const reports = answered
        .filter((one) => one.family === family)
        .map(({ share, of }) => ({ share, report: mixtureReport(promptsOf(family, share, prompts), of) }));
      const curve = reports.map(({ share, report }) => [share, report.roles[0]?.mean as number] as const);
      const half = reports.find(({ share }) => share === 0.5)?.report;
      return {
        heads,
        seed,
        family,
        accuracy: accuracy[family] as number,
        loss: losses.at(-1) as number,
        curve,
        smaller: half?.smaller as number,
        both: half?.allAboveFifth as number,
        off: meanOf(curve.map(([share, mean]) => Math.abs(mean - share))),
      };
    }),
  );
}

const COLUMNS = [
  "heads",
  "seed",
  "family",
  "right on held-out queries",
  "last loss (nats)",
  "mean distance of the curve from lambda",
  "smaller of the two at one half, mean",
  "prompts with both above 0.2 at one half",
];

/** The part of prompts that "hardly any" is. */
const RARELY = 0.05;

function compare(models: readonly ModelResults<Settings, Cell, Trained>[]): Summary {
  const rows = models.flatMap(rowsOf);
  const families = [...new Set(rows.map(({ family }) => family))];
  const heads = [...new Set(rows.map((row) => row.heads))].sort((a, b) => a - b);
  const groups = families.map((family) => {
    const means = (value: (row: Row) => number) =>
      heads.map((count) => meanOf(rows.filter((row) => row.family === family && row.heads === count).map(value)));
    return { family, off: means(({ off }) => off), both: means(({ both }) => both) };
  });
  // "Cannot" and "can": with the fewest heads both answers are above 0.2 in hardly any prompt, and with the most in others too.
  const splits = groups.filter(({ both }) => (both[0] as number) < RARELY && (both.at(-1) as number) >= RARELY).length;
  return {
    table: {
      columns: COLUMNS,
      rows: rows.map((r) => [r.heads, r.seed, r.family, r.accuracy, r.loss, r.off, r.smaller, r.both]),
    },
    plots: families.map((family) => ({
      name: `seeds-${family}`,
      picture: pointPlot(
        heads.map((count) => {
          const own = rows.filter((row) => row.family === family && row.heads === count);
          const meanAt = (share: number) =>
            meanOf(own.map(({ curve }) => curve.find(([at]) => at === share)?.[1] as number));
          return {
            name: `${count} head${count === 1 ? "" : "s"}`,
            line: SHARES.map((share) => [share, meanAt(share)] as const),
            points: own.flatMap(({ curve }) => curve),
          };
        }),
        {
          title: `${family}: the first task's probability, a point a seed, the line their mean`,
          x: { label: "lambda, the first task's part of the examples", from: 0, to: 1 },
          y: { label: "probability of the answer", from: 0, to: 1 },
          diagonal: true,
        },
      ),
    })),
    sentence: `With ${heads.join(", ")} heads, as means over seeds: ${groups
      .map(
        ({ family, off, both }) =>
          `on ${family} the curve is ${off.map((value) => value.toFixed(2)).join(", ")} from lambda, and at one half both answers are above 0.2 in ${both.map((part) => `${Math.round(100 * part)}%`).join(", ")} of prompts`,
      )
      .join("; ")}.`,
    verdict: splits === groups.length ? "agrees" : splits === 0 ? "disagrees" : "agrees in part",
  };
}
