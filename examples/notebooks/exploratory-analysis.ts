// %% [markdown]
// # Exploratory analysis: how does a model find the indirect object?
//
// TransformerLens's exploratory analysis of the IOI task, cell by cell, with the original's names in `code`. It runs as a notebook
// (Deno's Jupyter kernel) and as a script, like [the main demo](main-demo.ts). The circuit in GPT-2 small is described by
// [Wang et al. 2022](https://arxiv.org/abs/2211.00593).

// %%
import {
  ablate,
  accumulatedResid,
  activationPatch,
  attentionSummary,
  decomposeResid,
  directLogitAttribution,
  duplicateTokenScores,
  inductionScores,
  loadModel,
  metric,
  pathPatch,
  previousTokenScores,
} from "superlens";
import { attentionView, barChart, heatMap } from "superlens/pictures";

export const model = await loadModel(process.env.MODEL ?? "hf:openai-community/gpt2");

// %% [markdown]
// ## Prompts
//
// Four templates, each with both orders of the names. The answer is the name that the subject of the second half is not.

// %%
const TEMPLATES = [
  [" Mary", " John", "When{a} and{b} went to the shops,{c} gave the bag to"],
  [" Tom", " James", "When{a} and{b} went to the park,{c} gave the ball to"],
  [" Dan", " Sid", "When{a} and{b} went to the shops,{c} gave an apple to"],
  [" Martin", " Amy", "After{a} and{b} went to the park,{c} gave a drink to"],
] as const;
const fill = (template: string, first: string, second: string, subject: string) =>
  template.replace("{a}", first).replace("{b}", second).replace("{c}", subject);
export const prompts = TEMPLATES.flatMap(([a, b, template]) => [fill(template, a, b, b), fill(template, a, b, a)]);
export const answers = TEMPLATES.flatMap(([a, b]) => [
  [a, b],
  [b, a],
]).map((pair) => pair.map((name) => model.toSingleToken(name)) as [right: number, wrong: number]);
const tokens = model.toStrTokens(prompts[0] as string);
console.log(tokens.map((piece, position) => `${position}:${piece}`).join(" "));

// %% [markdown]
// ## The logit difference of each prompt: `logits_to_ave_logit_diff`

// %%
const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
const run = await model.runWithCache(prompts);
export const differences = await Promise.all(
  answers.map(async ([right, wrong], sequence) => {
    const logits = await run.logits.at(sequence, -1);
    return (logits[right] as number) - (logits[wrong] as number);
  }),
);
console.log("logit differences", differences.map((value) => value.toFixed(3)).join(" "));
export const average = mean(differences);
console.log("mean", average.toFixed(3));

// %% [markdown]
// ## Direct logit attribution: layers, `cache.logit_attrs`
//
// The final residual is a sum of what blocks wrote. Each part of it, through the final norm with the run's scale, is a part of the
// logit difference.

// %%
export const byLayer = await directLogitAttribution(model, run, { tokens: answers });
const meanOf = (label: string, parts: typeof byLayer) => mean(prompts.map((_, sequence) => parts.at(label, sequence)));
const parts = Object.fromEntries(byLayer.labels.map((label) => [label, meanOf(label, byLayer)]));
await barChart(parts, { title: "part of the logit difference" }).show();

// %% [markdown]
// ## The logit lens: `cache.accumulated_resid`

// %%
using soFar = await accumulatedResid(model, run, { positions: [-1], applyLn: "run" });
console.log("residuals", soFar.labels.join(" "), soFar.shape);
using components = await decomposeResid(model, run, { positions: [-1] });
console.log("components", components.labels.join(" "), components.shape);

// %% [markdown]
// ## Direct logit attribution: heads, `cache.stack_head_results`

