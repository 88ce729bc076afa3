/**
 * The program of `bench/index.html`: a form for what to measure, the same run as on the command line, and its report as
 * plot, tables and JSON. Reports of one visit are kept side by side until they are cleared. Settings may stand in the
 * address: `?subject=mini&p=128,512&n=0`.
 */
import { adapterLine } from "../hosts/adapters.ts";
import { requestGpu } from "../hosts/request.ts";
import { DEFAULT_OPTIONS } from "./options.ts";
import { barPlots } from "./plot.ts";
import type { Report } from "./report.ts";
import { type BenchProgress, runBench } from "./run.ts";
import { SHAPE_NAMES, type SHAPES, type ShapeName } from "./shapes.ts";
import type { Subject } from "./subject.ts";
import { markdown, notesOf, type Table, tablesOf } from "./tables.ts";

const ADDRESS = "A model by its address";
const FILES = "A model in files";

/** What is said of each choice. */
const NOTES: Record<string, string> = {
  gpt2: "12 layers of 768, random weights: 498 MB",
  mini: "4 layers of 256, random weights: 22 MB",
  tiny: "2 layers of 64, random weights: less than 1 MB",
  "llama-mini": "4 layers of 256, as Llama has them, random weights: 20 MB",
  [ADDRESS]: "Downloaded, and kept by the browser when it is from the Hub",
  [FILES]: "Read where they lie",
};

const reports: Report[] = [];
let running: AbortController | undefined;
let commit = "unknown";

function element<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  return document.getElementById(id) as Kind;
}

const form = element<HTMLFormElement>("settings");
const subject = element<HTMLSelectElement>("subject");
const runButton = element<HTMLButtonElement>("run");

function control(name: string): HTMLInputElement {
  return form.elements.namedItem(name) as HTMLInputElement;
}

function show(id: string, isShown: boolean): void {
  element(id).hidden = !isShown;
}

function fillForm(): void {
  for (const name of [...SHAPE_NAMES, ADDRESS, FILES]) subject.add(new Option(name, name));
  subject.value = "mini" satisfies ShapeName;
  for (const [name, value] of new URLSearchParams(location.search)) fillField(name, value);
  showSubject();
}

/** Takes a setting from the address, or says what is wrong with it. */
function fillField(name: string, value: string): void {
  const field = form.elements.namedItem(name);
  if (field instanceof HTMLInputElement && field.type === "checkbox") field.checked = value !== "0";
  else if (field instanceof HTMLInputElement) field.value = value;
  else if (field === subject && [...subject.options].some((option) => option.value === value)) subject.value = value;
  else {
    const names = ["subject", "address", "p", "n", "b", "r", "ceilings", "profile"].join(", ");
    const subjects = [...subject.options].map((option) => option.value).join(", ");
    const remedy = field === subject ? `Subjects are ${subjects}.` : `Settings are ${names}.`;
    showProblem(new Error(`The address says ${name}=${value}, which is no setting of this page. ${remedy}`));
  }
}

function showSubject(): void {
  show("address-field", subject.value === ADDRESS);
  show("files-field", subject.value === FILES);
  element("subject-note").textContent = NOTES[subject.value] ?? "";
}

/** Says which adapter runs, or why none does; without one there is nothing to run. */
async function findAdapter(): Promise<void> {
  try {
    const { adapterInfo, device } = await requestGpu();
    device.destroy();
    element("adapter").textContent = adapterLine(adapterInfo).replace("superlens: ", "");
    runButton.disabled = false;
  } catch (error) {
    element("adapter").textContent = "There is no GPU that this page could use.";
    showProblem(error);
  }
}

function showProblem(error: unknown): void {
  const problem = element("problem");
  problem.textContent = error instanceof Error ? error.message : String(error);
  problem.hidden = false;
  problem.scrollIntoView({ block: "nearest" });
}

/** Whole numbers of a field, from `least`. Throws a message for people. */
function numbersOf(name: string, least: number): number[] {
  const { value } = control(name);
  const parts = value.split(",").map((part) => part.trim());
  const isRight = parts.every(
    (part) => /^\d+$/.test(part) && Number.isSafeInteger(Number(part)) && Number(part) >= least,
  );
  if (!isRight) throw new Error(`-${name} is "${value}". Give whole numbers from ${least}, with commas between them.`);
  return parts.map(Number);
}

