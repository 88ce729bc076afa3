/**
 * Tokenizers of GGUF: the files that are made of the metadata give the ids of the `tokenizer.json` from which the metadata was
 * made. What cannot be followed is refused by name, and the files beside the model then count.
 */
import { describe, expect, it } from "vitest";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.ts";
import { FilesSource } from "../../../src/checkpoint/index.ts";
import { loadTokenizer, type Tokenizer } from "../../../src/tokenizer/index.ts";
import { type Pairs, writeGguf } from "../../support/gguf.ts";
import { type Expected, memorySource, readFixture } from "../../tokenizer/fixtures.ts";
import { mergeText, type TokenizerJson, vocabularyOf } from "./vocabulary.ts";

/** A tokenizer of metadata, with files beside the model. */
async function tokenizerOf(pairs: Pairs, beside: Record<string, unknown> = {}): Promise<Tokenizer | undefined> {
  const files = Object.entries(beside).map(([name, json]) => [name, JSON.stringify(json)] as const);
  const texts = files.map(([name, text]) => [name, new TextEncoder().encode(text)] as const);
  const checkpoint = await openCheckpoint(FilesSource.of([["model.gguf", writeGguf(pairs)], ...texts], "here"));
  const source = {
    json: (file: string) => checkpoint.readJson(file),
    text: (file: string) => checkpoint.readText(file),
  };
  return loadTokenizer(
    { ...source, json: async (file) => (file === "config.json" ? {} : source.json(file)) },
    { modelType: "llama", vocabSize: 400 },
  );
}

