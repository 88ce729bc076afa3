/** Pre-tokenizers cut as the Rust library does, for every setting in the table. */
import { describe, expect, it } from "vitest";
import { preTokenizerOf } from "../../src/tokenizer/pretokenizers.ts";
import { readFixture } from "./fixtures.ts";

interface Case {
  config: unknown;
  cuts: [string, string[]][];
}

const cases = await readFixture<Case[]>("pre-tokenizers.json");

function cut(config: unknown, text: string): string[] {
  return preTokenizerOf(config)([{ text, isFirst: true }]).map((piece) => piece.text);
}

describe("preTokenizerOf", () => {
  it.each(cases.map(({ config, cuts }) => [JSON.stringify(config), config, cuts] as const))("%s", (_, config, cuts) => {
    for (const [text, words] of cuts) expect(cut(config, text), JSON.stringify(text)).toEqual(words);
  });
});
