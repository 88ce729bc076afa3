// Where does the model keep what the prompt said about "cat"?
import { causalTrace, loadModel, metric } from "superlens";

const model = await loadModel(process.argv[2] as string);
const token = (word: string) => model.toSingleToken(word);
const grid = await causalTrace(model, {
  prompt: "Lily saw a cat. She liked the ",
  subject: [4], // the position of "cat"
  metric: metric.prob(token("cat")),
  samples: 10,
  seed: 0,
});
console.log(
  `p(cat): clean ${grid.clean.toFixed(3)}, with noise of std ${grid.noiseStd.toFixed(3)} ${grid.corrupted.toFixed(3)}`,
);
console.log(grid.toTable(grid.values, 3));
model.destroy();
