/** Commands with the prompts of a file: what it may hold, and that each prompt gives what it gives alone. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readPrompts } from "../../src/cli/prompts.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { failureOf } from "../hooks/support.ts";
import { byDay } from "../support/nightly.ts";
import { json, LLAMA, readTensors, relativeDifference, superlens } from "./support.ts";

const inFile = <T>(name: string, text: string, use: (path: string) => Promise<T>) =>
  inTempFolder(async (folder) => {
    const path = join(folder, name);
    await writeFile(path, text);
    return await use(path);
  });

describe("a file of prompts", () => {
  it.each([
    ["a text a line", "a.txt", "The cat\r\n\n sat on\nit", ["The cat", " sat on", "it"]],
    ["a JSON list of texts", "a.json", '["two\\nlines", "b"]', ["two\nlines", "b"]],
    ["a JSON list of ids", "a.json", "[[5, 6], [7]]", [[5, 6], [7]]],
  ])("may be %s", async (_, name, text, expected) => {
    expect(await inFile(name, text, readPrompts)).toEqual(expected);
  });

  it.each([
    ["nothing", "a.txt", "\n\n", /cli\/prompts: .*a\.txt holds no prompts/],
    ["no list", "a.json", '{"a": 1}', /cli\/prompts: .*holds no prompts/],
    ["texts beside ids", "a.json", '["a", [5]]', /cli\/prompts: .*entry 1 is \[5\]\. All must be texts, or all lists/],
    ["what is no id", "a.json", "[[5], [-1]]", /cli\/prompts: .*entry 1 is \[-1\]/],
    ["an empty prompt", "a.json", '["a", ""]', /cli\/prompts: .*entry 1 is ""/],
    ["no JSON", "a.json", "[", /cli\/not-json: /],
  ])("may not be %s", async (_, name, text, message) => {
    expect(await inFile(name, text, (path) => failureOf(() => readPrompts(path)))).toMatch(message);
  });

  it("must be there", async () => {
    expect(await failureOf(() => readPrompts("nowhere.txt"))).toMatch(/cli\/no-text: nowhere\.txt cannot be read/);
  });
});

const COMMANDS: readonly (readonly [string, string, ...string[]])[] = [
  ["forward", "logits", "--last"],
  ["backward", "blocks.0.hook_resid_pre", "--metric", "logit(3)", "--at", "blocks.0.hook_resid_pre"],
];

describe("commands", () => {
  it("forward and backward run its prompts as a batch", async () => {
    await inFile("prompts.json", "[[5, 6, 7], [9, 8]]", async (path) => {
      const batch = ["--ids", "5 6 7", "--ids", "9 8"];
      for (const [command, tensor, ...options] of byDay(COMMANDS, COMMANDS.slice(0, 1))) {
        const read = async (input: readonly string[]) => {
          const out = `${path}.${input.length}.safetensors`;
          const run = await superlens([command, LLAMA, ...input, ...options, "--out", out, "--quiet"]);
          expect(run).toMatchObject({ code: 0, stderr: "" });
          return (await readTensors(out, [tensor]))[0] as Float32Array;
        };
        expect(relativeDifference(await read(["--prompts", path]), await read(batch))).toBe(0);
      }
    });
  });

  it("probs answers each of its prompts as alone", async () => {
    await inFile("prompts.json", "[[5, 6, 7], [9, 8]]", async (path) => {
      const probs = ["probs", LLAMA, "--answers", "3,4 5", "--quiet"];
      const all = await json<{ prompt: number[]; answers: unknown[] }[]>([...probs, "--prompts", path]);
      const alone = [await json([...probs, "--ids", "5 6 7"]), await json([...probs, "--ids", "9 8"])];
      expect(all).toEqual([
        { prompt: [5, 6, 7], answers: alone[0] },
        { prompt: [9, 8], answers: alone[1] },
      ]);
      const { stdout } = await superlens([...probs, "--prompts", path]);
      expect(stdout).toMatch(/^5 6 7\n +prob[\s\S]*\ntogether .*\n\n9 8\n +prob/);
    });
  });

  it.each([
    [["forward", LLAMA, "--ids", "5", "--prompts", "a", "--out", "x"], /give one of --ids, --text and --prompts/],
    [["forward", LLAMA, "--out", "x"], /give token ids with --ids, or text with --text, or a file of either/],
    [["probs", LLAMA, "text", "--prompts", "a", "--answers", "b"], /give either a prompt or --prompts, not both/],
    [
      ["probs", LLAMA, "--ids", "5", "--prompts", "a", "--answers", "b"],
      /'--prompts <file>' cannot be used with .*'--ids/,
    ],
  ])("%j is refused", async (args, message) => {
    const { code, stderr } = await superlens(args);
    expect(stderr).toMatch(message);
    expect(code).toBe(2);
  });
});
