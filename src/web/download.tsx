/** Taking results along: a figure as SVG, its numbers as JSON or CSV, files. */
import { useState } from "preact/hooks";
import type { Engine } from "./client.ts";
import type { FigureSpec } from "./engine/figures.ts";
import { Problem } from "./widgets.tsx";

/** Numbers with the names of their rows and columns. */
export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly { readonly name: string; readonly values: readonly (number | string)[] }[];
}

/** Gives the browser a file to save. */
export function save(name: string, blob: Blob): void {
  const address = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** A cell of a CSV file (RFC 4180). */
const quoted = (cell: number | string) =>
  /[",\r\n]/.test(String(cell)) ? `"${String(cell).replace(/"/g, '""')}"` : String(cell);

export const csvOf = ({ columns, rows }: Table): string =>
  [["", ...columns], ...rows.map(({ name, values }) => [name, ...values])]
    .map((cells) => `${cells.map(quoted).join(",")}\r\n`)
    .join("");

export function Downloads({
  engine,
  name,
  table,
  figure,
}: {
  engine: Engine;
  name: string;
  table: Table;
  figure?: FigureSpec;
}) {
  const [error, setError] = useState<Error>();
  const asSvg = async (spec: FigureSpec) => {
    try {
      save(`${name}.svg`, new Blob([await engine.call("figure", spec)], { type: "image/svg+xml" }));
      setError(undefined);
    } catch (cause) {
      setError(cause as Error);
    }
  };
  return (
    <p class="downloads">
      {figure && (
        <button type="button" onClick={() => void asSvg(figure)}>
          SVG
        </button>
      )}
      <button
        type="button"
        onClick={() =>
          save(`${name}.json`, new Blob([JSON.stringify(table, undefined, 1)], { type: "application/json" }))
        }
      >
        JSON
      </button>
      <button type="button" onClick={() => save(`${name}.csv`, new Blob([csvOf(table)], { type: "text/csv" }))}>
        CSV
      </button>
      {error && <Problem error={error} />}
    </p>
  );
}
