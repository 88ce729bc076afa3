/** docs/api has every exported symbol. Whether it is current, and each symbol has a comment, says `npm run docs:check`. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import * as api from "../api/public.ts";

const PAGES = fileURLToPath(new URL("../../docs/api", import.meta.url));

it("docs/api has every function and class of every entry", async () => {
  const pages = (await readdir(PAGES, { recursive: true })).filter((name) => name.endsWith(".md"));
  const texts = await Promise.all(pages.map((name) => readFile(join(PAGES, name), "utf8")));
  const text = texts.join("\n").replaceAll("\\_", "_");
  const names = [...Object.keys(api), ...Object.keys(api.paper)].filter((name) => name !== "paper");
  expect(names.length).toBeGreaterThan(150);
  const heading = (name: string) => new RegExp(`^### (abstract )?${name}(\\(\\))?$`, "m");
  expect(names.filter((name) => !heading(name).test(text))).toEqual([]);
});
