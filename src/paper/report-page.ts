/** The page of a report: what came out in one table, then a section a figure with question, findings, plots and numbers. */

import { escapeXml } from "../pictures/labels.ts";
import { type Summary, verdictInWords } from "./figure.ts";
import { STYLE, tableOf } from "./page.ts";
import { specOf } from "./preset-spec.ts";

/** A run of a report. */
export interface ReportRun {
  figure: string;
  /** Its name; of a comparison, "all models". */
  model: string;
  /** Below the report's. */
  folder: string;
  /** Undefined if it was left out. */
  summary: Summary | undefined;
  /** Why it was left out. */
  reason: string | undefined;
}

/** A report: figures in their order, and what came out. */
export interface Report {
  figures: { name: string; asks: string; paper: string }[];
  runs: ReportRun[];
}

/** What the models are, of those that are presets. */
export function aboutModels(names: readonly string[]): string[] {
  return names.flatMap((name) => {
    const spec = specOf(name);
    if (spec === undefined) return [];
    const { families, size, form, impurity = 0 } = spec;
    const prompts =
      impurity === 0
        ? "the examples of a prompt are all of one task"
        : `of the examples of a prompt ${Math.round(100 * impurity)}% are of other tasks`;
    return [
      `${name}: a Llama of ${size.layers} layers, ${size.dModel} wide, with ${size.heads} heads, trained from scratch on ${families.join(" and ")}${form === "characters" ? ", a character a token" : ""}; ${prompts}.`,
    ];
  });
}

const ABOUT =
  'The experiments of <i>Everything Everywhere All at Once: LLMs can In-Context Learn Multiple Tasks in Superposition</i> (Xiong et al., ICML 2025, <a href="https://arxiv.org/abs/2410.05603">arXiv 2410.05603</a>), repeated by superlens. Each entry says whether what came out agrees with the paper.';

export function reportPage({ figures, runs }: Report): string {
  return [
    `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>The paper, figure by figure</title><style>${STYLE}img{max-width:100%;height:auto}nav td,nav th{text-align:left}</style>`,
    `<h1>The paper, figure by figure</h1><p>${ABOUT}</p>`,
    ...aboutModels([...new Set(runs.map(({ model }) => model))]).map((line) => `<p>${escapeXml(line)}</p>`),
    contents(figures, runs),
    ...figures.flatMap(({ name, asks, paper }) => [
      `<h2 id="${escapeXml(name)}">${escapeXml(name)}</h2><p>${escapeXml(asks)}</p><p><b>The paper:</b> ${escapeXml(paper)}</p>`,
      ...runs.filter(({ figure }) => figure === name).map(section),
    ]),
    "</html>",
    "",
  ].join("\n");
}

/** Figures against models: each cell leads to its section. */
function contents(figures: Report["figures"], runs: readonly ReportRun[]): string {
  const models = [...new Set(runs.map(({ model }) => model))];
  const cell = (figure: string, model: string) => {
    const run = runs.find((one) => one.figure === figure && one.model === model);
    return `<td>${run ? `<a href="#${anchorOf(run)}">${run.summary?.verdict ?? "left out"}</a>` : ""}</td>`;
  };
  const rows = figures.map(
    ({ name, asks }) =>
      `<tr><td><a href="#${escapeXml(name)}">${escapeXml(name)}</a></td><td>${escapeXml(asks)}</td>${models.map((model) => cell(name, model)).join("")}</tr>`,
  );
  const heads = ["figure", "question", ...models].map((name) => `<th>${escapeXml(name)}</th>`).join("");
  return `<nav class="wide"><table><tr>${heads}</tr>${rows.join("")}</table></nav>`;
}

const anchorOf = ({ figure, model }: ReportRun) => escapeXml(`${figure}-${model}`.replaceAll(" ", "-"));

function section(run: ReportRun): string {
  const { figure, model, folder, summary, reason } = run;
  const title = `<h3 id="${anchorOf(run)}">${escapeXml(figure)}, ${escapeXml(model)}</h3>`;
  if (!summary) return `${title}<p>Left out: ${escapeXml(reason ?? "")}</p>`;
  const link = (file: string, words: string) => `<a href="${encodeURI(`${folder}/${file}`)}">${words}</a>`;
  return [
    `${title}<p><b>Ours, which ${verdictInWords(summary.verdict)}:</b> ${escapeXml(summary.sentence)}</p>`,
    ...summary.plots.map(
      ({ name }) => `<img loading="lazy" src="${encodeURI(`${folder}/${name}.svg`)}" alt="${escapeXml(name)}">`,
    ),
    `<details><summary>Numbers</summary>${tableOf(summary.table)}</details>`,
    `<p>${link("index.html", "page")} · ${link("results.json", "results as JSON")} · ${link("results.csv", "as CSV")}</p>`,
  ].join("\n");
}
