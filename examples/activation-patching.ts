// Which residual, at which position, and which head carry "cat" to the end of the prompt?
import { activationPatch, loadModel, metric } from "superlens";

const model = await loadModel(process.argv[2] as string);
const token = (word: string) => model.toSingleToken(word);
const prompts = { clean: "Lily saw a cat. She liked the ", corrupted: "Lily saw a bird. She liked the " };
const difference = metric.logitDiff(token("cat"), token("bird"));

const residual = await activationPatch(model, { ...prompts, metric: difference, at: "resid_pre" });
console.log(`logit(cat) - logit(bird): clean ${residual.clean.toFixed(2)}, corrupted ${residual.corrupted.toFixed(2)}`);
console.log(residual.toTable(residual.normalized(), 2));

const heads = await activationPatch(model, { ...prompts, metric: difference, at: "z", positions: [-1] });
console.log("each head's z at the last position:");
console.log(heads.toTable(heads.normalized(), 2));
model.destroy();
