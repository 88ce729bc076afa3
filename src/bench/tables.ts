/**
 * Reports as tables: a list of columns, each with its title and how it reads a result, and every form (text, Markdown, the
 * page's HTML) made from the same cells. Host, backend and adapter stand on every line.
 */
import type { Ceilings, LoadTimes, Profile, Report, TestResult } from "./report.ts";
import { readReports } from "./report-schema.ts";

/** A table: cells, the first row of them titles. */
export interface Table {
  title: string;
  alignments: ("left" | "right")[];
  rows: string[][];
}

interface Column {
  title: string;
  alignment: "left" | "right";
  cell(report: Report, test: TestResult): string;
}

const left = (title: string, cell: Column["cell"]): Column => ({ title, alignment: "left", cell });
const right = (title: string, cell: Column["cell"]): Column => ({ title, alignment: "right", cell });

const COLUMNS: readonly Column[] = [
  left("model", ({ model, storage }) => `${shortName(model)} ${storage}`),
  left("host", ({ host }) => host),
  left("backend", ({ backend }) => backend),
  left("adapter", ({ adapter }) => shortAdapter(adapter)),
  left("test", (_, { name }) => name),
  right("tokens/s", (_, { tokensPerSecond }) => significant(tokensPerSecond)),
  right("ms", (_, { medianMs }) => significant(medianMs)),
  right("least-most", (_, { spread }) => `${significant(spread.minMs)}-${significant(spread.maxMs)}`),
  right("GFLOP/s", (_, { gflops }) => significant(gflops)),
  right("MB/token", (_, { bytesReadPerToken }) => significant(bytesReadPerToken / 1e6)),
  right("dispatches/token", (_, { dispatchesPerToken }) => significant(dispatchesPerToken)),
  right("peak MB", (_, { peakBytes }) => significant(peakBytes / 1e6)),
  right("of ceiling", (_, test) => ceilingCell(test)),
  left("output", (_, { check }) => check),
];

/** Every result, a line each. The column of ceilings is there if one report has them. */
export function resultTable(reports: readonly Report[]): Table {
  const hasCeilings = reports.some(({ ceilings }) => ceilings);
  const columns = COLUMNS.filter(({ title }) => hasCeilings || title !== "of ceiling");
  const lines = reports.flatMap((report) => report.tests.map((test) => columns.map(({ cell }) => cell(report, test))));
  return {
    title: "Results",
    alignments: columns.map(({ alignment }) => alignment),
    rows: [columns.map(({ title }) => title), ...lines],
  };
}

/** From nothing to the first token, a line a report. */
export function loadTable(reports: readonly Report[]): Table {
  const titles = [
    "model",
    "host",
    "adapter",
    "weights",
    "device",
    "load",
    "of it reading",
    "first token",
    "cold, in all",
  ];
  const line = ({ model, host, adapter, load }: Report) => [
    shortName(model),
    host,
    shortAdapter(adapter),
    `${significant(load.bytes / 1e6)} MB ${WEIGHTS_FROM[load.from]}`,
    ...[load.deviceMs, load.ms, load.readMs, load.firstTokenMs, load.coldFirstTokenMs].map(milliseconds),
  ];
  return {
    title: `Loading, and the first token of a cold prompt of ${reports[0]?.load.promptTokens ?? 128}`,
    alignments: ["left", "left", "left", "left", ...titles.slice(4).map((): "right" => "right")],
    rows: [titles, ...reports.map(line)],
  };
}

const WEIGHTS_FROM: Record<LoadTimes["from"], string> = { memory: "made in memory", files: "read" };

