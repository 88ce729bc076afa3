/** What a figure's command prints: its progress, its numbers, and what was found. */
import type { Summary } from "../../paper/figure.ts";
import type { GlobalOptions } from "../options.ts";
import { note, print, printJson, table } from "../output.ts";

export type OnProgress = (done: number, total: number, secondsLeft: number | undefined, of?: string) => void;

/** A line on stderr at most every two seconds. */
export function progressLine(): OnProgress {
  let writtenAt = performance.now();
  return (done, total, secondsLeft, of = "") => {
    if (performance.now() - writtenAt < 2000) return;
    writtenAt = performance.now();
    note(
      `superlens: ${of}${done} of ${total} cells${secondsLeft === undefined ? "" : `, ${Math.ceil(secondsLeft)} s left`}`,
    );
  };
}

export function show(summary: Summary, out: string, { json }: GlobalOptions): void {
  const { columns, rows } = summary.table;
  if (json) {
    printJson({ out, sentence: summary.sentence, verdict: summary.verdict, table: summary.table });
    return;
  }
  const shown = rows.map((row) =>
    row.map((value) => (typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value))),
  );
  print(
    ...columns.map((name, column) => `(${column + 1}) ${name}`),
    "",
    ...table([columns.map((_, column) => `(${column + 1})`), ...shown]),
    "",
  );
  print(`${summary.sentence} This ${summary.verdict} with the paper.`, `${out}/index.html has the plots.`);
}
