/** Runs a script of examples/notebooks and writes its exported numbers as JSON: `run-notebook.ts NAME OUT`; MODEL is in the environment. */
import { writeFileSync } from "node:fs";
import { argv } from "node:process";

const [, , name, out] = argv as [string, string, string, string];
const { model, ...values } = await import(`../../examples/notebooks/${name}.ts`);
writeFileSync(
  out,
  JSON.stringify(values, (_, value) => (ArrayBuffer.isView(value) ? Array.from(value as Float32Array) : value)),
);
model.destroy();
