// The head whose last query looks most at one earlier token, as a picture.
import { loadModel } from "superlens";
import { attentionView } from "superlens/pictures";

const model = await loadModel(process.argv[2] as string);
const ids = model.toTokens("Lily saw a cat. She liked the ");
const { cache } = await model.forward(ids, { capture: "*.hook_pattern" });

const cat = 4; // the position of "cat"
let best = { layer: 0, head: 0, weight: -1 };
for (let layer = 0; layer < model.spec.nLayers; layer++) {
  const lastQueries = await cache.read(`blocks.${layer}.attn.hook_pattern`, { positions: [-1] }); // [1, head, 1, key]
  for (let head = 0; head < model.spec.nHeads; head++) {
    const weight = lastQueries[head * ids.length + cat] as number;
    if (weight > best.weight) best = { layer, head, weight };
  }
}
console.log(`layer ${best.layer}, head ${best.head}: the last query gives "cat" ${best.weight.toFixed(2)}`);
const { layer: layers, head: heads } = best;
const picture = await attentionView(cache, { layers, heads, tokens: model.toStrTokens(ids) });
console.log(picture.text()); // and picture.svg() draws it
cache.destroy();
model.destroy();
