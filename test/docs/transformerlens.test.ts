/** The page for people who know TransformerLens names calls that exist, and the points and behaviour it promises are so. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as engine from "../../src/index.ts";
import * as pictures from "../../src/pictures/index.ts";

const superlens = { ...engine, ...pictures };

const PAGE = readFileSync(new URL("../../docs/coming-from-transformerlens.md", import.meta.url), "utf8");
const table = PAGE.slice(PAGE.indexOf("## Names"), PAGE.indexOf("## What is different"));
const rows = table.split("\n").filter((line) => /^\| .*`/.test(line));
/** The code of the right column. */
const ours = rows.flatMap((row) =>
  [...(row.split(" | ")[1] as string).matchAll(/`([^`]+)`/g)].map(([, code]) => code as string),
);

const has = (holder: object, name: string) => name in holder;

describe("docs/coming-from-transformerlens.md", () => {
  it("has a table to be read", () => {
    expect(rows.length).toBeGreaterThan(20);
    expect(ours.length).toBeGreaterThanOrEqual(rows.length);
  });

  it.each(ours.filter((code) => /^model\.\w+/.test(code)))("%s is a member of a model", (code) => {
    const name = /^model\.(\w+)/.exec(code)?.[1] as string;
    const fields = ["spec"]; // set by the constructor
    expect(fields.includes(name) || has(superlens.HookedModel.prototype, name)).toBe(true);
  });

  it.each(ours.filter((code) => /^cache\.\w+/.test(code)))("%s is a member of a cache", (code) => {
    expect(has(superlens.ActivationCache.prototype, /^cache\.(\w+)/.exec(code)?.[1] as string)).toBe(true);
  });

  it.each(
    ours.filter((code) => /^\w+(\(|$)/.test(code) && !["logits", "stopAtLayer", "superlens/pictures"].includes(code)),
  )("%s is exported", (code) => {
    expect(has(superlens, /^\w+/.exec(code)?.[0] as string)).toBe(true);
  });
});
