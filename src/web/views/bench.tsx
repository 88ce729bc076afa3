/** How fast a model runs on this browser's GPU: the command line's benchmark, and its report as plots, tables and JSON. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { Report } from "../../bench/report.ts";
import type { ShapeName } from "../../bench/shapes.ts";
import type { Table } from "../../bench/tables.ts";
import { save } from "../download.tsx";
import type { BenchArgs } from "../engine/benchmark.ts";
import { useCall } from "../use-call.ts";
import { CallStatus, Card, Choice, Problem } from "../widgets.tsx";
import { Image } from "./plot.tsx";
import type { ViewProps } from "./view.ts";

const NOTES: Record<ShapeName, string> = {
  gpt2: "12 layers of 768, random weights: 498 MB",
  mini: "4 layers of 256, random weights: 22 MB",
  tiny: "2 layers of 64, random weights: less than 1 MB",
  "llama-mini": "4 layers of 256, as Llama has them, random weights: 20 MB",
};
const SUBJECTS = [...Object.entries(NOTES), ["address", "a model by its address"], ["files", "a model in files"]] as [
  string,
  string,
][];

/** A list of whole numbers as a person types it. */
interface NumbersField {
  readonly name: "p" | "n" | "b" | "r";
  readonly label: string;
  readonly hint: string;
  readonly otherwise: string;
  readonly least: number;
}

const FIELDS: readonly NumbersField[] = [
  { name: "p", label: "prompt lengths", hint: "pp128: a prompt of 128 tokens", otherwise: "128", least: 0 },
  { name: "n", label: "tokens to decode", hint: "tg32: 32 tokens, one by one", otherwise: "32", least: 0 },
  { name: "b", label: "sequences at once", hint: "b8: eight, computed together", otherwise: "1", least: 1 },
  { name: "r", label: "runs", hint: "after a warm-up; the median counts", otherwise: "5", least: 1 },
];

type BenchProps = Pick<ViewProps, "engine" | "state" | "setting"> & { begin: () => void };

export function BenchView({ engine, state, setting, begin }: BenchProps) {
  const value = (name: string, otherwise: string) => state.settings[`bench.${name}`] ?? otherwise;
  const subject = value("subject", "mini");
  const files = useRef<HTMLInputElement>(null);
  const [asked, setAsked] = useState<BenchArgs>();
  const [problem, setProblem] = useState<Error>();
  const [reports, setReports] = useState<readonly Report[]>([]);
  const run = useCall(engine, "bench", asked, { isFresh: true });
  useEffect(() => {
    if (run.result) setReports((before) => [...before, run.result as Report]);
  }, [run.result]);
  const start = async () => {
    try {
      const args = argsOf(subject, value, [...(files.current?.files ?? [])], (asked?.run ?? 0) + 1, await commitOf());
      setProblem(undefined);
      begin();
      setAsked(args);
    } catch (error) {
      setProblem(error as Error);
    }
  };
  const switches = [
    ["ceilings", "1", "measure what the GPU can do at best"],
    ["profile", "0", "time each kernel"],
  ] as const;
  return (
    <>
      <Card title="How fast is this browser's GPU?">
        <div class="row">
          <Choice
            label="model"
            value={subject}
            options={SUBJECTS.map(([name, note]) => [name, `${name}: ${note}`] as const)}
            onChange={(name) => setting("bench.subject", name)}
          />
          {subject === "address" && (
            <label class="field wide">
              address
              <input
                value={value("address", "")}
                placeholder="hf:openai-community/gpt2"
                onInput={(event) => setting("bench.address", event.currentTarget.value)}
              />
            </label>
          )}
          {subject === "files" && (
            <label class="field wide">
              config.json and model.safetensors
              <input ref={files} id="bench-files" type="file" multiple />
            </label>
          )}
        </div>
        <div class="row">
          {FIELDS.map(({ name, label, hint, otherwise }) => (
            <label key={name} class="field">
              {label}
              <input
                name={name}
                value={value(name, otherwise)}
                onInput={(event) => setting(`bench.${name}`, event.currentTarget.value)}
              />
              <small class="quiet">{hint}</small>
            </label>
          ))}
        </div>
        {switches.map(([name, otherwise, label]) => (
          <label key={name} class="check">
            <input
              type="checkbox"
              checked={value(name, otherwise) !== "0"}
              onChange={(event) => setting(`bench.${name}`, event.currentTarget.checked ? "1" : "0")}
            />{" "}
            {label}
          </label>
        ))}
        <p>
          <button type="button" class="main" disabled={run.isRunning} onClick={() => void start()}>
            Run
          </button>
        </p>
        {problem && <Problem error={problem} />}
        <CallStatus call={run} what={run.progress?.what ?? "Measuring"} />
      </Card>
      {reports.length > 0 && <Results engine={engine} reports={reports} clear={() => setReports([])} />}
      <HowToRead />
    </>
  );
}

