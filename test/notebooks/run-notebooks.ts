/**
 * Runs scripts of examples/notebooks, one after the other, and writes the numbers that each exports as JSON: `run-notebooks.ts FOLDER
 * NAME...`; MODEL is in the environment. A line with the name goes before what each prints.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { argv } from "node:process";

const [folder, ...names] = argv.slice(2) as [string, ...string[]];
for (const name of names) {
  console.log(`@notebook ${name}`);
  const { model, ...values } = await import(`../../examples/notebooks/${name}.ts`);
  writeFileSync(
    join(folder, `${name}.json`),
    JSON.stringify(values, (_, value) => (ArrayBuffer.isView(value) ? Array.from(value as Float32Array) : value)),
  );
  model.destroy();
}
