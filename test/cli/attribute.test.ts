/** `superlens attribute` as a process, and each of its methods: what is printed is what the library gives. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { METHOD_NAMES, type MethodName, methodOf } from "../../src/cli/attribution-methods.ts";
import {
  activationPatch,
  attributionPatch,
  CircuitGraph,
  edgeAttribution,
  type HookedModel,
  integratedGradients,
  metric,
} from "../../src/hooks/index.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { hooked } from "../hooks/support.ts";
import { relativeError } from "../support/numbers.ts";
import { LLAMA, superlens } from "./support.ts";

const PROMPTS = { clean: [5, 6, 7, 9], corrupted: [5, 8, 7, 9] };
const difference = metric.logitDiff(5, 7);
const question = (name: MethodName) => ({ ...PROMPTS, metric: difference, check: 5, at: methodOf(name).at });
const { signal } = new AbortController();

let model: HookedModel;
beforeAll(async () => {
  model = await hooked("llama");
});
afterAll(() => model.destroy());

const flat = (json: object) => (json as { values: number[][] }).values.flat();

it("prints JSON and writes the same to a file", async () => {
  const grid = await attributionPatch(model, { ...PROMPTS, metric: difference, at: "z" });
  const exact = await activationPatch(model, { ...PROMPTS, metric: difference, at: "z" });
  await inTempFolder(async (folder) => {
    const out = join(folder, "heads.json");
    const prompts = ["--ids", "--clean", PROMPTS.clean.join(" "), "--corrupted", PROMPTS.corrupted.join(" ")];
    const args = ["--metric", "logitDiff(5,7)", "--at", "z", "--json", "--out", out, "--quiet"];
    const run = await superlens(["attribute", LLAMA, ...prompts, ...args]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    const json = JSON.parse(run.stdout);
    expect(JSON.parse(await readFile(out, "utf8"))).toEqual(json);
    expect(json).toMatchObject({ columns: { name: "head" }, base: expect.closeTo(grid.base, 4) });
    expect(relativeError(flat(json), grid.values)).toBeLessThan(1e-4);
    const cells = json.exact.cells as { index: number; exact: number }[];
    expect(cells).toHaveLength(grid.values.length); // fewer than --check's 32
    expect(
      relativeError(
        cells.map((cell) => cell.exact),
        exact.change(),
      ),
    ).toBeLessThan(1e-4);
  });
});

it.each(["attribution", "exact"] as const)("%s gives the grid, 0 to 1 between the runs", async (name) => {
  const { lines, json } = await methodOf(name).answer(model, question(name), signal);
  const call = name === "exact" ? activationPatch : attributionPatch;
  const grid = await call(model, { ...PROMPTS, metric: difference, at: "resid_pre" });
  expect(relativeError(flat(json), grid.values)).toBeLessThan(1e-5);
  expect(lines[0]).toContain(`clean ${grid.clean.toFixed(4)}, corrupted ${grid.corrupted.toFixed(4)}`);
  expect(lines[1]).toBe(grid.toTable(grid.normalized()));
  if (name === "attribution") expect(lines[2]).toMatch(/exact patching, 5 of 12 cells: correlation -?\d\.\d{3}, /);
  expect(lines).toHaveLength(name === "attribution" ? 3 : 2);
});

it("ig gives a score to each token, which add up", async () => {
  const { lines, json } = await methodOf("ig").answer(model, question("ig"), signal);
  const { scores, value, baseline } = await integratedGradients(model, {
    input: PROMPTS.clean,
    baseline: PROMPTS.corrupted,
    metric: difference,
  });
  expect(json).toMatchObject({ at: "hook_embed", clean: value, corrupted: baseline, scores: [...scores] });
  expect(lines.slice(1, -1)).toHaveLength(PROMPTS.clean.length);
  expect(lines[2]).toMatch(new RegExp(`^1:#6 +${(scores[1] as number).toFixed(4)}$`));
});

it.each([
  ["eap", "eap"],
  ["eap-ig", "eap-ig-inputs"],
] as const)("%s gives the graph that EAP-IG reads, and prints the largest edges", async (name, method) => {
  const { lines, json } = await methodOf(name).answer(model, question(name), signal);
  const graph = await edgeAttribution(model, { ...PROMPTS, metric: difference, method });
  const scores = [...graph.edges.values()].map(({ score }) => score);
  const written = CircuitGraph.fromJSON(JSON.parse(JSON.stringify(json)));
  expect(
    relativeError(
      [...written.edges.values()].map(({ score }) => score),
      scores,
    ),
  ).toBeLessThan(1e-5);
  const largest = [...graph.edges.values()].reduce((a, b) => (Math.abs(b.score) > Math.abs(a.score) ? b : a));
  expect(lines[0]).toMatch(new RegExp(`^20 of ${scores.length} edges, `));
  expect(lines[1]).toMatch(new RegExp(`^ ?${largest.score.toFixed(4)}  ${largest.name}$`));
  expect(lines).toHaveLength(21);
});

it("every method checks a question without a GPU", () => {
  const facts = { spec: model.spec, tokenizer: undefined, label: "llama" };
  for (const name of METHOD_NAMES) {
    const check = (changes: object) => () => methodOf(name).check(facts, { ...question(name), ...changes });
    expect(check({})).not.toThrow();
    expect(check({ corrupted: [5] }), name).toThrow(/The clean prompt has 4 tokens, the corrupted one 1/);
    expect(check({ corrupted: question(name).clean }), name).toThrow(/are the same tokens/);
    expect(check({ metricPosition: 9 }), name).toThrow(/metricPosition is 9; the prompt has 4 tokens/);
    expect(check({ metric: metric.logit(96) }), name).toThrow(/token 96 is out of range/);
    expect(check({ metric: metric.loss() }), name).toThrow(/loss is for gradients alone/);
    if (name !== "exact") expect(check({ metric: metric.rank(5) }), name).toThrow(/has no gradient/);
    const block = { ...model.spec.block, norms: "sandwich" } as const;
    // What is no head's goes through the norm, too.
    const weights = { ...model.spec.weights, "attn.b_O": { tensor: "b_O" } };
    const normed = () => methodOf(name).check({ ...facts, spec: { ...model.spec, block, weights } }, question(name));
    if (name.startsWith("eap")) expect(normed, name).toThrow(/edges have no exact meaning/);
    else expect(normed, name).not.toThrow();
  }
});
