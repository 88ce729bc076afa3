/** The checked-in fixture models, read without the library: configs, and tensor shapes from safetensors headers. */
import { readdirSync, readFileSync } from "node:fs";

const ROOT = new URL("../fixtures/families/", import.meta.url);

/** One folder a model. */
export const FIXTURES = readdirSync(ROOT);

export function fixtureConfig(name: string): Record<string, unknown> {
  return JSON.parse(readFileSync(new URL(`${name}/config.json`, ROOT), "utf8"));
}

export type Config = Record<string, unknown>;

/** The fixture's config with keys replaced (undefined takes a key away). */
export function edited(fixture: string, changes: Config): Config {
  const config = { ...fixtureConfig(fixture), ...changes };
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
}

/** Shape of each tensor in the model's safetensors file. */
export function fixtureShapes(name: string): Map<string, number[]> {
  const file = readFileSync(new URL(`${name}/model.safetensors`, ROOT));
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + length).toString("utf8"));
  delete header.__metadata__;
  return new Map(Object.entries<{ shape: number[] }>(header).map(([tensor, { shape }]) => [tensor, shape]));
}

/** The configs of test/fixtures/types. */
export function typeConfigs(): Config[] {
  const root = new URL("../fixtures/types/", import.meta.url);
  return readdirSync(root).map((name) => JSON.parse(readFileSync(new URL(`${name}/config.json`, root), "utf8")));
}
