/** Tokenizers for tests: files of `test/fixtures/tokenizers`, and one of digits that is made here. */
import { readFile } from "node:fs/promises";
import type { TokenizerSource } from "../../src/tokenizer/index.ts";

const folder = new URL("../fixtures/tokenizers/", import.meta.url);

/** One line of an `expected.json`. */
export interface Expected {
  text: string;
  ids: number[];
  withoutSpecial: number[];
  decoded: string;
  decodedSkipSpecial: string;
}

export async function readFixture<T>(path: string): Promise<T> {
  return JSON.parse(await readFile(new URL(path, folder), "utf8")) as T;
}

/** The files of a fixture; `overrides` replace or (undefined) remove some. */
export function fixtureSource(name: string, overrides: Record<string, unknown> = {}): TokenizerSource {
  return {
    json: (file) =>
      file in overrides ? Promise.resolve(overrides[file]) : readFixture(`${name}/${file}`).catch(absent),
  };
}

/** A source that holds exactly `files`. */
export function memorySource(files: Record<string, unknown>): TokenizerSource {
  return { json: (name) => Promise.resolve(files[name]) };
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}

/** A tokenizer without letters: "1", "2", "3", "+", "=" and the end. */
export function digits(post_processor: unknown = null) {
  const vocab = { "1": 0, "2": 1, "3": 2, "+": 3, "=": 4, "<e>": 5 };
  return { post_processor, decoder: { type: "Fuse" }, model: { type: "BPE", vocab, merges: [] } };
}

/** A post-processor that puts `<e>` (or `=`) before or after a text. */
export function framed(before: ("<e>" | "=")[], after: "<e>"[]) {
  const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  return {
    type: "TemplateProcessing",
    single: [...before.map(special), { Sequence: { id: "A", type_id: 0 } }, ...after.map(special)],
    pair: [],
    special_tokens: {
      "<e>": { id: "<e>", ids: [5], tokens: ["<e>"] },
      "=": { id: "=", ids: [4], tokens: ["="] },
    },
  };
}
