/**
 * Writes docs/paper.md: for each figure its question, how it is measured, what the paper found and what came out.
 *
 *   npm run docs:paper
 *
 * Questions are the figures' own, the method is the first comment of a figure's file, and findings are those of the last
 * `npm run paper`, which docs/paper/report.json keeps. What longer runs found stands in docs/paper-notes/FIGURE.md.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { AnyFigure } from "../src/paper/figure.ts";
import { FIGURES } from "../src/paper/figures/index.ts";
import { aboutModels } from "../src/paper/report-page.ts";

const ROOT = new URL("../", import.meta.url);
export const PAPER_PAGE = fileURLToPath(new URL("docs/paper.md", ROOT));
const REPORT = new URL("docs/paper/report.json", ROOT);

/** What `runReport` writes of a run, as far as it is shown here. */
interface Run {
  figure: string;
  model: string;
  folder: string;
  verdict?: string;
  sentence?: string;
  reason?: string;
}

const HEAD = `# The paper, figure by figure

<!-- Written by scripts/docs-paper.ts: npm run docs:paper -->

Xiong et al., *Everything Everywhere All at Once: LLMs can In-Context Learn Multiple Tasks in Superposition*
([arXiv 2410.05603](https://arxiv.org/abs/2410.05603), ICML 2025): a prompt with examples of several tasks makes a model give probability
to several answers at once. superlens makes each experiment of the paper a command, a library call and a figure.

\`\`\`console
$ npm run paper                                            # every figure on the models in this package: docs/paper/index.html
$ npx superlens paper mixtures --model hf:Qwen/Qwen2.5-0.5B --out mixtures     # one of them, on any model
\`\`\`

\`\`\`ts
import { FIGURES, figureOf, runFigure, runReport, SubjectList } from "superlens/paper";

const subjects = new SubjectList(["./mini"]); // models, of which one at a time is in memory
const summary = await runFigure(figureOf("lambda"), subjects, { store: "lambda", quick: true });
await runReport(FIGURES, subjects, { store: "report", names: ["mini"] });
\`\`\`

A model that was trained here is asked the tasks its vocabulary has words for. One with a tokenizer is asked the paper's own prompts:
100 prompts of 60 examples for three tasks and 80 for four, operands from 10 to 99. Where its context is too short, prompts have fewer
examples, or a family is left out; the findings say so. [cli.md](cli.md#paper) has the options, how a run is shared between machines and
how it is given to Slurm.

**On every host.** The calls are the same in Node, in Deno and in a page. The models of this package are in its folder \`weights/\`; a page
takes them from the address under which it serves that folder. The numbers differ in the last digits, as adapters do.

\`\`\`ts
import { MemoryStore } from "superlens";
import { defaultModels, figureOf, runFigure, SubjectList } from "superlens/paper";

const figure = figureOf("mixtures");
using models = new SubjectList(defaultModels(figure, "https://example.org/weights"));
const summary = await runFigure(figure, models, { store: new MemoryStore(), quick: true });
\`\`\`

**What a verdict is.** The paper gives few numbers, so each figure says in its code which statement of the paper it tests, and by which
threshold. "Agrees in part" means for some of the families. Prompts are few in \`--quick\` runs: take a share of 20 prompts as ± 0.1.

**Means hide what matters.** That two probabilities follow the mixture on average can mean a model that superposes in every prompt, or
one that picks a task in each. So figures show each prompt as a point, the smaller of the probabilities, and the part of prompts in which
every task has at least a fifth of its share.

**How long it takes.** \`npm run paper\`, which is \`--quick\` on two models, takes 70 s on two quiet cores with SwiftShader. Without
\`--quick\`, all figures but \`seeds\` took 15 minutes in all on two cores that other work shared, for one model of the package, in
seconds of CPU time: \`mixtures\` 3, \`others\` 4, \`ablation\` 7, \`top-k\` 9, \`lambda\` 47, \`purity\` 18, \`cost\` 12, \`decode\`
64, \`scale\` 11, \`heads\` 11, \`vectors\` 18, \`steer\` 29, \`convex\` 11. \`seeds\` trains twelve models:
18 minutes with lavapipe, an hour or more with SwiftShader.
`;

const row = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;

/** The first comment of a figure's file, as running text. */
function methodOf(name: string): string {
  const file = new URL(`src/paper/figures/${name}.ts`, ROOT);
  const comment = existsSync(file) ? /^\/\*\*([\s\S]*?)\*\//.exec(readFileSync(file, "utf8"))?.[1] : undefined;
  return (comment ?? "")
    .replace(/^\s*\* ?/gm, "")
    .replace(/\s+/g, " ")
    .trim();
}

/** What longer runs of a figure found, with the commands that repeat them; most have no such note. */
function noteOf(name: string): string {
  const file = new URL(`docs/paper-notes/${name}.md`, ROOT);
  return existsSync(file) ? `\n${readFileSync(file, "utf8").trim()}` : "";
}

/** Figures against models, with verdicts. */
function overview(runs: readonly Run[]): string {
  const models = [...new Set(runs.map(({ model }) => model))];
  const verdictOf = (figure: string, model: string) => {
    const run = runs.find((one) => one.figure === figure && one.model === model);
    return run ? (run.verdict ?? "left out") : "";
  };
  return [
    "## What came out",
    "",
    ...aboutModels(models).map((line) => `* ${line}`),
    "",
    row(["figure", ...models]),
    row(["---", ...models.map(() => "---")]),
    ...FIGURES.map(({ name }) => row([`[\`${name}\`](#${name})`, ...models.map((model) => verdictOf(name, model))])),
  ].join("\n");
}

function section({ name, asks, paper }: AnyFigure, runs: readonly Run[]): string {
  const method = methodOf(name);
  const found = runs.filter(({ figure }) => figure === name);
  return [
    `## ${name}`,
    "",
    asks,
    "",
    ...(method === "" ? [] : [`**How** (\`src/paper/figures/${name}.ts\`): ${method}`, ""]),
    `**The paper:** ${paper}`,
    "",
    ...(found.length === 0 ? ["**Ours:** not measured yet: `npm run paper`."] : ["**Ours:**", ""]),
    ...found.map(({ model, verdict, sentence, reason }) =>
      verdict === undefined ? `* ${model}: left out. ${reason}` : `* ${model} (${verdict}): ${sentence}`,
    ),
    noteOf(name),
  ].join("\n");
}

/** The whole page. */
export function paperPage(): string {
  const { runs } = existsSync(REPORT) ? (JSON.parse(readFileSync(REPORT, "utf8")) as { runs: Run[] }) : { runs: [] };
  const parts = [HEAD, overview(runs), ...FIGURES.map((figure) => section(figure, runs))];
  return `${parts.map((part) => part.trim()).join("\n\n")}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(PAPER_PAGE, paperPage());