/** @throws Error that says which setting cannot be read */
function argsOf(
  subject: string,
  value: (name: string, otherwise: string) => string,
  files: File[],
  run: number,
  commit: string,
): BenchArgs {
  const numbers = Object.fromEntries(
    FIELDS.map((field) => [field.name, numbersOf(field, value(field.name, field.otherwise))]),
  );
  const { p, n, b, r } = numbers as Record<NumbersField["name"], number[]>;
  if (r.length > 1) throw new Error(`runs are "${value("r", "5")}". Give one whole number from 1.`);
  const options = {
    prompts: p,
    generate: n,
    batches: b,
    runs: r[0] as number,
    ceilings: value("ceilings", "1") !== "0",
    profile: value("profile", "0") !== "0",
  };
  return { subject: subjectOf(subject, value("address", "").trim(), files), options, commit, run };
}

function subjectOf(subject: string, address: string, files: File[]): BenchArgs["subject"] {
  if (subject in NOTES) return { shape: subject as ShapeName };
  if (subject === "files") {
    if (files.length === 0) throw new Error("No files are chosen. Choose config.json and model.safetensors.");
    return { files };
  }
  if (subject !== "address")
    throw new Error(`There is no subject "${subject}". Subjects are ${SUBJECTS.map(([name]) => name).join(", ")}.`);
  if (address === "") throw new Error("There is no address. Give hf:owner/name, or the URL of a model's folder.");
  return { address };
}

function numbersOf({ label, least }: NumbersField, text: string): number[] {
  const parts = text.split(",").map((part) => part.trim());
  if (parts.every((part) => /^\d+$/.test(part) && Number.isSafeInteger(Number(part)) && Number(part) >= least))
    return parts.map(Number);
  throw new Error(`${label} are "${text}". Give whole numbers from ${least}, with commas between them.`);
}

/** The commit that the server knows; a page on a static host has none. */
async function commitOf(): Promise<string> {
  const response = await fetch("info.json").catch(() => undefined);
  return response?.ok ? ((await response.json()) as { commit: string }).commit : "unknown";
}

function Results({
  engine,
  reports,
  clear,
}: {
  engine: ViewProps["engine"];
  reports: readonly Report[];
  clear: () => void;
}) {
  const shown = useCall(engine, "showBench", { reports });
  const json = JSON.stringify({ reports }, undefined, 2);
  const give = (name: string, text: string, type: string) => save(name, new Blob([text], { type }));
  return (
    <Card title="Results">
      <CallStatus call={shown} what="Drawing" />
      {shown.result?.plots.map((svg, index) => (
        <Image key={index} svg={svg} label={index === 0 ? "Tokens per second" : "More of the same"} />
      ))}
      {shown.result?.tables.map((table) => (
        <Cells key={table.title} {...table} />
      ))}
      {shown.result?.notes.map((note) => (
        <p key={note} class="quiet">
          {note}
        </p>
      ))}
      <p class="downloads">
        <button type="button" onClick={() => give("superlens-bench.json", json, "application/json")}>
          JSON
        </button>
        <button
          type="button"
          disabled={!shown.result}
          onClick={() => give("superlens-bench.md", shown.result?.markdown ?? "", "text/markdown")}
        >
          Markdown
        </button>
        <button type="button" onClick={clear}>
          Clear
        </button>
      </p>
      <details>
        <summary>JSON</summary>
        <pre id="json">{json}</pre>
      </details>
    </Card>
  );
}

function Cells({ title, alignments, rows }: Table) {
  const [heads = [], ...body] = rows;
  const side = (column: number) => (alignments[column] === "right" ? "right" : "");
  return (
    <div class="scroll">
      <table class="cells">
        <caption>{title}</caption>
        <thead>
          <tr>
            {heads.map((text, column) => (
              <th key={text} scope="col" class={side(column)}>
                {text}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {body.map((cells, row) => (
            <tr key={row}>
              {cells.map((text, column) => (
                <td key={column} class={side(column)}>
                  {text}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const WORDS = [
  [
    "pp, tg",
    "Reading a prompt computes all its tokens in one pass: big matmuls, limited by arithmetic. Decoding computes one token a pass, and reads every weight for it: limited by memory.",
  ],
  ["tokens/s", "By the median of the runs. The whisker of a bar goes from the slowest run to the fastest."],
  ["MB/token", "Bytes of weights read for a token. With more sequences at once they are read once for all."],
  [
    "dispatches/token",
    "Kernels started for a token. Each costs the time that the ceilings show, however little it computes.",
  ],
  [
    "of ceiling",
    "How near the time is to the shortest that this GPU allows, by the best matmul measured here (matmul) or the fastest reading of weights (weights), whichever takes longer.",
  ],
  [
    "output",
    "Every run's logits or tokens are compared with those of slow reference kernels. A run that differs ends the benchmark: a fast wrong answer is no result.",
  ],
  ["cold", "From nothing to the first token of a prompt: device, weights, compilation of the kernels."],
] as const;

function HowToRead() {
  return (
    <details class="card">
      <summary>How to read the numbers</summary>
      <dl class="facts">
        {WORDS.map(([word, meaning]) => [<dt key={word}>{word}</dt>, <dd key={meaning}>{meaning}</dd>])}
      </dl>
    </details>
  );
}
