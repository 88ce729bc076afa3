/** `tokenizer.json` through our interface gives what Hugging Face gives for the same file. */
import { beforeAll, describe, expect, it } from "vitest";
import { InputError } from "../../src/errors.ts";
import { loadTokenizer, type Tokenizer } from "../../src/tokenizer/index.ts";
import type { JsonObject } from "../../src/tokenizer/parts.ts";
import { digits, type Expected, fixtureSource, framed, memorySource, readFixture } from "./fixtures.ts";

const context = { modelType: "llama", vocabSize: 512 };

async function load(name: string, overrides?: Record<string, unknown>): Promise<Tokenizer> {
  const tokenizer = await loadTokenizer(fixtureSource(name, overrides), context);
  if (!tokenizer) throw new Error(`no tokenizer in ${name}`);
  return tokenizer;
}

function streamed(tokenizer: Tokenizer, ids: number[], skipSpecial: boolean): string {
  const stream = tokenizer.stream({ skipSpecial });
  return ids.map((id) => stream.push(id)).join("") + stream.end();
}

const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };

/** An entry of `added_tokens`. */
function listed(id: number, content: string, special: boolean) {
  return { id, content, special, normalized: true, single_word: false, lstrip: false, rstrip: false };
}

/** As SentencePiece has it: the normalizer puts a space before the text, which is a token of its own or part of `" dog"`. */
function spacedFirst() {
  const tokens = ["<unk>", "<s>", "▁", "c", "a", "t", "d", "o", "g", "ca", "cat", "dog", "▁dog", "do"];
  const spaces = (from: string, to: string) => ({ type: "Replace", pattern: { String: from }, content: to });
  return {
    added_tokens: [listed(0, "<unk>", true), listed(1, "<s>", true)],
    normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "▁" }, spaces(" ", "▁")] },
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [],
      special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
    },
    decoder: {
      type: "Sequence",
      decoders: [
        spaces("▁", " "),
        { type: "ByteFallback" },
        { type: "Fuse" },
        { type: "Strip", content: " ", start: 1, stop: 0 },
      ],
    },
    model: {
      type: "BPE",
      unk_token: "<unk>",
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [
        ["c", "a"],
        ["ca", "t"],
        ["d", "o"],
        ["do", "g"],
        ["▁", "dog"],
      ],
    },
  };
}

async function loadJson(json: unknown, files: Record<string, unknown> = {}): Promise<Tokenizer> {
  const tokenizer = await loadTokenizer(memorySource({ "tokenizer.json": json, ...files }), context);
  if (!tokenizer) throw new Error("no tokenizer");
  return tokenizer;
}

const fixtures = [
  { name: "byte-level", vocabSize: 340, bosId: 0, addsBos: false, eosIds: [0, 5] },
  { name: "byte-fallback", vocabSize: 400, bosId: 1, addsBos: true, eosIds: [2] },
];

