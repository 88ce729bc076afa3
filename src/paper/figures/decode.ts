/**
 * Beyond the paper, named by its authors as future work: does superposed decoding keep several tasks alive past the first token?
 * The tasks whose whole answers are among k drafts, against beam search and sampling, by what the model has to run.
 */

import { fnv1a } from "../../fnv1a.ts";
import { pointPlot } from "../../pictures/index.ts";
import { DecodedPrompts, type Survival, WAYS, type Way } from "../decoding.ts";
import { PaperError } from "../errors.ts";
import type { CellResult, Figure, Summary } from "../figure.ts";
import { taskFamily } from "../tasks/index.ts";
import { meanOf } from "./asking.ts";
import { roomNote } from "./examples.ts";
import { type Block, blockPrompts, blocksOf, type MixedSettings, mixedSettings } from "./mixed.ts";

interface Settings extends MixedSettings {
  readonly drafts: readonly number[];
  readonly text?: string;
}

/** What a way gave with a number of drafts. */
interface Point {
  readonly way: Way;
  readonly drafts: number;
  readonly survivals: readonly Survival[];
}

export const DECODE: Figure<Settings, Block, Point[]> = {
  name: "decode",
  asks: "Of a prompt with examples of several tasks, how many tasks' whole answers are among k drafts, and what do they cost?",
  paper:
    "Once a token is chosen, most of the tasks are gone; superposed decoding (Shen et al. 2024), k drafts for the passes of one, may keep several alive (named as future work).",
  takesText: true,
  models: (folder) => [`${folder}/number-chars-mix10`],
  async settings(subject, { quick, text }) {
    if (subject.vocabulary?.form === "words")
      throw new PaperError(
        "paper/one-token",
        `In the vocabulary of ${subject.model.label} every answer is one token, and all of them come of the prompt's own pass. Use a model with a tokenizer, or one of characters, as the preset number-chars.`,
      );
    return {
      ...(await mixedSettings(subject, { quick })),
      drafts: quick ? [1, 4, 8] : [1, 2, 3, 4, 6, 8, 16],
      ...(text !== undefined && { text }),
    };
  },
  cells: (settings) => settings.families.flatMap((family) => blocksOf(settings, family, { family })),
  async run(cell, settings, subject, signal) {
    const family = taskFamily(cell.family, settings.set);
    using prompts = await DecodedPrompts.run(subject, family, blockPrompts(settings, cell), {
      text: settings.text,
      signal,
    });
    // Each block draws other samples.
    const seed = fnv1a(`${settings.seed} ${cell.id}`);
    const points: Point[] = [];
    for (const way of WAYS)
      for (const drafts of settings.drafts) {
        points.push({ way, drafts, survivals: await prompts.survivals({ way, drafts, seed }) });
      }
    return points;
  },
  summarise,
};

/** A point of a curve: means over the prompts. */
interface Mean {
  readonly way: Way;
  readonly drafts: number;
  /** Tasks whose answers are there. */
  readonly alive: number;
  /** The part of prompts in which all are. */
  readonly all: number;
  readonly rows: number;
}

interface Found {
  readonly family: string;
  readonly tasks: number;
  readonly means: readonly Mean[];
}

function foundIn(family: string, { drafts }: Settings, results: readonly CellResult<Block, Point[]>[]): Found {
  const points = results.filter(({ cell }) => cell.family === family).flatMap(({ result }) => result);
  const tasks = points[0]?.survivals[0]?.alive.length as number;
  const means = WAYS.flatMap((way) =>
    drafts.map((count): Mean => {
      const own = points.filter((point) => point.way === way && point.drafts === count);
      const all = own.flatMap((point) => point.survivals);
      return {
        way,
        drafts: count,
        alive: meanOf(all.map(({ alive }) => alive.filter(Boolean).length)),
        all: meanOf(all.map(({ alive }) => Number(alive.every(Boolean)))),
        rows: meanOf(all.map(({ rows }) => rows)),
      };
    }),
  );
  return { family, tasks, means };
}

const isSuperposed = (way: Way) => way === "superposed" || way === "with n-grams";

/** The best of some points that run at most so many rows; the cheapest where all run more. */
function bestWithin(means: readonly Mean[], rows: number): Mean {
  const cheapest = Math.min(...means.map((mean) => mean.rows));
  const within = means.filter((mean) => mean.rows <= Math.max(rows, cheapest) + 1e-9);
  return within.reduce((best, mean) => (mean.alive > best.alive ? mean : best));
}

/** Superposed decoding with as many drafts as tasks or a few more, beside what others give for as many rows, and for any. */
function compared({ tasks, means }: Found) {
  const drafts = Math.min(...means.map((mean) => mean.drafts).filter((count) => count >= tasks));
  const own = means.filter(({ way, drafts: count }) => isSuperposed(way) && count === drafts);
  const superposed = own.reduce((best, mean) => (mean.alive > best.alive ? mean : best));
  const others = means.filter(({ way }) => !isSuperposed(way));
  const beam = means.find(({ way, drafts: count }) => way === "beam search" && count === drafts) as Mean;
  return { superposed, other: bestWithin(others, superposed.rows), beam };
}

function plotOf({ family, tasks, means }: Found) {
  return {
    name: `decode-${family}`,
    picture: pointPlot(
      WAYS.map((way) => ({
        name: way,
        line: means.filter((mean) => mean.way === way).map(({ rows, alive }) => [rows, alive] as const),
      })),
      {
        title: `${family}: whole answers among the drafts of a prompt of ${tasks} tasks`,
        x: { label: "tokens run after the prompt, mean of the prompts" },
        y: { label: "tasks whose answer is there, mean", from: 0, to: tasks },
      },
    ),
  };
}

function sentenceOf(found: Found): string {
  const { superposed, other, beam } = compared(found);
  const decoding = superposed.way === "superposed" ? "superposed decoding" : "superposed decoding with n-grams";
  const say = ({ alive, rows }: Mean) => `${alive.toFixed(2)} for ${rows.toFixed(1)} tokens run`;
  return `${found.family}: of ${found.tasks} tasks' answers ${superposed.drafts} drafts of ${decoding} hold ${say(superposed)}; as cheap, ${other.way} (${other.drafts}) holds ${say(other)}; beam search (${beam.drafts}) holds ${say(beam)}`;
}

function summarise(settings: Settings, results: readonly CellResult<Block, Point[]>[]): Summary {
  const found = settings.families.map((family) => foundIn(family, settings, results));
  // Several alive, which is two on average, and more than others keep for as many tokens.
  const kept = found
    .map(compared)
    .filter(({ superposed, other }) => superposed.alive >= 2 && superposed.alive > other.alive);
  return {
    table: {
      columns: [
        "family",
        "way",
        "drafts",
        "tasks",
        "answers there, mean",
        "prompts with all answers",
        "tokens run after the prompt",
      ],
      rows: found.flatMap(({ family, tasks, means }) =>
        means.map(({ way, drafts, alive, all, rows }) => [family, way, drafts, tasks, alive, all, rows]),
      ),
    },
    plots: found.map((one) => plotOf(one)),
    sentence: `${found.map((one) => sentenceOf(one)).join(". ")}.${roomNote(settings.set, settings.examples)}`,
    verdict: kept.length === 0 ? "disagrees" : kept.length === found.length ? "agrees" : "agrees in part",
  };
}
