/**
 * A picture as a value: a Vega-Lite specification, and the numbers as a table. It becomes an SVG, a page or a table in a terminal
 * when it is asked to, and a notebook shows it by itself. The library that draws (`render.ts`) is loaded then, and not before.
 */
import { escapeXml } from "./labels.ts";
import { renderSvg } from "./render.ts";
import type { VegaLiteSpec } from "./spec.ts";

/** Lines of text; the first column names them. */
export interface PictureTable {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Deno's kernel for Jupyter calls a method of this name, and shows what it gives. */
const JUPYTER_DISPLAY: unique symbol = Symbol.for("Jupyter.display") as never;

/** What nobody else may load: the page of a picture is all there is. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'";
const STYLE =
  "body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem;color-scheme:light dark;color:CanvasText;background:Canvas}.superlens{color:inherit!important;background:none!important;max-width:none}path:hover{stroke:currentColor;stroke-width:1.5}table{border-collapse:collapse;font-size:13px}td,th{padding:.15rem .6rem;text-align:right;border-bottom:1px solid #8884}td:first-child,th:first-child{text-align:left}.wide{overflow:auto}";

/** What `heatMap` and the others give: numbers as a picture, in every form. */
export class Picture {
  #svg: Promise<string> | undefined;

  constructor(
    /** What it shows, in words: its accessible name. */
    readonly title: string,
    /** The same as Vega-Lite, with the numbers in it. */
    readonly spec: VegaLiteSpec,
    private readonly table: PictureTable,
  ) {}

  /** An SVG with tooltips. The same numbers give the same text, on every host. */
  svg(): Promise<string> {
    this.#svg ??= renderSvg(this.spec, this.title);
    return this.#svg;
  }

  /** A whole page that needs no network and no script: the SVG, and the numbers as a table. */
  async html(): Promise<string> {
    const [heads, ...rows] = [this.table.columns, ...this.table.rows].map((cells, line) => {
      const tag = line === 0 ? "th" : "td";
      return `<tr>${cells.map((cell) => `<${tag}>${escapeXml(cell)}</${tag}>`).join("")}</tr>`;
    });
    return [
      `<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="content-security-policy" content="${POLICY}">`,
      `<meta name="viewport" content="width=device-width"><title>${escapeXml(this.title)}</title><style>${STYLE}</style>`,
      `<div class="wide">${(await this.svg()).trim()}</div>`,
      `<details><summary>Numbers</summary><div class="wide"><table>${heads}${rows.join("\n")}</table></div></details></html>`,
      "",
    ].join("\n");
  }

  /** The numbers as lines of text, for a terminal. */
  text(): string {
    const lines = [this.table.columns, ...this.table.rows];
    const widths = this.table.columns.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
    const shown = lines.map((line) =>
      line
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[0] as number) : cell.padStart(widths[column] as number),
        )
        .join("  ")
        .trimEnd(),
    );
    return `${[this.title, ...shown].join("\n")}\n`;
  }

  /** Shows it where one is: as a picture in a notebook of Deno, elsewhere as text on the console. */
  async show(): Promise<void> {
    const { Deno } = globalThis as { Deno?: { jupyter?: { display(shown: unknown): Promise<void> } } };
    if (Deno?.jupyter) await Deno.jupyter.display(this);
    else console.log(this.text());
  }

  /** What a notebook shows: the richest form that its viewer knows. */
  async [JUPYTER_DISPLAY](): Promise<Record<string, unknown>> {
    const svg = await this.svg();
    return {
      "text/plain": this.text(),
      "image/svg+xml": svg,
      "text/html": `<div>${svg.trim()}</div>`,
      "application/vnd.vegalite.v6+json": this.spec,
    };
  }
}
