/**
 * Tokens per second as bars, with a whisker from the slowest run to the fastest. Prompts and decoding are a picture each, since they are
 * worlds apart.
 */
import { barChart, type Picture } from "../pictures/index.ts";
import type { Report, TestResult } from "./report.ts";
import { readReports } from "./report-schema.ts";
import { shortAdapter } from "./tables.ts";

const PANELS = [
  { title: "Prompts, tokens per second", prefix: "pp" },
  { title: "Decoding, tokens per second", prefix: "tg" },
] as const;

interface Bar {
  label: string;
  value: number;
  /** The slowest run and the fastest. */
  whisker: [number, number];
}

/** A picture of the results on prompts and one of those of decoding, where there are any. */
export function barPlots(given: readonly Report[]): Picture[] {
  const reports = readReports(given, "barPlots");
  return PANELS.flatMap(({ title, prefix }) => {
    const bars = reports.flatMap((report) =>
      report.tests.filter(({ name }) => name.startsWith(prefix)).map((test) => barOf(report, test)),
    );
    if (bars.length === 0) return [];
    const values = bars.map(({ value }) => value);
    const [labels, whiskers] = [bars.map(({ label }) => label), bars.map(({ whisker }) => whisker)];
    return [barChart(values, { title, labels, whiskers, measure: "tokens per second" })];
  });
}

function barOf({ model, host, backend, adapter }: Report, test: TestResult): Bar {
  const all = 1000 * test.tokens * test.batch;
  return {
    label: `${model.split("/").at(-1)} ${test.name}, ${host} with ${backend}, ${shortAdapter(adapter)}`,
    value: test.tokensPerSecond,
    whisker: [all / test.spread.maxMs, all / test.spread.minMs],
  };
}
