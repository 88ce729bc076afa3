/** What a figure's command prints: its numbers, and what was found. */
import { type Summary, verdictInWords } from "../../paper/figure.ts";
import { cellText } from "../../paper/page.ts";
import type { GlobalOptions } from "../options.ts";
import { print, printJson, table } from "../output.ts";

export function show(summary: Summary, out: string, { json }: GlobalOptions): void {
  const { columns, rows } = summary.table;
  if (json) {
    printJson({ out, sentence: summary.sentence, verdict: summary.verdict, table: summary.table });
    return;
  }
  const shown = rows.map((row) => row.map(cellText));
  print(
    ...columns.map((name, column) => `(${column + 1}) ${name}`),
    "",
    ...table([columns.map((_, column) => `(${column + 1})`), ...shown]),
    "",
  );
  print(`${summary.sentence} This ${verdictInWords(summary.verdict)}.`, `${out}/index.html has the plots.`);
}