describe.each(fixtures)("$name", ({ name, ...facts }) => {
  let tokenizer: Tokenizer;
  let rows: Expected[];
  beforeAll(async () => {
    tokenizer = await load(name);
    rows = await readFixture(`${name}/expected.json`);
  });

  it("knows its vocabulary and special tokens", () => {
    expect(tokenizer).toMatchObject({ kind: "huggingface", ...facts });
  });

  it("encodes as Hugging Face does, but for a doubled BOS", () => {
    for (const { text, ids } of rows) {
      const doubled = ids[0] === facts.bosId && ids[1] === facts.bosId;
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(doubled ? ids.slice(1) : ids);
    }
  });

  it("adds BOS or leaves it out on request, and never doubles it", () => {
    for (const { text, withoutSpecial } of rows) {
      expect(tokenizer.encode(text, { addBos: false }), JSON.stringify(text)).toEqual(withoutSpecial);
      const startsWithBos = withoutSpecial[0] === facts.bosId;
      const expected = startsWithBos ? withoutSpecial : [facts.bosId, ...withoutSpecial];
      expect(tokenizer.encode(text, { addBos: true }), JSON.stringify(text)).toEqual(expected);
    }
  });

  it("decodes as Hugging Face does", () => {
    for (const { ids, decoded, decodedSkipSpecial } of rows) {
      expect(tokenizer.decode(ids)).toBe(decoded);
      expect(tokenizer.decode(ids, { skipSpecial: true })).toBe(decodedSkipSpecial);
    }
  });

  it("streams the text that decode gives, in whole characters", () => {
    for (const { ids } of rows) {
      for (const skipSpecial of [false, true]) {
        expect(streamed(tokenizer, ids, skipSpecial)).toBe(tokenizer.decode(ids, { skipSpecial }));
      }
      const stream = tokenizer.stream();
      for (const id of ids) expect(stream.push(id)).not.toContain("\uFFFD");
    }
  });

  it("streams what decode gives for any ids", () => {
    let state = 12345;
    const random = (below: number) => {
      state = (state * 1103515245 + 12345) % 2147483648;
      return Math.floor((state / 2147483648) * below);
    };
    for (let round = 0; round < 200; round++) {
      const ids = Array.from({ length: 1 + random(24) }, () => random(context.vocabSize));
      for (const skipSpecial of [false, true]) {
        expect(streamed(tokenizer, ids, skipSpecial), ids.join(" ")).toBe(tokenizer.decode(ids, { skipSpecial }));
      }
    }
  });

  it("refuses ids outside both vocabularies, and shows padded ones", () => {
    for (const id of [-1, 1.5, context.vocabSize, Number.NaN]) {
      expect(() => tokenizer.decode([id])).toThrow(InputError);
      expect(() => tokenizer.tokenText(id)).toThrow(/from 0 to 511/);
      expect(() => tokenizer.stream().push(id)).toThrow(InputError);
    }
    expect(tokenizer.decode([facts.vocabSize, 511])).toBe("");
    expect(tokenizer.tokenText(511)).toBe("<id 511>");
    expect(tokenizer.decode([])).toBe("");
  });
});

describe("tokenText", () => {
  it("shows leading spaces, special tokens and unfinished characters", async () => {
    const texts = (tokenizer: Tokenizer, text: string) => tokenizer.encode(text).map((id) => tokenizer.tokenText(id));
    const byteLevel = await load("byte-level");
    expect(texts(byteLevel, "a lens\n日")).toEqual(["a", " lens", "\n", "<0xE6>", "<0x97>", "<0xA5>"]);
    expect(texts(byteLevel, "<|end|>")).toEqual(["<|end|>"]);
    const byteFallback = await load("byte-fallback");
    expect(texts(byteFallback, "a lens\n日")).toEqual(["<s>", " a", " lens", "\n", "<0xE6>", "<0x97>", "<0xA5>"]);
  });

  it("shows added tokens as they are listed, where the decoder gives them a space", async () => {
    const tokenizer = await loadJson(spacedFirst());
    const ids = tokenizer.encode("cat");
    expect(ids.map((id) => tokenizer.tokenText(id))).toEqual(["<s>", " ", "cat"]);
    expect(tokenizer.decode([10, 1])).toBe("cat <s>");
    const plain = { ...spacedFirst(), added_tokens: [listed(1, "<s>", false)] };
    expect((await loadJson(plain)).tokenText(1)).toBe("<s>");
    const latin = await loadJson({ ...digits(), decoder: BYTE_LEVEL, added_tokens: [listed(6, "<é>", false)] });
    expect(latin.tokenText(6)).toBe("<é>");
  });
});