/** The one whole number of a field, from `least`. Throws a message for people. */
function numberOf(name: string, least: number): number {
  const [number, ...more] = numbersOf(name, least);
  if (more.length > 0) throw new Error(`-${name} is "${control(name).value}". Give one whole number from ${least}.`);
  return number as number;
}

function chosenSubject(): Subject {
  const files = element<HTMLInputElement>("files").files ?? [];
  if (subject.value === FILES) {
    if (files.length === 0) throw new Error("No files are chosen. Choose config.json and model.safetensors.");
    return { source: [...files] };
  }
  if (subject.value !== ADDRESS) return { shape: subject.value as keyof typeof SHAPES };
  const address = control("address").value.trim();
  if (address === "") throw new Error("There is no address. Give hf:owner/name, or the URL of a model's folder.");
  return { source: address, label: address };
}

async function run(): Promise<void> {
  show("problem", false);
  running = new AbortController();
  setRunning(true);
  try {
    const report = await runBench(chosenSubject(), {
      ...DEFAULT_OPTIONS,
      prompts: numbersOf("p", 0),
      generate: numbersOf("n", 0),
      batches: numbersOf("b", 1),
      runs: numberOf("r", 1),
      ceilings: control("ceilings").checked,
      profile: control("profile").checked,
      commit,
      onProgress: showProgress,
      signal: running.signal,
    });
    reports.push(report);
    showReports();
    element("progress").textContent = "Done.";
  } catch (error) {
    element("progress").textContent = running.signal.aborted ? "Stopped." : "";
    if (!running.signal.aborted) showProblem(error);
  } finally {
    setRunning(false);
  }
}

function setRunning(isRunning: boolean): void {
  runButton.disabled = isRunning;
  show("stop", isRunning);
  show("bar", isRunning);
}

function showProgress({ stage, detail }: BenchProgress): void {
  element("progress").textContent = `${stage}: ${detail}`;
}

function showReports(): void {
  show("results", reports.length > 0);
  element("tables").replaceChildren(...tablesOf(reports).map(tableElement));
  element("notes").replaceChildren(...notesOf(reports).map(noteElement));
  element("json").textContent = asJson();
  element("copied").textContent = "";
  void drawPlots();
}

/** Draws what was measured so far, unless more came in between. */
async function drawPlots(): Promise<void> {
  const json = asJson();
  const drawn = await Promise.all(barPlots(reports).map((plot) => plot.svg()));
  if (json === asJson()) element("plot").innerHTML = drawn.join("");
}

function asJson(): string {
  return JSON.stringify({ reports }, undefined, 2);
}

function tableElement({ title, alignments, rows }: Table): HTMLElement {
  const table = document.createElement("table");
  table.createCaption().textContent = title;
  rows.forEach((cells, index) => {
    const row = table.insertRow();
    cells.forEach((text, column) => {
      const cell = row.appendChild(document.createElement(index === 0 ? "th" : "td"));
      cell.textContent = text;
      if (alignments[column] === "right") cell.className = "right";
    });
  });
  const scroll = document.createElement("div");
  scroll.className = "scroll";
  scroll.append(table);
  return scroll;
}

function noteElement(text: string): HTMLElement {
  const note = document.createElement("p");
  note.className = "quiet";
  note.textContent = text;
  return note;
}

async function copy(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    element("copied").textContent = `${what} copied.`;
  } catch (error) {
    showProblem(error);
  }
}

function listen(): void {
  subject.addEventListener("change", showSubject);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void run();
  });
  element("stop").addEventListener("click", () => running?.abort(new Error("stopped")));
  element("copy-json").addEventListener("click", () => void copy(asJson(), "JSON"));
  element("copy-markdown").addEventListener("click", () => void copy(markdown(reports), "Markdown"));
  element("clear").addEventListener("click", () => {
    reports.length = 0;
    showReports();
  });
}

/** The commit that the server knows; a page that was put elsewhere has none. */
async function findCommit(): Promise<void> {
  const response = await fetch("info.json").catch(() => undefined);
  if (response?.ok) commit = ((await response.json()) as { commit: string }).commit;
}

fillForm();
listen();
await findCommit();
await findAdapter();
