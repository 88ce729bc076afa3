/**
 * Tokens per second as bars, with a whisker from the slowest run to the fastest: an SVG of its own, made of text. Prompts
 * and decoding have a scale each, since they are worlds apart.
 */
import type { Report, TestResult } from "./report.ts";
import { readReports } from "./report-schema.ts";
import { shortAdapter, significant } from "./tables.ts";

const WIDTH = 760;
const LABEL_WIDTH = 250;
const VALUE_WIDTH = 80;
const BAR_HEIGHT = 20;
const ROW_HEIGHT = 30;
const TITLE_HEIGHT = 36;
const BARS_WIDTH = WIDTH - LABEL_WIDTH - VALUE_WIDTH;

interface Bar {
  label: string;
  backend: Report["backend"];
  value: number;
  least: number;
  most: number;
}

const PANELS = [
  { title: "Prompts, tokens per second", prefix: "pp" },
  { title: "Decoding, tokens per second", prefix: "tg" },
] as const;

/** Colour of each WebGPU implementation. */
const COLOURS: Record<Report["backend"], string> = { Dawn: "#2b6cb0", wgpu: "#c05621", WebKit: "#6b46c1" };

/** The plot of all results; empty without any. */
export function barPlot(given: readonly Report[]): string {
  const reports = readReports(given, "barPlot");
  let top = 0;
  const parts: string[] = [];
  for (const { title, prefix } of PANELS) {
    const bars = reports.flatMap((report) =>
      report.tests.filter(({ name }) => name.startsWith(prefix)).map((test) => barOf(report, test)),
    );
    if (bars.length === 0) continue;
    parts.push(panel(title, bars, top));
    top += TITLE_HEIGHT + ROW_HEIGHT * bars.length + 10;
  }
  if (parts.length === 0) return "";
  const style = "font: 13px system-ui, sans-serif";
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" role="img" aria-label="Tokens per second" style="${style}">${parts.join("")}</svg>`;
}

function barOf({ model, host, backend, adapter }: Report, test: TestResult): Bar {
  const all = 1000 * test.tokens * test.batch;
  return {
    label: `${model.split("/").at(-1)} ${test.name}, ${host}, ${shortAdapter(adapter)}`,
    backend,
    value: test.tokensPerSecond,
    least: all / test.spread.maxMs,
    most: all / test.spread.minMs,
  };
}

function panel(title: string, bars: readonly Bar[], top: number): string {
  const scale = BARS_WIDTH / Math.max(...bars.map(({ most }) => most));
  const rows = bars.map((bar, index) => row(bar, scale, top + TITLE_HEIGHT + ROW_HEIGHT * index));
  return `<text x="0" y="${top + 22}" font-weight="600" fill="currentColor">${title}</text>${rows.join("")}`;
}

function row({ label, backend, value, least, most }: Bar, scale: number, y: number): string {
  const middle = y + BAR_HEIGHT / 2;
  const at = (rate: number) => (LABEL_WIDTH + rate * scale).toFixed(1);
  const whisker = `M${at(least)} ${middle}H${at(most)}M${at(least)} ${middle - 5}v10M${at(most)} ${middle - 5}v10`;
  return [
    `<text x="${LABEL_WIDTH - 10}" y="${middle + 4}" text-anchor="end" fill="currentColor">${escaped(shortened(label))}</text>`,
    `<rect x="${LABEL_WIDTH}" y="${y}" width="${(value * scale).toFixed(1)}" height="${BAR_HEIGHT}" rx="2" fill="${COLOURS[backend]}"><title>${escaped(label)}: ${significant(value)} tokens/s (${backend})</title></rect>`,
    `<path d="${whisker}" stroke="#111827" stroke-width="1.5" fill="none" opacity="0.7"/>`,
    `<text x="${WIDTH - VALUE_WIDTH + 10}" y="${middle + 4}" fill="currentColor">${significant(value)}</text>`,
  ].join("");
}

const MOST_LETTERS = 38;

function shortened(label: string): string {
  return label.length <= MOST_LETTERS ? label : `${label.slice(0, MOST_LETTERS - 1)}…`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
