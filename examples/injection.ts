// Does the last residual of another prompt bring that prompt's answer along, and in which layer?
import { injectAtLayers, loadModel, metric } from "superlens";

const model = await loadModel(process.argv[2] as string);
const token = (word: string) => model.toSingleToken(word);
const other = await model.forward("Lily saw a bird. She liked the ", { capture: "*.hook_resid_post", positions: [-1] });
const grid = await injectAtLayers(model, {
  input: "Lily saw a cat. She liked the ",
  vectors: other.cache.names.map((name) => other.cache.at(name, { position: -1 })), // one for each layer
  metric: metric.logitDiff(token("cat"), token("bird")),
});
console.log(`logit(cat) - logit(bird) is ${grid.base.toFixed(2)} without injection`);
console.log(grid.toTable(grid.values, 2));
other.destroy();
model.destroy();
