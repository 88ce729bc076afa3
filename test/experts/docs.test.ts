/** docs/hooks.md shows what can be done with experts by a program that runs. */
import { readFileSync } from "node:fs";
import ts from "typescript";
import { expect, it } from "vitest";
import { metric } from "../../src/hooks/index.ts";
import { hooked } from "../hooks/support.ts";

it("the program about experts runs", async () => {
  const page = readFileSync(new URL("../../docs/hooks.md", import.meta.url), "utf8");
  const section = page.slice(page.indexOf("### Experts"));
  const code = /```ts\n([\s\S]*?)```/.exec(section)?.[1] as string;
  const [, body] = code.split(/using model = .*\n/);
  const { outputText } = ts.transpileModule(body as string, { compilerOptions: { target: ts.ScriptTarget.ES2022 } });
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor;
  const printed: unknown[] = [];
  using model = await hooked("../types/mixtral");
  const given = { model, metric, console: { log: (value: unknown) => printed.push(value) } };
  await new AsyncFunction(...Object.keys(given), outputText)(...Object.values(given));
  const [tokens, values] = printed as [string[], Float32Array];
  expect(tokens).toHaveLength(4);
  expect(tokens[0]).toMatch(/^5: experts [0-3],[0-3], weights 0\.\d+,0\.\d+$/);
  expect(new Set([...values].map((value) => value.toFixed(4))).size).toBe(3); // without the experts that it does not choose, the last token has the same
});
