// The head whose last query looks most at one earlier token, as a picture.
import { loadModel } from "superlens";
import { heatMap } from "./heat-map.ts";

const model = await loadModel(process.argv[2] as string);
const ids = model.toTokens("Lily saw a cat. She liked the ");
const { cache } = await model.forward(ids, { capture: "*.hook_pattern" });

const cat = 4; // the position of "cat"
let best = { name: "", head: 0, weight: -1 };
for (const name of cache.names) {
  const lastQueries = await cache.read(name, { positions: [-1] }); // [1, head, 1, key]
  for (let head = 0; head < model.spec.nHeads; head++) {
    const weight = lastQueries[head * ids.length + cat] as number;
    if (weight > best.weight) best = { name, head, weight };
  }
}
const values = await cache.read(best.name, { heads: [best.head] });
const columns = ids.map((_, position) => String(position));
const rows = model.toStrTokens(ids).map((text, position) => `${position} ${text}`);
console.log(`${best.name}, head ${best.head}: the last query gives "cat" ${best.weight.toFixed(2)}`);
console.log(heatMap({ rows, columns, value: (query, key) => values[query * ids.length + key] as number }));
cache.destroy();
model.destroy();
