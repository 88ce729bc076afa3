/** Reports as text, Markdown and SVG: every form from the same cells. */
import { describe, expect, it } from "vitest";
import { barPlots, markdown, notesOf, type Report, type TestResult, tablesOf } from "../../src/bench/index.ts";
import { significant } from "../../src/bench/tables.ts";
import { hostFacts } from "../../src/hosts/facts.ts";

function test(name: string, medianMs: number, more: Partial<TestResult> = {}): TestResult {
  return {
    name,
    batch: 1,
    tokens: 128,
    depth: 0,
    runs: [medianMs, medianMs + 1, medianMs - 1],
    medianMs,
    spread: { minMs: medianMs - 1, maxMs: medianMs + 1 },
    tokensPerSecond: 128_000 / medianMs,
    operations: 1e9,
    gflops: 1000 / medianMs,
    bytesReadPerToken: 1.5e6,
    dispatchesPerToken: 36,
    submitsPerToken: 1,
    peakBytes: 25_500_000,
    check: "ok",
    largestError: 1e-7,
    ...more,
  };
}

const PLAIN: Report = {
  date: "2026-01-02T03:04:05.678Z",
  commit: "abc1234",
  host: "node",
  hostVersion: "20.1.0",
  backend: "Dawn",
  adapter: { name: "llvmpipe <256 bits> | Mesa", kind: "lavapipe" },
  model: "models/Tiny<1>",
  isRandom: false,
  shape: { family: "gpt2", layers: 2, dModel: 64, heads: 2, kvHeads: 2, dMlp: 256, vocabSize: 512, maxPositions: 128 },
  storage: "bf16",
  load: {
    from: "files",
    bytes: 1e6,
    deviceMs: 10,
    ms: 20,
    readMs: 5,
    promptTokens: 128,
    firstTokenMs: 300,
    coldFirstTokenMs: 330,
  },
  tests: [test("pp128", 20), test("tg32", 500, { tokens: 32 })],
};

const WITH_ALL: Report = {
  ...PLAIN,
  host: "deno",
  backend: "wgpu",
  adapter: { name: "A Real GPU", kind: "hardware" },
  tests: [test("pp128", 2, { fractionOfCeiling: 0.4, boundBy: "matmul" })],
  ceilings: {
    matmul: { gflops: 1234.5, kernel: "tiled 64x64", rows: 256, width: 768, outWidth: 3072 },
    weights: { gigabytesPerSecond: 210, kernel: "shared 4x16", width: 3072, outWidth: 3072 },
    dispatchMicroseconds: 12.34,
  },
  profile: [{ test: "pp128", kernels: [{ kernel: "norm", dispatches: 5, ms: 0.5, share: 0.25 }] }],
};

describe("tables", () => {
  it("have host, backend and adapter on every line", () => {
    const [results] = tablesOf([PLAIN, WITH_ALL]);
    expect(results?.rows.map((row) => row.slice(0, 6))).toEqual([
      ["model", "host", "backend", "adapter", "test", "tokens/s"],
      ["Tiny<1> bf16", "node", "Dawn", "lavapipe", "pp128", "6400"],
      ["Tiny<1> bf16", "node", "Dawn", "lavapipe", "tg32", "256"],
      ["Tiny<1> bf16", "deno", "wgpu", "A Real GPU", "pp128", "64000"],
    ]);
  });

  it("have a column of ceilings when a report has them, and tables only for what there is", () => {
    expect(tablesOf([PLAIN]).map(({ title }) => title)).toEqual(["Results", expect.stringMatching(/^Loading/)]);
    expect(tablesOf([PLAIN])[0]?.rows[0]).not.toContain("of ceiling");
    const tables = tablesOf([PLAIN, WITH_ALL]);
    expect(tables.map(({ rows }) => rows.length)).toEqual([4, 3, 2, 2]);
    expect(tables[0]?.rows.map((row) => row.at(-2))).toEqual(["of ceiling", "", "", "40% (matmul)"]);
    for (const { rows, alignments } of tables) for (const row of rows) expect(row).toHaveLength(alignments.length);
  });

  it("are Markdown with the full names below", () => {
    const lines = markdown([PLAIN, WITH_ALL]).split("\n");
    expect(lines).toContain(
      "| deno | wgpu | A Real GPU | 1235 | tiled 64x64, 256 x 768 x 3072 | 210 | shared 4x16, 1 x 3072 x 3072 | 12.3 |",
    );
    expect(lines.at(-2)).toMatch(/^\* models\/Tiny<1>: gpt2, 2 layers of 64, .*llvmpipe.*abc1234, 2026-01-02$/);
    expect(notesOf([PLAIN])[0]).toContain("median of 3 after a warm-up");
  });
});

it("the plots have a bar with a whisker for each result, prompts and decoding a scale each", async () => {
  const plots = barPlots([PLAIN, WITH_ALL]);
  expect(plots.map(({ title }) => title)).toEqual(["Prompts, tokens per second", "Decoding, tokens per second"]);
  const bars = plots.map(({ spec }) => (spec.data as { values: Record<string, unknown>[] }).values);
  expect(bars.map(({ length }) => length)).toEqual([2, 1]);
  const [first] = PLAIN.tests;
  const all = 1000 * 128;
  expect(bars[0]?.[0]).toEqual({
    name: "Tiny<1> pp128, node with Dawn, lavapipe",
    value: first?.tokensPerSecond,
    low: all / (first?.spread.maxMs as number),
    high: all / (first?.spread.minMs as number),
  });
  const svg = (await plots[0]?.svg()) as string;
  expect(svg.match(/<title>/g)).toHaveLength(2);
  expect(svg).toContain(">Tiny&lt;1> pp128, node with Dawn, lavapipe<".replace("1>", "1&gt;"));
  expect(barPlots([])).toEqual([]);
});

describe("numbers and hosts", () => {
  it.each([
    [64000, "64000"],
    [1234.5, "1235"],
    [12.345, "12.3"],
    [0.012345, "0.0123"],
    [0, "0"],
  ])("%d reads %s", (value, text) => expect(significant(value)).toBe(text));

  it.each([
    ["Mozilla/5.0 Chrome/147.0.7727.0 Safari/537.36", { host: "chrome", hostVersion: "147.0.7727.0", backend: "Dawn" }],
    ["Mozilla/5.0 Chrome/147.0 Safari/537.36 Edg/147.1", { host: "edge", hostVersion: "147.1", backend: "Dawn" }],
    ["Mozilla/5.0 Gecko/20100101 Firefox/145.0", { host: "firefox", hostVersion: "145.0", backend: "wgpu" }],
    ["Mozilla/5.0 Version/26.0 Safari/605.1.15", { host: "safari", hostVersion: "26.0", backend: "WebKit" }],
    ["something else", { host: "browser", hostVersion: "", backend: "Dawn" }],
  ])("%s is known", (userAgent, facts) => {
    expect(hostFacts("browser", { navigator: { userAgent } })).toEqual(facts);
  });

  it("Deno's WebGPU is wgpu", () => {
    expect(hostFacts("deno", { Deno: { version: { deno: "2.9.5" } } })).toMatchObject({
      backend: "wgpu",
      hostVersion: "2.9.5",
    });
  });
});