describe("where BOS and EOS come from", () => {
  it("follows the post_processor, whatever add_bos_token says", async () => {
    const config = { bos_token: "<|end|>", add_bos_token: true };
    const byteLevel = await load("byte-level", { "tokenizer_config.json": config });
    expect(byteLevel).toMatchObject({ bosId: 0, addsBos: false });
    expect(byteLevel.encode("light")).toEqual(byteLevel.encode("light", { addBos: false }));
    const off = { bos_token: "<s>", add_bos_token: false };
    expect((await load("byte-fallback", { "tokenizer_config.json": off })).encode("light")[0]).toBe(1);
  });

  it("tells EOS behind the text from BOS in front of it, in a vocabulary of digits", async () => {
    const tokenizer = await loadJson(digits(framed([], ["<e>"])));
    expect(tokenizer).toMatchObject({ addsBos: false });
    expect(tokenizer.bosId).toBeUndefined();
    expect(tokenizer.encode("12")).toEqual([0, 1, 5]);
    expect(tokenizer.encode("1+2=")).toEqual([0, 3, 1, 4, 5]);
    const both = await loadJson(digits(framed(["<e>"], ["<e>"])));
    expect(both).toMatchObject({ bosId: 5, addsBos: true });
    expect(both.encode("")).toEqual([5, 5]);
    expect(both.encode("12", { addBos: false })).toEqual([0, 1, 5]);
  });

  it("takes what the template puts in front for BOS, also where bos_token names another", async () => {
    const contrary = await load("byte-fallback", { "tokenizer_config.json": { bos_token: "</s>", eos_token: "</s>" } });
    expect(contrary).toMatchObject({ bosId: 1, addsBos: true });
    const plain = (await load("byte-fallback")).encode("light", { addBos: false });
    expect(contrary.encode("light")).toEqual([1, ...plain]);
    expect(contrary.encode("light", { addBos: true })).toEqual([1, ...plain]);
    expect(contrary.encode("light", { addBos: false })).toEqual(plain);
  });

  it("puts several tokens in front, or none of them", async () => {
    const names = { "tokenizer_config.json": { bos_token: "=", eos_token: "<e>" } };
    const tokenizer = await loadJson(digits(framed(["<e>", "="], ["<e>"])), names);
    expect(tokenizer).toMatchObject({ bosId: 4, addsBos: true });
    expect(tokenizer.encode("12")).toEqual([5, 4, 0, 1, 5]);
    expect(tokenizer.encode("12", { addBos: true })).toEqual([5, 4, 0, 1, 5]);
    expect(tokenizer.encode("12", { addBos: false })).toEqual([0, 1, 5]);
    expect(tokenizer.encode("<e>=12")).toEqual([5, 4, 0, 1, 5]);
    expect(tokenizer.encode("<e>12")).toEqual([5, 4, 5, 0, 1, 5]);
    expect((await loadJson(digits(framed(["<e>", "="], [])))).bosId).toBe(5);
  });

  it("refuses addBos: true without a BOS token", async () => {
    const tokenizer = await load("byte-level", { "tokenizer_config.json": undefined });
    expect(tokenizer.bosId).toBeUndefined();
    expect(() => tokenizer.encode("light", { addBos: true })).toThrow(InputError);
    expect(tokenizer.encode("light", { addBos: false })).toEqual(tokenizer.encode("light"));
  });

  it("finds BOS in special_tokens_map.json, or in the template alone", async () => {
    const special = { bos_token: { content: "<s>" }, eos_token: "</s>" };
    const named = await load("byte-fallback", {
      "tokenizer_config.json": undefined,
      "special_tokens_map.json": special,
    });
    expect(named).toMatchObject({ bosId: 1, eosIds: [2] });
    const unnamed = await load("byte-fallback", { "tokenizer_config.json": undefined });
    expect(unnamed).toMatchObject({ bosId: 1, addsBos: true, eosIds: [] });
  });

  it("takes EOS from generation_config.json, then config.json", async () => {
    const config = { "config.json": { eos_token_id: 7 } };
    expect((await load("byte-level", config)).eosIds).toEqual([0, 5]);
    expect((await load("byte-level", { ...config, "generation_config.json": {} })).eosIds).toEqual([7]);
    const ofText = { "config.json": { text_config: { eos_token_id: [7, 8] } }, "generation_config.json": {} };
    expect((await load("byte-level", ofText)).eosIds).toEqual([7, 8]);
  });

  it.each([
    ["2", [7], '"2"'],
    [[2, "3"], [2], '"3"'],
    [-1, [7], "-1"],
    [[2, 2.5, 2], [2], "2.5"],
    [Number.NaN, [7], "NaN"],
    [{ id: 2 }, [7], '{"id":2}'],
  ])("says that it ignores an eos_token_id %j", async (eos_token_id, eosIds, found) => {
    const files = { "generation_config.json": { eos_token_id }, "config.json": { eos_token_id: 7 } };
    const notices: string[] = [];
    const onNotice = (notice: string) => notices.push(notice);
    const tokenizer = await loadTokenizer(fixtureSource("byte-level", files), { ...context, onNotice });
    expect(tokenizer?.eosIds).toEqual(eosIds);
    expect(notices).toEqual([
      `generation_config.json: eos_token_id ${found} is ignored; a token id is a whole number of at least 0.`,
    ]);
  });

  it("takes an EOS of null for none, and an id beyond the vocabulary as it is", async () => {
    const files = { "generation_config.json": { eos_token_id: null }, "config.json": { eos_token_id: 1e9 } };
    const onNotice = (notice: string) => expect.unreachable(notice);
    const tokenizer = await loadTokenizer(fixtureSource("byte-level", files), { ...context, onNotice });
    expect(tokenizer?.eosIds).toEqual([1e9]);
  });

  it("makes tokens of tokenizer_config.json special when tokenizer.json does not list them", async () => {
    const json = await readFixture<JsonObject>("byte-fallback/tokenizer.json");
    const config = { eos_token: "</s>", added_tokens_decoder: { 400: { content: "<new>", special: true } } };
    const tokenizer = await load("byte-fallback", {
      "tokenizer.json": { ...json, added_tokens: [] },
      "tokenizer_config.json": config,
    });
    expect(tokenizer.encode("light<new></s>").slice(-2)).toEqual([400, 2]);
    expect(tokenizer.decode([400, 2], { skipSpecial: true })).toBe("");
    expect(tokenizer.vocabSize).toBe(401);
  });
});

