/** A model whose tokenizer cannot be used takes token ids; text is refused with the tokenizer's own error. */
import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { FilesSource } from "../../src/checkpoint/index.ts";
import { HookedModel } from "../../src/hooks/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { testGpu } from "../support/gpu.ts";

const llama = new URL("../fixtures/families/llama/", import.meta.url);

async function withTokenizer(tokenizer?: string): Promise<FilesSource> {
  const names = ["config.json", "model.safetensors"];
  const files = await Promise.all(names.map(async (name) => new File([await readFile(new URL(name, llama))], name)));
  return new FilesSource(tokenizer === undefined ? files : [...files, new File([tokenizer], "tokenizer.json")]);
}

const model = { type: "BPE", vocab: { a: 0 }, merges: [] };
const unusable = [
  ["tokenizer/unsupported", JSON.stringify({ model, pre_tokenizer: { type: "UnicodeScripts" } }), /UnicodeScripts/],
  ["tokenizer/broken", "{", /not valid JSON/],
] as const;

it.each(unusable)("%s", async (code, tokenizer, message) => {
  const notices: string[] = [];
  const onNotice = (notice: string) => notices.push(notice);
  const parts = await loadParts(await withTokenizer(tokenizer), { gpu: await testGpu(), onNotice });
  using loaded = new Model(parts);
  expect(loaded.tokenizer).toBeUndefined();
  expect(notices).toEqual([expect.stringMatching(message)]);
  expect(notices[0]).toMatch(/takes token ids only, and generation ends at no EOS/);

  using logits = await loaded.forward([1, 2, 3]);
  expect(await logits.at(0, -1)).toHaveLength(loaded.spec.vocabSize);
  const error = expect.objectContaining({ code });
  await expect(loaded.forward("text")).rejects.toEqual(error);
  await expect(loaded.generate("text").next()).rejects.toEqual(error);
  await expect(loaded.generate([1], { stop: "." }).next()).rejects.toEqual(error);
  await expect(loaded.logProbs([1], ["text"])).rejects.toEqual(error);
  expect(() => new HookedModel(loaded).toTokens("text")).toThrow(message);
});

it("says that there is no tokenizer when there is none", async () => {
  const notices: string[] = [];
  const onNotice = (notice: string) => notices.push(notice);
  using loaded = new Model(await loadParts(await withTokenizer(), { gpu: await testGpu(), onNotice }));
  expect(notices).toEqual([]);
  await expect(loaded.forward("text")).rejects.toThrow(expect.objectContaining({ code: "input/no-tokenizer" }));
});
