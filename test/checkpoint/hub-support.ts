/** What the tests of the Hub share: a file, a repository that has it, and a source of that. */
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { expect } from "vitest";
import type { BlobCache } from "../../src/checkpoint/cache.ts";
import { HubSource, type HubSourceOptions } from "../../src/checkpoint/index.ts";

export const DATA = Uint8Array.from({ length: 100_000 }, (_, i) => i % 251);
export const SHA256 = createHash("sha256").update(DATA).digest("hex");
export const PATH = "/owner/name/resolve/main/model.safetensors";
export const CONFIG = "/owner/name/resolve/main/config.json";
export const FILE = "model.safetensors";

export function hub(url: string, cache?: BlobCache, more: HubSourceOptions = {}, revision = "main"): HubSource {
  return new HubSource({ repo: "owner/name", revision }, { hubUrl: url, cache, retry: { delayMs: 1 }, ...more });
}

/** `toEqual` takes seconds for so many bytes. */
export function expectData(bytes: Uint8Array, expected: Uint8Array = DATA): void {
  expect(Buffer.compare(bytes, expected)).toBe(0);
}

export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}
