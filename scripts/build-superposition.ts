/**
 * Writes weights/superposition/, the constructed model that ships with the package:
 *
 *   node --import tsx --import ./scripts/wgsl-loader.mjs scripts/build-superposition.ts
 *
 * The result depends on nothing but the sources; a test builds it again and compares every byte.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { buildDefaultModel } from "../src/theory/default-model.ts";
import { modelFiles } from "../src/theory/index.ts";

const folder = fileURLToPath(new URL("../weights/superposition/", import.meta.url));

mkdirSync(folder, { recursive: true });
for (const [name, content] of modelFiles(await buildDefaultModel())) {
  writeFileSync(folder + name, content);
  console.log(`${folder}${name}: ${content.length} bytes`);
}
