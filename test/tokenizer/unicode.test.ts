/**
 * Every character is classed and normalized as Rust's `tokenizers` 0.23.2 does it, whose tables are of older Unicode than
 * JavaScript's. Made by test/fixtures/tokenizers/unicode.mjs.
 */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { normalizerOf } from "../../src/tokenizer/normalizers.ts";
import { preTokenizerOf } from "../../src/tokenizer/pretokenizers.ts";
import { readFixture } from "./fixtures.ts";

interface Expected {
  /** Code points that change, as hexadecimal ranges, and the hash of the list of what they become. */
  normalizers: { config: { type: string }; changed: string; sha256: string }[];
  /** Code points that are cut from an "a" before or behind. */
  preTokenizers: { config: { type: string }; cut: string }[];
}

const { normalizers, preTokenizers } = await readFixture<Expected>("unicode.json");

function codePoints(ranges: string): number[] {
  return ranges.split(" ").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map((code) => Number.parseInt(code, 16));
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

/** The first two planes, where all letters and marks are. */
const CHARACTERS = Array.from({ length: 0x20000 }, (_, code) => code).filter((code) => code < 0xd800 || code > 0xdfff);
const hexadecimal = (codes: number[]) => codes.map((code) => code.toString(16)).join(" ");

describe("each character", () => {
  it.each(normalizers.map((one) => [JSON.stringify(one.config), one] as const))("%s", (_, expected) => {
    const normalize = normalizerOf(expected.config);
    const changed = codePoints(expected.changed);
    const results = changed.map((code) => normalize(String.fromCodePoint(code)));
    expect(createHash("sha256").update(JSON.stringify(results)).digest("hex")).toBe(expected.sha256);
    // Regular expressions have the engine's own Unicode, which grows.
    if (expected.config.type === "Replace") return;
    const known = new Set(changed);
    const others = CHARACTERS.filter((code) => !known.has(code));
    const wrong = others.filter((code) => normalize(String.fromCodePoint(code)) !== String.fromCodePoint(code));
    expect(hexadecimal(wrong)).toBe("");
  });

  it.each(preTokenizers.map((one) => [JSON.stringify(one.config), one] as const))("%s", (_, expected) => {
    const split = preTokenizerOf(expected.config);
    const cuts = (code: number) => split([{ text: `a${String.fromCodePoint(code)}a`, isFirst: true }]).length > 1;
    const cut = new Set(codePoints(expected.cut));
    expect(hexadecimal(CHARACTERS.filter((code) => cuts(code) !== cut.has(code)))).toBe("");
  });
});
