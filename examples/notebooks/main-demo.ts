// %% [markdown]
// # The main demo of TransformerLens, in superlens
//
// Cell by cell, with the original's names in `code`. It runs as a notebook (Deno's Jupyter kernel: `deno jupyter --install`,
// in a folder with `npm install superlens`) and as a script, in a package of `"type": "module"`: `npx tsx main-demo.ts`, in Deno `deno run -A main-demo.ts`.
// `MODEL` in the environment is another model: a folder, an address or `hf:owner/name`. Names in its prompts have to be single tokens,
// with a space before them, as in GPT-2's vocabulary.

// %%
import {
  activationPatch,
  allCompositionScores,
  type Edit,
  headCircuit,
  inductionScores,
  loadModel,
  lossPerToken,
  metric,
  repeatedRandomTokens,
} from "superlens";
import { attentionView, heatMap } from "superlens/pictures";

// %% [markdown]
// ## Load and run a model: `HookedTransformer.from_pretrained`
//
// The device is chosen when the model is loaded. Weights are the checkpoint's: nothing is folded or centred.

// %%
export const model = await loadModel(process.env.MODEL ?? "hf:openai-community/gpt2");
const { nLayers, nHeads, dModel, dHead } = model.spec;
console.log(
  `${nLayers} layers of ${nHeads} heads, ${dModel} wide, heads ${dHead} wide, on ${model.gpu.host.adapterInfo.name}`,
);

// %% [markdown]
// The loss is the mean of `-log p(token)` over all tokens but the first: `model(text, return_type="loss")`.

// %%
export const text = "A transformer reads a text from left to right, and guesses the next word at every place.";
const mean = (values: ArrayLike<number>) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
export const loss = mean(await lossPerToken(model, text));
console.log("loss", loss.toFixed(4));

// %% [markdown]
// ## Look at every activation: `run_with_cache`
//
// `cache.read` gives the numbers and `cache.shape` their axes. A pattern is [batch, head, query, key].

// %%
const { cache, destroy } = await model.runWithCache(text, { capture: ["*.hook_pattern", "*.hook_resid_post"] });
export const patternShape = cache.shape("blocks.0.attn.hook_pattern");
console.log("blocks.0.attn.hook_pattern", patternShape);
await (await attentionView(cache, { layers: 0, heads: 0, tokens: model.toStrTokens(text) })).show();
destroy();

// %% [markdown]
// ## Change an activation: `run_with_hooks`
//
// Ablate one head: set what it mixes to zero. An edit is data, and costs one dispatch on the GPU.

// %%
export const head = Math.min(8, nHeads - 1);
const ablation: Edit = { at: "blocks.0.attn.hook_z", op: "zero", heads: [head] };
export const ablatedLoss = mean(await lossPerToken(model, text, { edits: ablation }));
console.log(`loss ${loss.toFixed(4)}; with head ${head} of block 0 ablated ${ablatedLoss.toFixed(4)}`);

// %% [markdown]
// A hook may be a function, too. It is slower, because the activation goes to the host and back.

// %%
const { logits: hooked } = await model.runWithHooks(text, [
  [
    "blocks.0.attn.hook_z", // [batch, pos, head, dHead]
    (values) => values.map((value, index) => (Math.floor(index / dHead) % nHeads === head ? 0 : value)),
  ],
]);
export const hookedLogits = await hooked.at(0, -1);
hooked.destroy();

// %% [markdown]
// ## Activation patching on indirect object identification
//
// "Mary" is the answer of the clean prompt, "John" of the corrupted one. Which residual, at which position, carries it? Here are
// the edits of one cell for each layer and position, and all of them in one sweep.

// %%
export const prompts = {
  clean: "After John and Mary went to the store, John gave a bottle of milk to",
  corrupted: "After John and Mary went to the store, Mary gave a bottle of milk to",
};
const [right, wrong] = [model.toSingleToken(" Mary"), model.toSingleToken(" John")];
export const difference = metric.logitDiff(right, wrong);
const clean = await model.forward(prompts.clean, { capture: "*.hook_resid_pre" });
export const positions = model.toTokens(prompts.clean).map((_, position) => position);
const points = model.pointNames("*.hook_resid_pre");
const cells = points.flatMap((at) =>
  positions.map((position): Edit[] => [{ at, op: "set", value: clean.cache.at(at), positions: [position] }]),
);
export const swept = await model.sweep({ input: prompts.corrupted, cells, metric: difference });
console.log(
  `corrupted ${swept.base[0]?.toFixed(3)}, the best of ${cells.length} patches ${Math.max(...swept.values).toFixed(3)}`,
);
clean.destroy();

// %% [markdown]
// The same ready made, scaled so that 0 is the corrupted run and 1 the clean one: `patching.get_act_patch_resid_pre`.

// %%
export const patched = await activationPatch(model, { ...prompts, metric: difference, at: "resid_pre" });
await heatMap(patched, { show: "normalized" }).show();

// %% [markdown]
// ## Induction heads: repeated random tokens
//
// The score of a head is its mean attention from each token of the second copy to the token after the first occurrence.

// %%
export const induction = await inductionScores(model, { length: 30, seed: 1 });
console.log(
  induction
    .top(3)
    .map(({ layer, head, score }) => `L${layer}H${head} ${score.toFixed(2)}`)
    .join(", "),
);
await heatMap(induction).show();
export const repeated = repeatedRandomTokens(model, { length: 30, seed: 1 });

// %% [markdown]
// ## What a model has: `cfg`, parameters, `hook_dict`

// %%
console.log(model.spec.family, model.weightNames().length, "weights,", model.pointNames().length, "points");
const { shape: shapeOfO } = await model.weight("blocks.0.attn.W_O");
console.log("blocks.0.attn.W_O", shapeOfO, "[head, dHead, dModel]");

// %% [markdown]
// ## Tokens: `to_tokens`, `to_str_tokens`, `to_single_token`, `get_token_position`
//
// No BOS is put first unless the model's own tokenizer does it.

// %%
export const pieces = model.toStrTokens(prompts.clean);
console.log(pieces.join("|"));
console.log(`" Mary" is token ${right}, at position ${model.tokenPosition(" Mary", prompts.clean)}`);

// %% [markdown]
// ## Factored matrices: `FactoredMatrix`, `all_composition_scores`
//
// The OV circuit of a head is W_V W_O, kept as its two thin factors.

// %%
const ov = await headCircuit(model, { layer: 0, head: 0, circuit: "OV" });
console.log("OV is", ov.shape, "of rank", ov.columns.length);
export const composition = await allCompositionScores(model, { mode: "K" });

// %% [markdown]
// ## Generate text: `model.generate`

// %%
let story = "";
for await (const { text: piece } of model.generate("After John and Mary went to the store,", { maxNewTokens: 12 }))
  story += piece;
console.log(story);

// %% [markdown]
// ## Hooks that stay for a while: `with model.hooks(...)`
//
// Every pass of `edited` makes the edits. Outside, the model is as it was. Nothing has to be reset.

// %%
export const scopedLoss = await model.withEdits(ablation, async (edited) => mean(await lossPerToken(edited, text)));
console.log(`in the scope ${scopedLoss.toFixed(4)}, after it ${mean(await lossPerToken(model, text)).toFixed(4)}`);

// %% [markdown]
// ## Part of a model: `stop_at_layer`, `start_at_layer`

// %%
const front = await model.forward(text, { stopAtLayer: 1, capture: "blocks.0.hook_resid_post" });
console.log("the residual after block 0:", front.cache.shape("blocks.0.hook_resid_post"));
front.destroy();