describe("special tokens that tokenizer_config.json names", () => {
  const vocab = { h: 0, i: 1, "<": 2, t: 3, ">": 4, "<t>": 5, "<u>": 6 };
  const json = { model: { type: "BPE", vocab, merges: [] }, decoder: { type: "Fuse" } };
  const layouts: [string, JsonObject][] = [
    ["additional_special_tokens", { additional_special_tokens: ["<t>", "<u>"] }],
    ["extra_special_tokens, a list", { extra_special_tokens: ["<t>", "<u>"] }],
    ["extra_special_tokens, by name", { extra_special_tokens: { tool: "<t>", user: { content: "<u>" } } }],
    ["sep_token and cls_token", { sep_token: "<t>", cls_token: { content: "<u>" } }],
    ["mask_token and pad_token", { mask_token: "<t>", pad_token: "<u>" }],
  ];
  it.each(layouts)("%s", async (_, config) => {
    const tokenizer = await loadJson(json, { "tokenizer_config.json": config });
    expect(tokenizer.encode("hi<t>h<u>")).toEqual([0, 1, 5, 0, 6]);
    expect(tokenizer.decode([0, 5, 1, 6], { skipSpecial: true })).toBe("hi");
  });

  it("take their settings along", async () => {
    const config = { eos_token: { content: "<t>", lstrip: true, rstrip: false, normalized: false } };
    const tokenizer = await loadJson(
      { ...json, model: { ...json.model, vocab: { ...vocab, " ": 7 } } },
      { "tokenizer_config.json": config },
    );
    expect(tokenizer.encode("h  <t> i")).toEqual([0, 5, 7, 1]);
  });

  it("do not come into being by a name alone, and keep the id that a file gives them", async () => {
    const named = await loadJson(json, { "tokenizer_config.json": { pad_token: "<p>" } });
    expect(named.vocabSize).toBe(7);
    const config = { added_tokens_decoder: { 9: { content: "<p>", special: true } } };
    await expect(loadJson(json, { "tokenizer_config.json": config })).rejects.toMatchObject({
      code: "tokenizer/unsupported",
    });
  });
});

describe("where transformers' AutoTokenizer differs from the Rust library", () => {
  it("we keep the space before an added token in the midst of a text, and one BOS", async () => {
    const tokenizer = await load("byte-fallback");
    expect(tokenizer.decode(tokenizer.encode("light </s> lens"))).toBe("<s> light </s> lens");
    expect(tokenizer.encode("<s>light").filter((id) => id === 1)).toHaveLength(1);
  });
});

