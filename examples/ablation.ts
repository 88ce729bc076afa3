// What does each head do for the answer? Three ways of taking it out.
import { ablate, loadModel, metric } from "superlens";

const model = await loadModel(process.argv[2] as string);
const token = (word: string) => model.toSingleToken(word);
const input = "Lily saw a cat. She liked the ";
const reference = [
  "Lily saw a dog. She liked the ",
  "Lily saw a bird. She liked the ",
  "Lily saw a ball. She liked the ",
];

for (const kind of ["zero", "mean", "resample"] as const) {
  const grid = await ablate(model, {
    input,
    metric: metric.logProb(token("cat")),
    kind,
    ...(kind !== "zero" && { reference }),
    ...(kind === "mean" && { meanOver: "position" }),
    ...(kind === "resample" && { samples: 8, seed: 1 }),
  });
  console.log(`${kind}: change of log p(cat), ${grid.base.toFixed(2)} with nothing ablated`);
  console.log(grid.toTable(grid.change(), 2));
}
model.destroy();
