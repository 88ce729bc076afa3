/**
 * Writes the notebooks beside the scripts in `examples/notebooks/`: `npm run docs:notebooks`. A script is in Jupytext's percent
 * format: a line `// %%` begins a cell of code, `// %% [markdown]` one of text. Exports are for the tests, and notebooks have none.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";

export const NOTEBOOKS = fileURLToPath(new URL("../examples/notebooks/", import.meta.url));

/** The names of the scripts, without their ending. */
export const names = (): string[] =>
  readdirSync(NOTEBOOKS)
    .filter((file) => file.endsWith(".ts"))
    .map((file) => file.slice(0, -3))
    .sort();

/** The notebook of a script, as the text of an .ipynb file (nbformat 4.5) for Deno's kernel, without outputs. */
export function notebookOf(script: string): string {
  const cells = script
    .split(/^\/\/ %%/m)
    .slice(1)
    .map((cell, index) => cellOf(cell, `cell-${index}`));
  const kernelspec = { display_name: "Deno", language: "typescript", name: "deno" };
  const metadata = { kernelspec, language_info: { name: "typescript", file_extension: ".ts" } };
  return `${JSON.stringify({ cells, metadata, nbformat: 4, nbformat_minor: 5 }, undefined, 1)}\n`;
}

function cellOf(cell: string, id: string): object {
  const [mark = "", ...rest] = cell.split("\n");
  const body = rest.join("\n").trim();
  if (mark.trim() === "[markdown]")
    return {
      cell_type: "markdown",
      id,
      metadata: {},
      source: linesOf(body.replace(/^\/\/ ?/gm, "").replace(/\.ts\)/g, ".ipynb)")),
    };
  const source = linesOf(body.replace(/^export /gm, ""));
  return { cell_type: "code", id, execution_count: null, metadata: {}, outputs: [], source };
}

/** Lines as a notebook has them: each but the last with its end. */
const linesOf = (text: string) => text.split(/(?<=\n)/);

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href)
  for (const name of names())
    writeFileSync(`${NOTEBOOKS}${name}.ipynb`, notebookOf(readFileSync(`${NOTEBOOKS}${name}.ts`, "utf8")));