describe("singleToken", () => {
  it("gives the id of a text that is one token, without BOS", async () => {
    expect((await load("byte-level")).singleToken(" lens")).toBe((await load("byte-level")).encode(" lens")[0]);
    const tokenizer = await loadJson(digits(framed(["<e>"], ["<e>"])));
    expect(tokenizer.singleToken("2")).toBe(1);
    for (const [text, pieces] of [
      ["12", /is 2 tokens: "1", "2"/],
      ["", /is no tokens/],
    ] as const) {
      expect(() => tokenizer.singleToken(text)).toThrow(pieces);
      expect(() => tokenizer.singleToken(text)).toThrow(expect.objectContaining({ code: "tokenizer/not-one-token" }));
    }
  });

  it("does not count the space that the normalizer puts before a text", async () => {
    const tokenizer = await loadJson(spacedFirst());
    expect(tokenizer.tokenText(tokenizer.singleToken("cat"))).toBe("cat");
    expect(tokenizer.tokenText(tokenizer.singleToken(" dog"))).toBe(" dog");
    expect(tokenizer.singleToken("<s>")).toBe(1);
    expect(tokenizer.singleToken(" ")).toBe(2);
  });

  it.each([
    ["dog", /"dog" is read as the token " dog", which is another text\. Give the token id 12 /],
    [" cat", /" cat" is 3 tokens: " ", " ", "cat"/],
    ["z", /"z" is 2 tokens: " ", "<unk>"/],
  ])("refuses %j, which is a token of another text", async (text, message) => {
    const tokenizer = await loadJson(spacedFirst());
    expect(() => tokenizer.singleToken(text)).toThrow(message);
  });

  it("takes words as they are where the decoder puts the spaces, and not the token of unknown text", async () => {
    const model = { type: "WordLevel", vocab: { cat: 0, "[UNK]": 1 }, unk_token: "[UNK]" };
    const words = { model, pre_tokenizer: { type: "Whitespace" }, normalizer: { type: "Lowercase" } };
    for (const decoder of [null, { type: "WordPiece", prefix: "##", cleanup: false }]) {
      const tokenizer = await loadJson({ ...words, decoder });
      for (const text of ["cat", " cat", "Cat"]) expect(tokenizer.singleToken(text)).toBe(0);
      expect(() => tokenizer.singleToken("bird")).toThrow(/"bird" is read as the token "? ?\[UNK\]/);
    }
  });
});

describe("text without a token", () => {
  // The Rust library gave these. AutoTokenizer of transformers 5 drops unk_token from Llama's tokenizers, and so the text.
  it.each([
    { fuse_unk: true, unk_token: "<unk>", ids: { "cat+@dog": [2, 10, 0, 11], "ca+t": [2, 9, 0, 5] } },
    { fuse_unk: false, unk_token: "<unk>", ids: { "cat+@dog": [2, 10, 0, 0, 11], "ca+t": [2, 9, 0, 5] } },
    { fuse_unk: true, unk_token: null, ids: { "cat+@dog": [2, 10, 11], "ca+t": [2, 10] } },
    { fuse_unk: false, unk_token: null, ids: { "cat+@dog": [2, 10, 11], "ca+t": [2, 10] } },
  ])(
    "spells a character that has no bytes as unk_token $unk_token and fuse_unk $fuse_unk say",
    async ({ ids, ...given }) => {
      const json = spacedFirst();
      const tokenizer = await loadJson({ ...json, model: { ...json.model, ...given } });
      for (const [text, expected] of Object.entries(ids))
        expect(tokenizer.encode(text, { addBos: false }), text).toEqual(expected);
    },
  );

  it("is refused when there is no token for unknown text, as by the Rust library", async () => {
    const model = { type: "WordLevel", vocab: { a: 0 }, unk_token: "[UNK]" };
    const tokenizer = await loadJson({ model, pre_tokenizer: { type: "Whitespace" } });
    expect(() => tokenizer.encode("a zzz")).toThrow(expect.objectContaining({ code: "tokenizer/unknown-text" }));
    const known = await loadJson({
      model: { ...model, vocab: { a: 0, "[UNK]": 2 } },
      pre_tokenizer: { type: "Whitespace" },
    });
    expect(known.encode("a zzz a")).toEqual([0, 2, 0]);
  });
});
