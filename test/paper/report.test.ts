/** The report: every figure on every model, resumable, and its page as Chromium shows it. */
import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect, it } from "vitest";
import { launch } from "../../scripts/hosts/chromium.ts";
import { loadModel } from "../../src/hooks/index.ts";
import { PaperError } from "../../src/paper/errors.ts";
import type { AnyFigure, Comparison, Figure, Summary } from "../../src/paper/figure.ts";
import { figureOf } from "../../src/paper/figures/index.ts";
import { runReport } from "../../src/paper/run-all.ts";
import type { CellProgress } from "../../src/paper/runs.ts";
import { SubjectList } from "../../src/paper/subjects.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { testGpu } from "../support/gpu.ts";

const MODEL = fileURLToPath(new URL("../fixtures/paper/lc-d16-l2-h2", import.meta.url));

const summary = (rows: Summary["table"]["rows"]): Summary => ({
  table: { columns: ["number"], rows },
  plots: [],
  sentence: "Numbers & <signs>.",
  verdict: "disagrees",
});

const about = { paper: "It said so.", cells: () => [{ id: "only" }], run: async () => 3 };

const PICKY: Figure = {
  ...about,
  name: "picky",
  asks: "Is there a word?",
  settings: async () => {
    throw new PaperError("paper/vocabulary", "There is no word for it.");
  },
  summarise: () => summary([]),
};

const COMPARED: Comparison = {
  ...about,
  name: "compared",
  asks: "How many are there?",
  settings: async ({ model }) => model.spec.dModel,
  compare: (models) => summary(models.map(({ settings }) => [settings as number])),
};

it("is a run for each figure and model, and a page of all; what is there is not computed again", async () => {
  await inTempFolder(async (folder) => {
    const gpu = await testGpu();
    using subjects = new SubjectList([MODEL, MODEL], (source) => loadModel(source, { gpu }));
    const seen: string[] = [];
    const figures: AnyFigure[] = [COMPARED as AnyFigure, figureOf("mixtures"), PICKY];
    const names = ["one", "two"];
    const onProgress = ({ run, done }: CellProgress & { run: string }) => seen.push(`${run} ${done}`);
    const make = (shard?: { index: number; count: number }) =>
      runReport(figures, subjects, { store: folder, names, quick: true, onProgress, ...(shard && { shard }) });
    expect(await make({ index: 0, count: 2 })).toBeUndefined();
    expect(existsSync(join(folder, "index.html"))).toBe(false);
    const cell = join(folder, "mixtures/one/cells", (await readdir(join(folder, "mixtures/one/cells")))[0] as string);
    const { mtimeMs } = await stat(cell);

    const report = await make();
    expect(seen.slice(-4)).toEqual(["mixtures/two 1", "mixtures/two 2", "compared/all 1", "compared/all 2"]);
    expect((await stat(cell)).mtimeMs).toBe(mtimeMs);
    expect(report?.runs.map(({ folder, reason }) => [folder, reason])).toEqual([
      ["mixtures/one", undefined],
      ["picky/one", "There is no word for it."],
      ["mixtures/two", undefined],
      ["picky/two", "There is no word for it."],
      ["compared/all", undefined],
    ]);
    expect(report?.runs[4]?.summary?.table.rows).toEqual([[16], [16]]);
    const written = JSON.parse(await readFile(join(folder, "report.json"), "utf8")) as { runs: { plots: string[] }[] };
    expect(written.runs[0]?.plots).toContain("mixtures");

    await using browser = await launch();
    const page = await browser.newPage();
    const problems: string[] = [];
    page.on("pageerror", ({ message }) => problems.push(message));
    page.on("requestfailed", (request) => problems.push(request.url()));
    await page.goto(pathToFileURL(join(folder, "index.html")).href);
    const contents = await page.locator("nav tr").allInnerTexts();
    expect(contents.map((line) => line.split("\t"))).toEqual([
      ["figure", "question", "one", "two", "all models"],
      ["compared", COMPARED.asks, "", "", "disagrees"],
      ["mixtures", figureOf("mixtures").asks, ...Array(2).fill(report?.runs[0]?.summary?.verdict), ""],
      ["picky", PICKY.asks, "left out", "left out", ""],
    ]);
    for (const link of await page.locator("nav a").evaluateAll((all) => all.map((a) => a.getAttribute("href"))))
      expect(await page.locator(`[id="${link?.slice(1)}"]`).count(), link ?? "").toBe(1);
    const plots = page.locator("img");
    expect(await plots.count()).toBe(2 * (written.runs[0]?.plots.length as number));
    for (const plot of await plots.all()) {
      await plot.scrollIntoViewIfNeeded();
      await expect.poll(() => plot.evaluate((img) => (img as HTMLImageElement).naturalWidth)).toBeGreaterThan(100);
    }
    expect(await page.locator("h3#compared-all-models + p").innerText()).toContain("Numbers & <signs>.");
    const links = await page
      .locator("p a[href]")
      .evaluateAll((all) => all.map((a) => a.getAttribute("href") as string));
    for (const link of links.filter((href) => !href.startsWith("http")))
      expect(existsSync(join(folder, link)), link).toBe(true);
    expect(problems).toEqual([]);
  });
}, 60_000);

it("needs a name for each model", async () => {
  const two = { count: 2, at: async () => ({}) as never };
  for (const names of [["one"], ["one", "one"]])
    await expect(runReport([PICKY], two, { store: "unwritten", names })).rejects.toMatchObject({ code: "paper/names" });
});
