/** Runs examples one after the other: `run-examples.ts FOLDER NAME...`. A line with the name goes before what each prints. */
import { argv } from "node:process";

for (const name of argv.splice(3)) {
  console.log(`@example ${name}`);
  await import(`../../examples/${name}.ts`);
}
