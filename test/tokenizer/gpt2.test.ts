/** GPT-2's built-in tokenizer: known ids, special token, bytes, and when it is chosen. */
import { beforeAll, describe, expect, it } from "vitest";
import { InputError } from "../../src/errors.ts";
import { spellBytes } from "../../src/tokenizer/bytes.ts";
import { loadTokenizer, type Tokenizer } from "../../src/tokenizer/index.ts";
import { memorySource, readFixture } from "./fixtures.ts";

const END = 50256;
let tokenizer: Tokenizer;
let rows: { text: string; ids: number[] }[];

async function load(modelType: string, vocabSize: number, files: Record<string, unknown> = {}) {
  return loadTokenizer(memorySource(files), { modelType, vocabSize });
}

beforeAll(async () => {
  const loaded = await load("gpt2", 50257);
  if (!loaded) throw new Error("GPT-2 has a tokenizer");
  tokenizer = loaded;
  rows = await readFixture("gpt2.json");
});

describe("GPT-2's tokenizer", () => {
  it("is chosen for models of its vocabulary without tokenizer.json", async () => {
    expect(tokenizer).toMatchObject({ kind: "gpt2", vocabSize: 50257, bosId: END, addsBos: false, eosIds: [END] });
    expect((await load("gptj", 50400))?.kind).toBe("gpt2");
    expect((await load("gpt_neo", 50257, { "config.json": { eos_token_id: [3] } }))?.eosIds).toEqual([3]);
    expect(await load("gpt2", 50256)).toBeUndefined();
    expect(await load("llama", 50257)).toBeUndefined();
  });

  it("is not taken for a checkpoint whose own files have another vocabulary", async () => {
    const { default: ranks } = await import("gpt-tokenizer/bpeRanks/r50k_base");
    const bytes = (entry: string | readonly number[]) => (typeof entry === "string" ? entry : Uint8Array.from(entry));
    const vocabulary = Object.fromEntries(ranks.map((entry, id) => [spellBytes(bytes(entry)), id]));
    vocabulary["<|endoftext|>"] = END;
    expect((await load("gpt2", 50257, { "vocab.json": vocabulary }))?.kind).toBe("gpt2");
    for (const files of [
      { "vocab.json": { ...vocabulary, Hello: 995, Ġworld: 15496 } },
      { "vocab.json": vocabulary, "added_tokens.json": { "<pad>": 50257 } },
    ]) {
      await expect(load("gpt2", 50258, files)).rejects.toMatchObject({ code: "tokenizer/unsupported" });
    }
  });

  it("gives the known ids", () => {
    expect(tokenizer.encode("Hello world")).toEqual([15496, 995]);
    for (const { text, ids } of rows) expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
  });

  it("handles BOS and the special token anywhere in the text", () => {
    expect(tokenizer.encode("", { addBos: true })).toEqual([END]);
    expect(tokenizer.encode("Hello", { addBos: true })).toEqual([END, 15496]);
    expect(tokenizer.encode("<|endoftext|>Hello", { addBos: true })).toEqual([END, 15496]);
    expect(tokenizer.encode("Hello<|endoftext|><|endoftext|> world")).toEqual([15496, END, END, 995]);
    expect(tokenizer.decode([15496, END, 995])).toBe("Hello<|endoftext|> world");
    expect(tokenizer.decode([15496, END, 995], { skipSpecial: true })).toBe("Hello world");
  });

  it("decodes what it encoded, at once and streamed", () => {
    for (const { text, ids } of rows) {
      expect(tokenizer.decode(ids)).toBe(text);
      const stream = tokenizer.stream();
      const pieces = ids.map((id) => stream.push(id));
      expect(pieces.join("")).toBe(text);
      expect(stream.end()).toBe("");
    }
  });

  it("holds back an unfinished character, and keeps none of it for the next call", () => {
    const [first, ...rest] = tokenizer.encode("😀");
    if (first === undefined) throw new Error("no ids");
    expect(tokenizer.decode([first])).toBe("\uFFFD");
    expect(tokenizer.decode([15496])).toBe("Hello");
    const stream = tokenizer.stream();
    expect(stream.push(first)).toBe("");
    expect(rest.map((id) => stream.push(id)).join("")).toBe("😀");
    expect(stream.push(first)).toBe("");
    expect(stream.end()).toBe("\uFFFD");
    expect(stream.push(995)).toBe(" world");
  });

  it("shows single tokens and refuses ids out of range", async () => {
    expect([995, 198, END].map((id) => tokenizer.tokenText(id))).toEqual([" world", "\n", "<|endoftext|>"]);
    const [first] = tokenizer.encode("😀");
    expect(tokenizer.tokenText(first ?? 0)).toBe("<0xF0><0x9F><0x98>");
    expect(() => tokenizer.decode([50257])).toThrow(InputError);
    const padded = await load("gptj", 50400);
    expect(padded?.decode([50300, 995])).toBe(" world");
    expect(padded?.tokenText(50300)).toBe("<id 50300>");
  });

  it("gives every id a text that decode agrees with", () => {
    for (let id = 0; id < 50257; id += 7) {
      const text = tokenizer.decode([id]);
      if (!text.includes("\uFFFD")) expect(tokenizer.tokenText(id)).toBe(text);
    }
  });
});
