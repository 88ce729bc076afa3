/**
 * Trains the small models that ship with the package, each into a folder of weights/:
 *
 *   npm run weights                  those that are not there yet
 *   npm run weights -- lc mini       these, again
 *
 * Presets, seeds and adapter decide every bit; training.json has them, with the loss of each step. A run that was ended goes on
 * from its checkpoint in build/weights/. What ships is rounded to float16, at half the size; float32 stays in build/weights/.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { f32ToF16 } from "../src/checkpoint/dtype.ts";
import { openCheckpoint, openStore, type TensorEntry, toFloat32, writeSafetensors } from "../src/checkpoint/index.ts";
import { loadModel } from "../src/hooks/index.ts";
import { EMBEDDED_MODELS } from "../src/paper/embedded.ts";
import { presetModel, trainingPreset, trainPreset } from "../src/paper/index.ts";
import "../src/node.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const given = process.argv.slice(2);
const names = given.length > 0 ? given : EMBEDDED_MODELS.filter((name) => !existsSync(`${ROOT}weights/${name}`));

for (const name of names) {
  const work = `${ROOT}build/weights/${name}`;
  await trainInto(work, name);
  await ship(work, `${ROOT}weights/${name}`);
}

async function trainInto(out: string, name: string): Promise<void> {
  const preset = trainingPreset(name);
  const model = await loadModel(presetModel(preset), { dtype: "float32", tune: false });
  const began = performance.now();
  let first: number | undefined;
  const { accuracy } = await trainPreset({
    model,
    preset,
    out,
    resume: true,
    checkpointEvery: 20,
    onStep({ step, loss }) {
      first ??= step;
      const seconds = (performance.now() - began) / 1000 / (step - first + 1);
      if (step % 10 === 0)
        console.log(`${name} ${step} of ${preset.training.steps}: ${loss.toFixed(4)}, ${seconds.toFixed(2)} s a step`);
    },
  });
  model.destroy();
  console.log(name, accuracy);
}

/** Copies what a model folder needs, its tensors as float16. */
async function ship(from: string, to: string): Promise<void> {
  const checkpoint = await openCheckpoint(openStore(from).source());
  const entries: TensorEntry[] = [];
  for (const { name, shape, dtype } of checkpoint.tensors.values())
    entries.push({ name, shape, dtype: "F16", data: f32ToF16(toFloat32(await checkpoint.read(name), dtype)) });
  await checkpoint.close();
  mkdirSync(to, { recursive: true });
  writeFileSync(`${to}/model.safetensors`, writeSafetensors(entries, { format: "pt" }));
  for (const file of ["vocab.json", "training.json"]) writeFileSync(`${to}/${file}`, readFileSync(`${from}/${file}`));
  const config = JSON.parse(readFileSync(`${from}/config.json`, "utf8"));
  writeFileSync(`${to}/config.json`, `${JSON.stringify({ ...config, torch_dtype: "float16" }, null, 2)}\n`);
  rmSync(`${from}/checkpoint.safetensors`);
}
