/** The programs of docs/training.md run, on a fixture and in a folder of their own. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { expect, it } from "vitest";
import { loadModel } from "../../src/node.ts";
import { saveModel, train } from "../../src/train/index.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { folderOf } from "../train/support.ts";

const page = readFileSync(new URL("../../docs/training.md", import.meta.url), "utf8");

it("shows programs that run", async () => {
  const blocks = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code as string);
  expect(blocks).toHaveLength(2);
  const code = blocks.join("\n").replace(/^import .*$/gm, "");
  const { outputText } = ts.transpileModule(code, { compilerOptions: { target: ts.ScriptTarget.ES2022 } });
  const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor;
  await inTempFolder(async (folder) => {
    const lines: string[] = [];
    const inFolder = outputText
      .replaceAll('"./model"', JSON.stringify(folderOf("llama")))
      .replaceAll('"./', `"${folder}/`);
    const given = { loadModel, saveModel, train, console: { log: (line: string) => lines.push(line) } };
    await new AsyncFunction(...Object.keys(given), inFolder)(...Object.values(given));
    const [, first, last] = /^loss (.*), then (.*)$/.exec(lines[0] as string) ?? [];
    expect(Number(last)).toBeLessThan(Number(first) / 2);
    using trained = await loadModel(join(folder, "trained"));
    expect(trained.spec.family).toBe("llama");
  });
});
