/** docs/gradients.md has every op, metric and edit, and its program runs. */
import { readFileSync } from "node:fs";
import ts from "typescript";
import { expect, it } from "vitest";
import { metric } from "../../src/hooks/metrics.ts";
import { EDIT_OPS } from "../../src/ops/edit-call.ts";
import { FUSED, HOOKS, MODULES, PRIMITIVES } from "../../src/ops/index.ts";
import type { OpKind } from "../../src/ops/op.ts";
import { hooked } from "../hooks/support.ts";

const page = readFileSync(new URL("../../docs/gradients.md", import.meta.url), "utf8");

/** The names in the first cells of a section's table. */
function firstCells(heading: string): string[] {
  const section = page.slice(page.indexOf(`\n## ${heading}\n`)).split("\n## ")[1] as string;
  const cells = [...section.matchAll(/^\| ([^|]+) \|/gm)].map(([, cell]) => cell as string);
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name as string));
}

it("has a row for every op with a vector-Jacobian product", () => {
  const kinds: readonly OpKind<never>[] = [...PRIMITIVES, ...MODULES, ...HOOKS, ...FUSED];
  expect(firstCells("How it is computed").sort()).toEqual(
    kinds
      .filter(({ vjp }) => vjp)
      .map(({ name }) => name)
      .sort(),
  );
});

it("has every op of edits", () => {
  expect(firstCells("Edits").sort()).toEqual(Object.keys(EDIT_OPS).sort());
});

it("has every metric, with the gradient or the reason why there is none", () => {
  const listed = [...firstCells("Metrics"), ...firstCells("What is refused")].join();
  for (const name of Object.keys(metric)) expect(listed).toContain(`metric.${name}`);
});

it("shows a program that runs", async () => {
  const blocks = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code as string);
  expect(blocks).toHaveLength(3);
  // The first paragraphs import and choose a model and a prompt. Here it is a fixture's, which has no tokenizer.
  const [, , ...rest] = blocks.join("\n").split("\n\n");
  const { outputText } = ts.transpileModule(rest.join("\n\n"), { compilerOptions: { target: ts.ScriptTarget.ES2022 } });
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor;
  const lines: string[] = [];
  const log = (...values: unknown[]) => lines.push(values.join(" "));
  using model = await hooked("gpt2");
  const prompt = [5, 6, 7, 8];
  const given = { model, metric, prompt, paris: 9, rome: 10, console: { log } };
  await new AsyncFunction(...Object.keys(given), outputText)(...Object.values(given));
  using result = await model.forward(prompt, { logits: "last" });
  const logits = await result.logits.at(0, -1);
  const difference = (logits[9] as number) - (logits[10] as number);
  expect(Number(lines[0]?.replace("logit difference ", ""))).toBeCloseTo(difference, 4);
  for (const [index] of prompt.entries())
    expect(lines[1 + index]).toMatch(new RegExp(`^position ${index}: -?\\d+\\.\\d{3}$`));
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  const entropy = logits.reduce((sum, logit) => sum - Math.exp(logit - total) * (logit - total), 0);
  expect(Number(lines[5]?.replace("entropy ", ""))).toBeCloseTo(entropy, 4);
  expect(lines[6]).toMatch(/^loss \d+\.\d+/);
  expect(lines.slice(7).join("\n")).toMatch(/^transformer\.wte\.weight 96,\d+ -?[\d.e-]+$/m);
  expect(lines.slice(7).length).toBeGreaterThan(10);
});
