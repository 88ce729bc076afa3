/** The programs of docs/training.md run, on a fixture and in a folder of their own. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { expect, it } from "vitest";
import { loadModel } from "../../src/node.ts";
import { presetModel, trainingPreset, trainPreset } from "../../src/paper/index.ts";
import { saveModel, train } from "../../src/train/index.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { onPartsOfTestGpu } from "../support/device-part.ts";
import { folderOf } from "../train/support.ts";

const page = readFileSync(new URL("../../docs/training.md", import.meta.url), "utf8");

const blocks = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code as string);
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor;

/** Runs a program with what it imports; gives what it logged. */
async function run(program: string, folder: string): Promise<unknown[]> {
  const code = program.replace(/^import .*$/gm, "");
  const { outputText } = ts.transpileModule(code, { compilerOptions: { target: ts.ScriptTarget.ES2022 } });
  const inFolder = outputText
    .replaceAll('"./model"', JSON.stringify(folderOf("llama")))
    .replaceAll('"./', `"${folder}/`);
  const logged: unknown[] = [];
  const console = { log: (line: unknown) => logged.push(line) };
  const given = { loadModel, saveModel, train, presetModel, trainingPreset, trainPreset, console };
  await new AsyncFunction(...Object.keys(given), inFolder)(...Object.values(given));
  return logged;
}

it("shows programs that run", async () => {
  expect(blocks).toHaveLength(3);
  const [beginning, preset, checkpoints] = blocks as [string, string, string];
  const runAll = async (folder: string) => {
    const [line] = await run(beginning + checkpoints, folder);
    const [, first, last] = /^loss (.*), then (.*)$/.exec(line as string) ?? [];
    expect(Number(last)).toBeLessThan(Number(first) / 2);
    using trained = await loadModel(join(folder, "trained"));
    expect(trained.spec.family).toBe("llama");

    const [accuracy] = (await run(preset, folder)) as [{ countries: number }];
    expect(accuracy.countries).toBeGreaterThan(0);
    using tiny = await loadModel(join(folder, "tiny"));
    expect(tiny.spec.dModel).toBe(16);
  };
  await onPartsOfTestGpu(() => inTempFolder(runAll));
});
