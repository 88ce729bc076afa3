// Which way does a head's output take to the answer, what does it do on that way, and what can the head do at all?
import { headSvd, jacobian, loadModel, metric, pathPatch } from "superlens";

const model = await loadModel(process.argv[2] as string);
const token = (word: string) => model.toSingleToken(word);
const prompts = { clean: "Lily saw a cat. She liked the ", corrupted: "Lily saw a bird. She liked the " };
const options = { ...prompts, metric: metric.logitDiff(token("cat"), token("bird")), senders: "all" } as const;

const direct = await pathPatch(model, options);
console.log("logit(cat) - logit(bird): what each node's corrupted output changes straight to the logits");
console.log(direct.toTable(direct.change(), 2));
const toValues = await pathPatch(model, { ...options, receivers: { at: "v", layer: 1 }, layers: 0 });
console.log("and through the values of layer 1 alone");
console.log(toValues.toTable(toValues.change(), 2));

// How does the last residual follow the first, at the last token and from all tokens?
const [from, to] = ["blocks.0.hook_resid_pre", `blocks.${model.spec.nLayers - 1}.hook_resid_post`];
const { shape, data } = await jacobian(model, { input: prompts.clean, from, to, fromPosition: "all" });
const [rows = 0, positions = 0, columns = 0] = shape;
const sizes = Array.from({ length: positions }, (_, position) => {
  let sum = 0;
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      sum += (data[(row * positions + position) * columns + column] as number) ** 2;
  return Math.sqrt(sum).toFixed(1);
});
console.log(`norm of d ${to} / d ${from} by position: ${sizes.join("  ")}`);

const {
  values,
  leftTokens = [],
  rightTokens = [],
} = await headSvd(model, {
  ...{ layer: 1, head: Number(process.argv[3] ?? 0), circuit: "OV" },
  topTokens: 5,
});
console.log(`singular values of OV: ${[...values].map((value) => value.toFixed(2)).join("  ")}`);
const words = (tokens: readonly { token: number; text: string | undefined }[] = []) =>
  tokens.map((each) => JSON.stringify(each.text ?? each.token)).join(" ");
for (const index of [0, 1]) {
  console.log(`${index} reads ${words(leftTokens[index]?.most)}, writes ${words(rightTokens[index]?.most)}`);
  console.log(`  or reads ${words(leftTokens[index]?.least)}, writes ${words(rightTokens[index]?.least)}`);
}
model.destroy();
