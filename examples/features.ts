// Features of a small trained model: which of them carry a task that a prompt's examples show, and what is answered without them?
import { featureAttribution, loadModel, metric } from "superlens";
import { evaluationPrompts, type Prompt, presetBatches, promptIds, taskFamily, trainingPreset } from "superlens/paper";
import { trainDictionary } from "superlens/train";

const model = await loadModel("weights/lc-mix10"); // in the package's folder
const preset = trainingPreset("lc-mix10");
const batches = presetBatches(preset)();
using sae = await trainDictionary({
  model,
  data: () => batches.next().value.ids.slice(0, 16),
  hook: "blocks.0.hook_resid_post",
  dSae: 256,
  k: 8,
  steps: 40,
  schedule: { lr: 3e-3, decay: 0.3 },
  logEvery: 20,
  onStep: ({ step, unexplained }) => console.log(`step ${step}: ${(100 * unexplained).toFixed(0)}% unexplained`),
});

// Ten sums answered in English and ten in French, in random order; then a query.
const { vocabulary } = preset.data;
const counts = { counts: [10, 10], tasks: ["english", "french"], count: 1 };
const [prompt] = evaluationPrompts(taskFamily("number-words"), counts) as [Prompt];
const input = promptIds(vocabulary, prompt);
const [english, french] = prompt.answers.map((answer) => vocabulary.answerIds(answer)[0]) as [number, number];

const asked = { input, metric: metric.logitDiff(english, french), count: 6, exact: true };
const { value, features } = await featureAttribution(model, sae, asked);
console.log(`logit(${prompt.answers.join(") - logit(")}) = ${value.toFixed(2)}`);
for (const { feature, position, attribution, exact = 0 } of features) {
  const token = vocabulary.tokens[input[position] as number]?.trim();
  console.log(`feature ${feature} at ${token}: ${attribution.toFixed(2)}, exact ${exact.toFixed(2)}`);
}

// Without those that speak for English, wherever they are active.
const dims = [...new Set(features.filter(({ attribution }) => attribution > 0).map(({ feature }) => feature))];
const { values, base } = await model.withModules(sae).sweep({
  input,
  cells: [{ at: `${sae.hook}.hook_sae_acts_post`, op: "zero", dims }],
  metric: [metric.prob(english), metric.prob(french)],
});
const shown = (parts: ArrayLike<number>) =>
  prompt.answers.map((answer, i) => `${answer} ${(100 * (parts[i] as number)).toFixed(0)}%`).join(", ");
console.log(`as it is: ${shown(base)}`);
console.log(`without features ${dims.join(", ")}: ${shown(values)}`);
model.destroy();
