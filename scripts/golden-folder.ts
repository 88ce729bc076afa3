/**
 * Loads every model of a folder of fixtures (each as those of test/fixtures/families: config, weights, what transformers
 * computed) and says whether its logits are transformers', whether it is refused, or whether they are wrong:
 *
 *   npm run golden-folder -- FOLDER
 */
import { readdirSync } from "node:fs";
import { SuperlensError } from "../src/errors.ts";
import { loadParts } from "../src/model/load.ts";
import { Model } from "../src/model/model.ts";
import { goldenIn, readLogits } from "../test/support/fixtures.ts";
import { testGpu } from "../test/support/gpu.ts";
import { relativeError } from "../test/support/numbers.ts";

const [folder] = process.argv.slice(2);
if (!folder) throw new Error("Name the folder that holds the fixtures.");

const counts = { equal: 0, refused: 0, wrong: 0 };
for (const name of readdirSync(folder)) {
  const { kind, detail } = await outcomeOf(`${folder}/${name}`);
  counts[kind] += 1;
  console.log(`${kind.padEnd(8)} ${name.padEnd(26)} ${detail.slice(0, 150)}`);
}
console.log(counts);
process.exit(counts.wrong > 0 ? 1 : 0);

async function outcomeOf(path: string): Promise<{ kind: keyof typeof counts; detail: string }> {
  try {
    using model = new Model(await loadParts(path, { gpu: await testGpu() }));
    const { ids, values } = await goldenIn(path);
    const error = relativeError(await readLogits(model.forward(ids)), values.get("logits") as Float32Array);
    return { kind: error < 1e-4 ? "equal" : "wrong", detail: error.toExponential(1) };
  } catch (error) {
    if (error instanceof SuperlensError) return { kind: "refused", detail: error.message.replace(`${path}/`, "") };
    return { kind: "wrong", detail: String(error) };
  }
}
