/**
 * 300 tokenizers drawn at random from every kind of part, and what Rust's `tokenizers` 0.23.2 gives for each: ids, the text
 * of those ids, and the text of ids drawn at random. Made by test/fixtures/tokenizers/differential.mjs.
 */
import { readFileSync } from "node:fs";
import { brotliDecompressSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { loadTokenizer, type Tokenizer } from "../../src/tokenizer/index.ts";
import { memorySource } from "./fixtures.ts";

/** Which text, its ids, how many of them the post-processor added, its text without special tokens; or an error. */
type Encoded = [text: number] | [text: number, ids: number[], added: number, skipped: string];

interface Case {
  json: { normalizer: unknown; pre_tokenizer: unknown; decoder: unknown; model: { type: string } };
  encoded: Encoded[];
  decoded: [ids: number[], text: string, skipped: string][];
}

const file = new URL("../fixtures/tokenizers/differential.json.br", import.meta.url);
const { texts, cases }: { texts: string[]; cases: Case[] } = JSON.parse(
  brotliDecompressSync(readFileSync(file)).toString(),
);

const skipSpecial = true;

async function load(json: unknown): Promise<Tokenizer> {
  const tokenizer = await loadTokenizer(memorySource({ "tokenizer.json": json }), { modelType: "any", vocabSize: 1 });
  if (!tokenizer) throw new Error("no tokenizer");
  return tokenizer;
}

/** We never double a BOS: see EncodeOptions. */
function withoutDoubledBos(tokenizer: Tokenizer, ids: number[], added: number): number[] {
  const { bosId, addsBos } = tokenizer;
  return added > 0 && addsBos && ids[0] === bosId && ids[1] === bosId ? ids.slice(1) : ids;
}

function checkText(tokenizer: Tokenizer, [index, ids, added, skipped]: Encoded): void {
  const text = texts[index] as string;
  const name = JSON.stringify(text);
  if (ids === undefined) {
    expect(() => tokenizer.encode(text), name).toThrow(/no token for/);
    return;
  }
  expect(tokenizer.encode(text), name).toEqual(withoutDoubledBos(tokenizer, ids, added as number));
  expect(tokenizer.decode(ids, { skipSpecial }), name).toBe(skipped);
}

describe("tokenizers drawn at random", () => {
  it("are of every kind", () => {
    expect(cases).toHaveLength(300);
    const kinds = new Set(JSON.stringify(cases.map(({ json }) => json)).match(/"type":"\w+"/g));
    expect(kinds.size).toBe(33);
  });

  const named = cases.map(({ json, ...rest }, number) => {
    const { normalizer, pre_tokenizer, decoder } = json;
    const parts = JSON.stringify({ normalizer, pre_tokenizer, decoder });
    return { name: `${number}: ${json.model.type} ${parts}`, json, ...rest };
  });
  it.each(named)("$name", async ({ json, encoded, decoded }) => {
    const tokenizer = await load(json);
    for (const row of encoded) checkText(tokenizer, row);
    for (const [ids, text, skipped] of decoded) {
      expect(tokenizer.decode(ids), ids.join(" ")).toBe(text);
      expect(tokenizer.decode(ids, { skipSpecial }), ids.join(" ")).toBe(skipped);
    }
  });

  it("stream what decode gives", async () => {
    // Drawn tokens have the suffix of a BPEDecoder anywhere, not just at their end, and some decoders decode bytes twice.
    const isSound = (decoder: string) => !decoder.includes("BPEDecoder") && decoder.split('"ByteLevel"').length < 3;
    for (const { json, decoded } of cases.filter((one) => isSound(JSON.stringify(one.json.decoder)))) {
      const tokenizer = await load(json);
      for (const [ids, text] of decoded) {
        const stream = tokenizer.stream();
        expect(ids.map((id) => stream.push(id)).join("") + stream.end()).toBe(text);
      }
    }
  });
});
