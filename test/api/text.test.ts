/** Text and token ids by TransformerLens's names, on GPT-2's own vocabulary; and what the old names say. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { HookedModel } from "../../src/hooks/index.ts";
import { loadGpt2Tokenizer } from "../../src/tokenizer/gpt2.ts";
import { hooked } from "../hooks/support.ts";
import { testGpu } from "../support/gpu.ts";

const HELLO = [15496, 995]; // "Hello", " world" in GPT-2's vocabulary
const EOS = 50256;

let model: HookedModel;
beforeAll(async () => {
  model = await hooked("gpt2", { gpu: await testGpu() });
  const tokenizer = await loadGpt2Tokenizer(50257, {}, undefined);
  for (const each of [model, model.base]) Object.assign(each, { tokenizer });
});
afterAll(() => model.destroy());

describe("toTokens", () => {
  it("gives one list for a text, a list of lists for several", () => {
    expect(model.toTokens("Hello world")).toEqual(HELLO);
    expect(model.toTokens(["Hello", " world"])).toEqual([[15496], [995]]);
  });

  it("puts BOS in front when asked", () => {
    expect(model.toTokens("Hello", { addBos: true })).toEqual([EOS, 15496]);
    expect(model.toTokens(["Hello", " world"], { addBos: true })).toEqual([
      [EOS, 15496],
      [EOS, 995],
    ]);
  });

  it("takes text alone", () => {
    expect(() => model.toTokens(HELLO as never)).toThrow("toTokens: text[0] is 15496; it must be text");
    expect(() => model.toTokens("")).toThrow(expect.objectContaining({ code: "input/empty" }));
  });
});

describe("toText", () => {
  it("gives the text of ids, special tokens included, and one for each list", () => {
    expect(model.toText([EOS, ...HELLO])).toBe("<|endoftext|>Hello world");
    expect(model.toText(Uint32Array.from(HELLO))).toBe("Hello world");
    expect(model.toText([[15496], Int32Array.of(995)])).toEqual(["Hello", " world"]);
    expect(model.toText([])).toBe("");
  });

  it("gives back what toTokens took", () => {
    const text = "naïve ☃ café\n";
    expect(model.toText(model.toTokens(text))).toBe(text);
  });

  it("refuses what is no id", () => {
    for (const ids of [[60000], [-1], [1.5], [undefined]])
      expect(() => model.toText(ids as number[])).toThrow(
        expect.objectContaining({ code: "tokenizer/id-out-of-range" }),
      );
  });
});

describe("toStrTokens", () => {
  it("gives the text of each token of a text or of ids", () => {
    expect(model.toStrTokens("Hello world")).toEqual(["Hello", " world"]);
    expect(model.toStrTokens("Hello", { addBos: true })).toEqual(["<|endoftext|>", "Hello"]);
    expect(model.toStrTokens(HELLO)).toEqual(["Hello", " world"]);
    expect(model.toStrTokens(["Hello", HELLO])).toEqual([["Hello"], ["Hello", " world"]]);
  });
});

describe("an old name", () => {
  it.each([
    ["tokenize", "toTokens"],
    ["createCache", "createKvCache"],
  ])("%s says %s, on both kinds of model", (old, name) => {
    for (const owner of [model, model.base] as unknown as Record<string, () => unknown>[])
      expect(() => owner[old]?.()).toThrow(`model.${old}() is called model.${name}() since version 0.2`);
    expect(Object.keys(model)).not.toContain(old);
  });
});