// %%
export const byHead = await directLogitAttribution(model, run, { tokens: answers, by: "head" });
const { nLayers, nHeads } = model.spec;
const layers = Array.from({ length: nLayers }, (_, layer) => layer);
const heads = Array.from({ length: nHeads }, (_, head) => head);
export const headParts = layers.flatMap((layer) => heads.map((head) => meanOf(`L${layer}H${head}`, byHead)));
const table = layers.map((layer) => headParts.slice(layer * nHeads, (layer + 1) * nHeads));
await heatMap(table, {
  title: "part of the logit difference",
  rows: layers.map((layer) => `L${layer}`),
  columns: heads.map((head) => `H${head}`),
}).show();
run.destroy();

// %% [markdown]
// ## Where the heads look that write the answer

// %%
const order = headParts.map((value, index) => ({ value, layer: Math.floor(index / nHeads), head: index % nHeads }));
export const movers = order.sort((a, b) => b.value - a.value).slice(0, 3);
const looked = await model.runWithCache(prompts[0] as string, { capture: "*.hook_pattern" });
for (const { layer, head } of movers)
  await (await attentionView(looked.cache, { layers: layer, heads: head, tokens })).show();
looked.destroy();
const { mean: summary } = await attentionSummary(model, prompts);
console.log("mean distance looked back, by head:", [...summary.distance].map((value) => value.toFixed(1)).join(" "));

// %% [markdown]
// ## Activation patching: `patching.get_act_patch_resid_pre`
//
// The corrupted prompt of each is its neighbour, in which the other name is the subject. 0 is the corrupted run, 1 the clean one.

// %%
export const corrupted = prompts.map((_, index) => prompts[index ^ 1] as string);
export const metrics = answers.map(([right, wrong]) => metric.logitDiff(right, wrong));
const options = { clean: prompts, corrupted, metric: metrics };
export const residual = await activationPatch(model, { ...options, at: "resid_pre" });
console.log(`clean ${residual.clean.toFixed(3)}, corrupted ${residual.corrupted.toFixed(3)}`);
await heatMap(residual, { title: "residual before each block" }).show();

// %% [markdown]
// Attention layers and MLPs: `get_act_patch_attn_out`, `get_act_patch_mlp_out`

// %%
export const attention = await activationPatch(model, { ...options, at: "attn_out" });
await heatMap(attention, { title: "what attention writes" }).show();
export const mlps = await activationPatch(model, { ...options, at: "mlp_out" });
await heatMap(mlps, { title: "what MLPs write" }).show();

// %% [markdown]
// Heads: `get_act_patch_attn_head_out_all_pos`, and where they look or what they carry:
// `get_act_patch_attn_head_pattern_all_pos`, `get_act_patch_attn_head_v_all_pos`

// %%
export const z = await activationPatch(model, { ...options, at: "z" });
await heatMap(z, { title: "each head's output" }).show();
export const values = await activationPatch(model, { ...options, at: "v" });
export const pattern = await activationPatch(model, { ...options, at: "pattern" });
await heatMap(values, { title: "each head's values" }).show();
await heatMap(pattern, { title: "each head's pattern" }).show();

// %% [markdown]
// ## Heads with a known job
//
// The circuit of the paper has previous-token heads, duplicate-token heads and induction heads.

// %%
const scoring = { length: 30 };
for (const [job, scores] of [
  ["previous token", await previousTokenScores(model, scoring)],
  ["duplicate token", await duplicateTokenScores(model, scoring)],
  ["induction", await inductionScores(model, scoring)],
] as const)
  console.log(
    job,
    scores
      .top(3)
      .map(({ layer, head, score }) => `L${layer}H${head} ${score.toFixed(2)}`)
      .join(", "),
  );

// %% [markdown]
// ## Further than the original
//
// What the answer loses without each head, and what each head sends straight to the logits.

// %%
export const ablated = await ablate(model, { input: prompts, metric: metrics, kind: "zero", at: "z" });
await heatMap(ablated, { title: "logit difference without each head" }).show();
export const direct = await pathPatch(model, {
  clean: prompts[0] as string,
  corrupted: corrupted[0] as string,
  metric: metrics[0] as (typeof metrics)[number],
  senders: "all",
});
await heatMap(direct, { title: "the first prompt: corrupted output straight to the logits" }).show();
