/** The rebuttal's figure 8: the likeliest answer that is no task's, against the tasks' answers. */
import { groupedBars } from "../../pictures/index.ts";
import type { Figure, Summary } from "../figure.ts";
import { likeliestLines } from "../lines.ts";
import { promptInput } from "../prompts.ts";
import { taskFamily } from "../tasks/index.ts";
import { ask, meanOf, OTHER, spreadOf } from "./asking.ts";
import { roomNote } from "./examples.ts";
import { type Block, blockPrompts, blocksOf, type MixedSettings, mixedSettings, roleNames } from "./mixed.ts";

/** A prompt's answers with their line breaks, and the likeliest line that is none of them. */
interface Compared {
  readonly answers: readonly number[];
  readonly other: { readonly text: string; readonly probability: number };
  /** Whether no other line can be likelier. */
  readonly isExact: boolean;
}

export const OTHERS: Figure<MixedSettings, Block, Compared[]> = {
  name: "others",
  asks: "How likely is the likeliest answer that is no task's, beside the answers of the tasks in the prompt?",
  paper: "The tasks' answers are likelier than the likeliest answer that is none of theirs (rebuttal, figure 8).",
  settings: mixedSettings,
  cells: (settings) => settings.families.flatMap((family) => blocksOf(settings, family, { family })),
  async run(block, settings, subject, signal) {
    const prompts = blockPrompts(settings, block);
    const isOther = (prompt: number, text: string) => !prompts[prompt]?.answers.includes(text);
    const measured = await ask(subject, prompts, signal, { wholeLines: true });
    const found = await likeliestLines(
      subject.model,
      subject.vocabulary,
      prompts.map((prompt) => promptInput(subject.vocabulary, prompt)),
      { enough: (lines, prompt) => lines.some(({ text }) => isOther(prompt, text)), ...(signal && { signal }) },
    );
    return found.map(({ lines, isExact, bound }, prompt) => ({
      answers: measured[prompt]?.probabilities ?? [],
      // Where the search found none, there may be one with the bound.
      other: lines.find(({ text }) => isOther(prompt, text)) ?? { text: "(none found)", probability: bound },
      isExact,
    }));
  },
  summarise,
};

const COLUMNS = [
  "family",
  "answer",
  "mean probability",
  "standard deviation",
  "prompts where it is above the likeliest other",
  "commonest",
  "prompts searched to the end",
];

function summarise(settings: MixedSettings, results: readonly { cell: Block; result: Compared[] }[]): Summary {
  const families = settings.families.map((name) => {
    const compared = results.filter(({ cell }) => cell.family === name).flatMap(({ result }) => result);
    const roles = roleNames(taskFamily(name, settings.set));
    const own = roles.map((task, role) => ({ task, values: compared.map(({ answers }) => answers[role] as number) }));
    const others = compared.map(({ other }) => other.probability);
    const above = own.map(({ values }) => meanOf(values.map((value, row) => Number(value > (others[row] as number)))));
    return { name, compared, own, others, above };
  });
  const rows = families.flatMap(({ name, compared, own, others, above }) => [
    ...own.map(({ task, values }, role) => [
      name,
      task,
      meanOf(values),
      spreadOf(values),
      above[role] as number,
      "",
      "",
    ]),
    [
      name,
      "likeliest other",
      meanOf(others),
      spreadOf(others),
      "",
      commonest(compared.map(({ other }) => other.text)),
      meanOf(compared.map(({ isExact }) => Number(isExact))),
    ],
  ]);
  // The paper's figure compares means; so does the verdict, and needs no bound.
  const isAbove = families.map(({ own, others }) => own.every(({ values }) => meanOf(values) > meanOf(others)));
  return {
    table: { columns: COLUMNS, rows },
    plots: [
      {
        name: "others",
        picture: groupedBars(
          families.map(({ name, own, others }) => ({
            name,
            bars: [
              ...own.map(({ task, values }) => ({ name: task, value: meanOf(values), spread: spreadOf(values) })),
              { name: "likeliest other", value: meanOf(others), spread: spreadOf(others), series: OTHER },
            ],
          })),
          {
            title: "The tasks' answers, and the likeliest answer that is no task's",
            y: { label: "probability of the whole answer", from: 0, to: 1 },
          },
        ),
      },
    ],
    sentence: `${families
      .map(({ name, own, others, above }) => {
        const least = Math.min(...own.map(({ values }) => meanOf(values)));
        return `${name}: the likeliest other answer has ${meanOf(others).toFixed(3)} on average, the least likely task ${least.toFixed(3)}, and a task's answer is above the other in ${Math.round(100 * meanOf(above))}% of cases`;
      })
      .join("; ")}.${roomNote(settings.set, settings.examples)}`,
    verdict: isAbove.every(Boolean) ? "agrees" : isAbove.some(Boolean) ? "agrees in part" : "disagrees",
  };
}

/** The three texts that come most often, each with how often. */
function commonest(texts: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 3);
  return most.map(([text, count]) => `${text === "" ? "(nothing)" : text} ${count}`).join(", ");
}
