/** The dictionaries of the fixtures: SAELens's own numbers of seven architectures, on the models of the families. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { toFloat32 } from "../../src/checkpoint/index.ts";
import { HookedModel } from "../../src/hooks/index.ts";
import { golden, loadFixture, tensorsOf } from "../support/fixtures.ts";

export const MODULES = fileURLToPath(new URL("../fixtures/modules/", import.meta.url));

export const CASES = [
  "gemma2-jumprelu",
  "gemma2-transcoder",
  "gpt2-standard",
  "gpt2-topk",
  "llama-jumprelu",
  "llama-skip_transcoder",
  "pythia-gated",
] as const;

/** The family of a case's model. */
export async function familyOf(name: string): Promise<string> {
  return JSON.parse(await readFile(`${MODULES}${name}/model.json`, "utf8")).model;
}

/** A family's model with hooks. The caller destroys it. */
export async function hooked(family: string): Promise<HookedModel> {
  return new HookedModel(await loadFixture(family));
}

/** The numbers of a case, and the ids that they are of. */
export async function goldenOf(name: string): Promise<{ ids: number[][]; values: Map<string, Float32Array> }> {
  const file = await readFile(`${MODULES}${name}/golden.safetensors`);
  const { ids } = await golden(await familyOf(name));
  const values = tensorsOf(file).map(
    ({ name: each, dtype, data }) => [each, toFloat32(data as Uint8Array, dtype)] as const,
  );
  return { ids, values: new Map(values) };
}