/** What each adapter can do at best, a line a report that measured it. */
export function ceilingTable(reports: readonly Report[]): Table {
  const line = ({ host, backend, adapter }: Report, { matmul, weights, dispatchMicroseconds }: Ceilings) => [
    host,
    backend,
    shortAdapter(adapter),
    significant(matmul.gflops),
    `${matmul.kernel}, ${matmul.rows} x ${matmul.width} x ${matmul.outWidth}`,
    significant(weights.gigabytesPerSecond),
    `${weights.kernel}, 1 x ${weights.width} x ${weights.outWidth}`,
    significant(dispatchMicroseconds),
  ];
  return {
    title: "Ceilings",
    alignments: ["left", "left", "left", "right", "left", "right", "left", "right"],
    rows: [
      ["host", "backend", "adapter", "GFLOP/s", "by", "GB/s of weights", "by", "us a dispatch"],
      ...reports.flatMap((report) => (report.ceilings ? [line(report, report.ceilings)] : [])),
    ],
  };
}

/** Where the time of one test goes. */
export function profileTable({ host, adapter }: Report, { test, kernels }: Profile): Table {
  return {
    title: `Kernels of ${test} on ${host}, ${shortAdapter(adapter)}`,
    alignments: ["left", "right", "right", "right"],
    rows: [
      ["kernel", "dispatches", "ms", "share"],
      ...kernels.map(({ kernel, dispatches, ms, share }) => [
        kernel,
        String(dispatches),
        significant(ms),
        percent(share),
      ]),
    ],
  };
}

/** All tables that the reports have something for. */
export function tablesOf(given: readonly Report[]): Table[] {
  const reports = readReports(given, "tablesOf");
  return [
    resultTable(reports),
    loadTable(reports),
    ...(reports.some(({ ceilings }) => ceilings) ? [ceilingTable(reports)] : []),
    ...reports.flatMap((report) => (report.profile ?? []).map((profile) => profileTable(report, profile))),
  ];
}

/** What tables leave out: model, adapter's full name, versions. A line a report. */
export function notesOf(reports: readonly Report[]): string[] {
  return readReports(reports, "notesOf").map((report) => {
    const { adapter, host, hostVersion, backend, commit, date } = report;
    const runs = report.tests[0]?.runs.length ?? 0;
    const on = `${host} ${hostVersion} (${backend}) on ${adapter.name} (${adapter.kind})`;
    return `${modelNote(report)}; ${on}; median of ${runs} after a warm-up; superlens ${commit}, ${date.slice(0, 10)}`;
  });
}

function modelNote({ model, isRandom, shape, storage }: Report): string {
  const { family, layers, dModel, vocabSize } = shape;
  const weights = isRandom ? `random ${storage} weights` : `${storage} weights`;
  return `${model}: ${family}, ${layers} layers of ${dModel}, vocabulary ${vocabSize}, ${weights}`;
}

/** Tables and notes in Markdown. */
export function markdown(given: readonly Report[]): string {
  const reports = readReports(given, "markdown");
  const parts = tablesOf(reports).map((table) => `**${table.title}**\n\n${markdownTable(table).join("\n")}`);
  return [
    ...parts,
    notesOf(reports)
      .map((note) => `* ${note}`)
      .join("\n"),
  ].join("\n\n");
}

function markdownTable({ alignments, rows }: Table): string[] {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const [titles = [], ...lines] = rows;
  const rule = `| ${alignments.map((alignment) => (alignment === "right" ? "---:" : "---")).join(" | ")} |`;
  return [line(titles), rule, ...lines.map(line)];
}

/** The last part of a folder or address. */
function shortName(model: string): string {
  return model.split("/").filter(Boolean).at(-1) ?? model;
}

/** Software adapters are known by their kind; of hardware the name is what matters. */
export function shortAdapter({ name, kind }: Report["adapter"]): string {
  return kind === "hardware" ? name : kind;
}

function ceilingCell({ fractionOfCeiling, boundBy }: TestResult): string {
  return fractionOfCeiling === undefined ? "" : `${percent(fractionOfCeiling)} (${boundBy})`;
}

const percent = (fraction: number) => `${(100 * fraction).toFixed(fraction < 0.1 ? 1 : 0)}%`;
const milliseconds = (ms: number) => `${significant(ms)} ms`;

/** Three significant digits, whole numbers in full: 1234.5 is "1235", 0.012345 is "0.0123". */
export function significant(value: number): string {
  if (!Number.isFinite(value) || value === 0) return String(value);
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 6));
}
