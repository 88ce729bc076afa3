/** `superlens generate --chat`: the user's message through the model's chat template, and the answer alone on stdout. */
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadModel } from "../../src/hooks/index.ts";
import { initialFiles } from "../../src/train/initialise.ts";
import { MINI_CONFIG } from "../api/train-calls.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { testGpu } from "../support/gpu.ts";
import { json, LLAMA, ROOT, superlens } from "./support.ts";

const TEMPLATE = `${ROOT}test/fixtures/chat/templates/whitespace-control.jinja`;

/** Random weights with the tokenizer of the chat fixtures, and its template if it is to have one. */
async function writeModel(folder: string, template?: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  for (const [name, bytes] of initialFiles({ ...MINI_CONFIG, vocab_size: 300, n_positions: 128 }, { seed: 3 }))
    await writeFile(join(folder, name), bytes);
  for (const name of ["tokenizer.json", "tokenizer_config.json"])
    await copyFile(`${ROOT}test/fixtures/chat/tokenizer/${name}`, join(folder, name));
  if (template) await copyFile(template, join(folder, "chat_template.jinja"));
  return folder;
}

describe("generate --chat", () => {
  it("runs what model.chat makes of the messages, and prints the answer alone", async () => {
    await inTempFolder(async (folder) => {
      const path = await writeModel(join(folder, "model"), TEMPLATE);
      using model = await loadModel(path, { gpu: await testGpu() });
      const prompt = await model.chat([
        { role: "system", content: "Be brief." },
        { role: "user", content: "Hi!" },
      ]);
      expect(model.toText(prompt)).toBe(
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n",
      );
      const ids: number[] = [];
      for await (const { tokens } of model.generate(prompt, { maxNewTokens: 6 })) ids.push(tokens[0] as number);

      const args = ["generate", path, "Hi!", "--chat", "--system", "Be brief.", "--max-new-tokens", "6"];
      const result = await json<{ ids: number[]; text: string; timings: { promptTokens: number } }>([
        ...args,
        "--quiet",
      ]);
      expect(result.ids).toEqual(ids);
      expect(result.timings.promptTokens).toBe(prompt.length);
      const plain = await superlens([...args, "--quiet"]);
      expect(plain).toEqual({ code: 0, stderr: "", stdout: `${result.text}\n` });
    });
  });

  it("says so when the model has no chat template", async () => {
    await inTempFolder(async (folder) => {
      const { code, stderr } = await superlens(["generate", await writeModel(folder), "Hi!", "--chat"]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/has no chat template.*\[tokenizer\/no-chat-template, see docs/);
    });
  });

  it.each<[string, string[], RegExp]>([
    ["a system message without a chat", ["Hi!", "--system", "Be brief."], /--system is for a chat: add --chat/],
    ["ids", ["--ids", "1", "--chat"], /--chat is for a prompt of text/],
    ["--no-bos", ["Hi!", "--chat", "--no-bos"], /the chat template decides about BOS/],
  ])("refuses %s", async (_, args, message) => {
    const { code, stderr } = await superlens(["generate", LLAMA, ...args]);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });
});
