/** Tokenizers that cannot be used are refused, with the file and what is wrong with it; no id is anything but a whole number. */
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/errors.ts";
import { wholeIds } from "../../src/tokenizer/ids.ts";
import { loadTokenizer } from "../../src/tokenizer/index.ts";
import type { JsonObject } from "../../src/tokenizer/parts.ts";
import { digits, framed, memorySource } from "./fixtures.ts";

const context = { modelType: "llama", vocabSize: 512 };

describe("ids that leave a tokenizer", () => {
  it.each([[undefined], [Number.NaN], [1.5], [-1]])("are never %s", (id) => {
    expect(() => wholeIds([0, id as number], "text")).toThrow(ConfigError);
    expect(wholeIds([0, 1], "text")).toEqual([0, 1]);
  });
});

describe("bad files", () => {
  const broken: [string, unknown][] = [
    ["not an object", [1, 2]],
    ["no model", { version: "1.0" }],
    ["no vocabulary", { model: { type: "BPE", merges: [] } }],
    ["no merges", { model: { type: "BPE", vocab: { a: 0 } } }],
    ["fractional id", { model: { type: "WordLevel", vocab: { a: 0.5 }, unk_token: "a" } }],
    ["no unk_token", { model: { type: "WordLevel", vocab: { a: 0 } } }],
    ["unk_id outside", { model: { type: "Unigram", vocab: [["a", 0]], unk_id: 1 } }],
    ["merge outside", { model: { type: "BPE", vocab: { a: 0 }, merges: ["a b"] } }],
    ["no behavior", { ...digits(), pre_tokenizer: { type: "Split", pattern: { String: " " }, invert: false } }],
    ["no id in the template", digits({ ...framed(["<e>"], []), special_tokens: {} })],
  ];
  it.each(broken)("%s", async (_, json) => {
    const loading = loadTokenizer(memorySource({ "tokenizer.json": json }), context);
    await expect(loading).rejects.toThrow(ConfigError);
    await expect(loading).rejects.toThrow(/tokenizer\.json/);
  });

  const added = {
    id: 0,
    content: "1",
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: true,
    special: false,
  };
  const first = { type: "Metaspace", replacement: "_", prepend_scheme: "first" };
  const unsupported: [RegExp, JsonObject][] = [
    [/normalizer Precompiled/, { normalizer: { type: "Sequence", normalizers: [{ type: "Precompiled" }] } }],
    [/pre_tokenizer UnicodeScripts/, { pre_tokenizer: { type: "UnicodeScripts" } }],
    [/pre_tokenizer Zigzag/, { pre_tokenizer: { type: "Zigzag" } }],
    [/decoder Zigzag/, { decoder: { type: "Zigzag" } }],
    [/post_processor toString/, { post_processor: { type: "toString" } }],
    [/normalizer without a type/, { normalizer: { clean_text: true } }],
    [/model Zigzag/, { model: { type: "Zigzag" } }],
    [/dropout/, { model: { ...digits().model, dropout: 0.1 } }],
    [/version "2.0"/, { version: "2.0" }],
    [/regular expression "\(\?<a"/, { normalizer: { type: "Replace", pattern: { Regex: "(?<a" }, content: "" } }],
    [/prepend_scheme "first"/, { normalizer: { type: "NFKD" }, pre_tokenizer: first }],
    [/"1", listed twice/, { added_tokens: [added, added] }],
    [
      /leaves nothing/,
      { normalizer: { type: "Replace", pattern: { String: "1" }, content: "" }, added_tokens: [added] },
    ],
    [
      /more than one part/,
      { post_processor: { type: "Sequence", processors: [framed(["<e>"], []), framed(["<e>"], [])] } },
    ],
    [/one Sequence A/, { post_processor: { ...framed([], []), single: [] } }],
    [/one id, 0, for/, { model: { ...digits().model, vocab: { "1": 0, "2": 0 } } }],
  ];
  it.each(unsupported)("unsupported %s", async (message, part) => {
    const json = { ...digits(), ...part };
    const loading = loadTokenizer(memorySource({ "tokenizer.json": json }), context);
    await expect(loading).rejects.toMatchObject({ name: "ConfigError", code: "tokenizer/unsupported" });
    await expect(loading).rejects.toThrow(message);
  });

  it("names the file that is not JSON", async () => {
    const source = {
      json: async (name: string): Promise<unknown> => JSON.parse(name === "tokenizer.json" ? "{" : "{}"),
    };
    await expect(loadTokenizer(source, context)).rejects.toThrow(/^tokenizer\.json: not valid JSON/);
  });

  it("passes on a failure that is not the file's", async () => {
    const failure = new TypeError("network");
    await expect(loadTokenizer({ json: () => Promise.reject(failure) }, context)).rejects.toBe(failure);
  });
});