describe('model "gpt2"', () => {
  const byteLevel = async (more: Pairs = {}): Promise<Pairs> => {
    const { json, pairs } = await vocabularyOf("byte-level");
    const merges = json.model.merges.map(mergeText);
    return { ...pairs, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": merges, ...more };
  };

  it("gives the ids of tokenizer.json", async () => {
    const tokenizer = await tokenizerOf(await byteLevel({ "tokenizer.ggml.pre": "gpt-2" }));
    const expected = await readFixture<Expected[]>("byte-level/expected.json");
    expect(expected.length).toBeGreaterThan(5);
    for (const { text, ids, decoded } of expected) {
      expect(tokenizer?.encode(text), text).toEqual(ids);
      expect(tokenizer?.decode(ids)).toBe(decoded);
    }
  });

  it.each([
    ["qwen2", "12345 a", ["1", "2", "3", "4", "5"]],
    ["smollm", "12345 a", ["1", "2", "3", "4", "5"]],
  ])("cuts digits as %s says", async (pre, text, digits) => {
    const tokenizer = await tokenizerOf(await byteLevel({ "tokenizer.ggml.pre": pre }));
    const shown = tokenizer?.encode(text).map((id) => tokenizer.tokenText(id));
    expect(shown?.slice(0, digits.length)).toEqual(digits);
  });

  it.each([
    ["llama-bpe", "\\p{N}{1,3}", true, null],
    ["dbrx", "\\p{N}{1,3}", false, null],
    ["qwen2", "|\\p{N}|", false, { type: "NFC" }],
    ["gpt-4o", "[\\r\\n/]*", false, null],
  ])("has the pattern of %s", async (pre, part, ignoresMerges, normalizer) => {
    const checkpoint = await openCheckpoint(
      FilesSource.of([["x.gguf", writeGguf(await byteLevel({ "tokenizer.ggml.pre": pre }))]], "here"),
    );
    const json = (await checkpoint.readJson("tokenizer.json")) as Record<string, unknown>;
    const { pretokenizers } = json.pre_tokenizer as { pretokenizers: { pattern?: { Regex: string } }[] };
    expect(pretokenizers[0]?.pattern?.Regex).toContain(part);
    expect(json).toMatchObject({ normalizer, model: { ignore_merges: ignoresMerges } });
  });

  it("cuts words where gpt-4o does: before capitals, behind contractions, at three digits", async () => {
    const tokenizer = await tokenizerOf(await byteLevel({ "tokenizer.ggml.pre": "gpt-4o" }));
    // No token of the vocabulary reaches over a cut, so that each piece of the text is encoded as it is alone.
    for (const [text, words] of [
      ["lightLight", ["light", "Light"]],
      ["1234 a", ["123", "4", " a"]],
      ["it's light", ["it's", " light"]],
      ["a//\n/b", ["a", "//\n/", "b"]],
    ] as const)
      expect(tokenizer?.encode(text), text).toEqual(words.flatMap((word) => tokenizer?.encode(word)));
  });

  it("adds BOS where the file says, and for Llama 3 where it does not", async () => {
    const ids = { "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1 };
    const encode = async (more: Pairs) => (await tokenizerOf(await byteLevel({ ...ids, ...more })))?.encode(" light");
    expect(await encode({ "tokenizer.ggml.pre": "gpt-2" })).toEqual([271]);
    expect(await encode({ "tokenizer.ggml.pre": "llama-bpe" })).toEqual([0, 271]);
    expect(await encode({ "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.add_bos_token": false })).toEqual([271]);
    const both = { "tokenizer.ggml.add_bos_token": true, "tokenizer.ggml.add_eos_token": true };
    expect(await encode({ "tokenizer.ggml.pre": "gpt-2", ...both })).toEqual([0, 271, 1]);
  });

  it("ends a text at EOS, at the end of a turn and of a message", async () => {
    const ends = { eos: 1, eot: 2, eom: 1 };
    const ids = Object.entries(ends).map(([name, id]) => [`tokenizer.ggml.${name}_token_id`, id]);
    const tokenizer = await tokenizerOf(await byteLevel({ "tokenizer.ggml.pre": "gpt-2", ...Object.fromEntries(ids) }));
    expect(tokenizer?.eosIds).toEqual([1, 2]);
  });

  it("has the chat template, and those with names", async () => {
    const template = "{{ bos_token }}{% for m in messages %}[{{ m.content }}]{% endfor %}";
    const more = {
      "tokenizer.ggml.pre": "gpt-2",
      "tokenizer.ggml.bos_token_id": 0,
      "tokenizer.chat_template": template,
    };
    const messages = [{ role: "user", content: "Hi" }];
    expect(await (await tokenizerOf(await byteLevel(more)))?.applyChatTemplate(messages)).toBe("<|end|>[Hi]");
    const named = { ...more, "tokenizer.chat_template.tool_use": "tools" };
    expect(await (await tokenizerOf(await byteLevel(named)))?.applyChatTemplate(messages)).toBe("<|end|>[Hi]");
  });

  it.each([
    [{}, "a file without tokenizer.ggml.pre"],
    [{ "tokenizer.ggml.pre": "tekken-9" }, "tokenizer.ggml.pre tekken-9 (read: gpt-2, "],
    [{ "tokenizer.ggml.model": "bert" }, 'tokenizer.ggml.model "bert" (read: gpt2, llama)'],
  ])("is refused by name: %o", async (more, name) => {
    await expect(byteLevel(more).then((pairs) => tokenizerOf(pairs))).rejects.toMatchObject({
      code: "tokenizer/unsupported",
      message: expect.stringContaining(name),
    });
  });

  it("then takes the tokenizer.json that lies beside the model", async () => {
    const json = await readFixture("byte-level/tokenizer.json");
    const tokenizer = await tokenizerOf(await byteLevel(), { "tokenizer.json": json });
    expect(tokenizer?.encode(" light")).toEqual([271]);
  });

  it("is refused where it is damaged", async () => {
    const broken = (more: Pairs) =>
      expect(byteLevel({ "tokenizer.ggml.pre": "gpt-2", ...more }).then((p) => tokenizerOf(p))).rejects;
    await broken({ "tokenizer.ggml.token_type": [1, 1] }).toMatchObject({ code: "tokenizer/broken" });
    await broken({ "tokenizer.ggml.tokens": [1, 2] }).toMatchObject({ code: "tokenizer/broken" });
    await broken({ "tokenizer.ggml.merges": "a b" }).toMatchObject({ code: "tokenizer/broken" });
  });
});

describe('model "llama"', () => {
  /** A piece's score falls with the rank of the merge that makes it, as SentencePiece trains it. */
  async function sentencePiece(more: Pairs = {}): Promise<Pairs> {
    const { json, pairs } = await vocabularyOf("byte-fallback");
    const rank = new Map(json.model.merges.map((merge, i) => [mergeText(merge).replace(" ", ""), i + 1]));
    const tokens = pairs["tokenizer.ggml.tokens"] as string[];
    const scores = tokens.map((text) => -(rank.get(text) ?? 0) - 0.5);
    return {
      ...pairs,
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.scores": { type: 9, value: scores },
      "tokenizer.ggml.bos_token_id": 1,
      "tokenizer.ggml.eos_token_id": 2,
      ...more,
    };
  }

  /** The fixture's own merges, with a space before every text, which is what SentencePiece does. */
  async function oracle(normalizers: unknown[]): Promise<Tokenizer | undefined> {
    const json = await readFixture<TokenizerJson>("byte-fallback/tokenizer.json");
    const changed = { ...json, normalizer: { type: "Sequence", normalizers }, pre_tokenizer: null };
    return loadTokenizer(memorySource({ "tokenizer.json": changed }), { modelType: "llama", vocabSize: 400 });
  }
  const SPACE = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const TEXTS = ["light", " light", "  light", "A lens gathers light.", "Zoë 漢 🙂\n", "<s>light</s> a", ""];

  it("gives the ids of the merges that its scores say", async () => {
    const [tokenizer, wanted] = [
      await tokenizerOf(await sentencePiece()),
      await oracle([{ type: "Prepend", prepend: "▁" }, SPACE]),
    ];
    for (const text of TEXTS) {
      const ids = tokenizer?.encode(text) ?? [];
      expect(ids, text).toEqual(wanted?.encode(text));
      expect(tokenizer?.decode(ids), text).toBe(wanted?.decode(ids));
    }
    expect(tokenizer?.encode("light")).toEqual([1, 328]);
  });

  it("puts no space before a text where the file says so", async () => {
    const tokenizer = await tokenizerOf(await sentencePiece({ "tokenizer.ggml.add_space_prefix": false }));
    const wanted = await oracle([SPACE]);
    for (const text of TEXTS) expect(tokenizer?.encode(text), text).toEqual(wanted?.encode(text));
    expect(tokenizer?.decode(tokenizer.encode(" light"), { skipSpecial: true })).toBe(" light");
  });

  it("is refused where it drops white space", async () => {
    const pairs = await sentencePiece({ "tokenizer.ggml.remove_extra_whitespaces": true });
    await expect(tokenizerOf(pairs)).rejects.toMatchObject({ code: "tokenizer/unsupported" });
  });
});

it("a model without a vocabulary takes ids only", async () => {
  expect(await tokenizerOf({ "general.architecture": "llama", "tokenizer.ggml.model": "no_vocab" })).toBeUndefined();
  expect(await tokenizerOf({ "general.architecture": "llama" })).toBeUndefined();
});
