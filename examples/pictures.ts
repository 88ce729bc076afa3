// Pictures of one prompt: what each layer would say, what patching restores, where heads look, and what wrote the answer.
import { mkdirSync, writeFileSync } from "node:fs";
import { activationPatch, directLogitAttribution, loadModel, logitLens, metric } from "superlens";
import { attentionView, barChart, heatMap } from "superlens/pictures";

const [folder, out] = process.argv.slice(2) as [string, string?];
const model = await loadModel(folder);
const prompt = "Lily saw a cat. She liked the ";
const tokens = model.toStrTokens(prompt);
const [cat, bird] = [model.toSingleToken("cat"), model.toSingleToken("bird")] as const;

const lens = await logitLens(model, prompt);
const grid = await activationPatch(model, {
  clean: prompt,
  corrupted: "Lily saw a bird. She liked the ",
  metric: metric.logitDiff(cat, bird),
  at: "resid_pre",
});
const run = await model.forward(prompt, { capture: "*.hook_pattern", logits: "none" });
const heads = await directLogitAttribution(model, prompt, { tokens: [cat, bird], by: "head" });

const pictures = {
  lens: heatMap(lens, { columns: tokens, title: "Most likely next token after each layer" }),
  patching: heatMap(grid, { show: "normalized", title: "Which residual carries the cat", measure: "restored" }),
  attention: await attentionView(run.cache, { tokens, title: "Every head" }),
  head: await attentionView(run.cache, { tokens, layers: 0, heads: 1, title: "Layer 0, head 1" }),
  logits: barChart(heads, { top: 10, title: 'Who says "cat" rather than "bird"', measure: "logit difference" }),
};
for (const [name, picture] of Object.entries(pictures)) {
  console.log(name === "attention" ? picture.title : picture.text());
  if (out === undefined) continue;
  mkdirSync(out, { recursive: true });
  writeFileSync(`${out}/${name}.svg`, await picture.svg());
}
run.destroy();
model.destroy();
