// Attribution patching asks one backward pass what activation patching asks one pass a cell. How wrong is it?
import { compareWithExact, integratedGradients, loadModel, metric } from "superlens";

const model = await loadModel(process.argv[2] as string);
const token = (word: string) => model.toSingleToken(word);
const prompts = { clean: "Lily saw a cat. She liked the ", corrupted: "Lily saw a bird. She liked the " };
const difference = metric.logitDiff(token("cat"), token("bird"));

for (const at of ["resid_pre", "z"] as const) {
  const found = await compareWithExact(model, { ...prompts, metric: difference, at });
  const { grid, worst } = found;
  console.log(`${at}, by attribution:`);
  console.log(grid.toTable(grid.normalized(), 2));
  console.log(
    `${found.cells.length} cells: correlation ${found.correlation.toFixed(3)}, largest error ${found.largestError.toFixed(2)} ` +
      `beside a largest change of ${found.largestChange.toFixed(2)}, sign differs in ${found.signDiffers.length}`,
  );
  const [approximate, exact] = [worst.approximate.toFixed(2), worst.exact.toFixed(2)];
  console.log(
    `worst: L${worst.layer}, ${grid.columns.name} ${worst.column}: attribution ${approximate}, exact ${exact}`,
  );
}

const path = await integratedGradients(model, {
  input: prompts.clean,
  baseline: prompts.corrupted,
  metric: difference,
});
console.log(`integrated gradients of "cat", from "bird": ${path.scores[4]?.toFixed(2)}, gap ${path.gap.toFixed(4)}`);
model.destroy();
