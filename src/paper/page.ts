/** What a run says to people: a table for spreadsheets, and a page that stands alone. */

import { escapeXml } from "../pictures/labels.ts";
import { type AnyFigure, type Summary, verdictInWords } from "./figure.ts";

/** RFC 4180: a cell with a comma, quote or line break is quoted. */
export function csvOf({ columns, rows }: Summary["table"]): string {
  const quoted = (value: string | number) =>
    /[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
  return [columns, ...rows].map((row) => `${row.map(quoted).join(",")}\n`).join("");
}

export const STYLE =
  "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}table{border-collapse:collapse;font-size:14px}td,th{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #8884}td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}pre{overflow:auto;font-size:12px}.wide{overflow:auto}";

/** A number as people read it: three digits after the point, or the power of ten of one that is too small for them. */
export function cellText(value: string | number): string {
  if (typeof value === "string" || Number.isInteger(value)) return String(value);
  return Math.abs(value) < 0.0005 ? value.toExponential(1) : value.toFixed(3);
}

/** The numbers, which scroll where they are wider than the page. */
export function tableOf({ columns, rows }: Summary["table"]): string {
  const row = (values: readonly (string | number)[], tag: string) =>
    `<tr>${values.map((value) => `<${tag}>${escapeXml(cellText(value))}</${tag}>`).join("")}</tr>`;
  return `<div class="wide"><table>${row(columns, "th")}${rows.map((values) => row(values, "td")).join("")}</table></div>`;
}

export async function pageOf(
  { name, asks, paper }: Pick<AnyFigure, "name" | "asks" | "paper">,
  settings: unknown,
  { table, plots, sentence, verdict }: Summary,
): Promise<string> {
  return [
    `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${escapeXml(name)}</title><style>${STYLE}</style>`,
    `<h1>${escapeXml(name)}</h1><p>${escapeXml(asks)}</p>`,
    `<p><b>The paper:</b> ${escapeXml(paper)}</p><p><b>Ours, which ${verdictInWords(verdict)}:</b> ${escapeXml(sentence)}</p>`,
    ...(await Promise.all(plots.map(({ picture }) => picture.svg()))),
    tableOf(table),
    `<details><summary>Settings</summary><pre>${escapeXml(JSON.stringify(settings, null, 1))}</pre></details></html>`,
    "",
  ].join("\n");
}
