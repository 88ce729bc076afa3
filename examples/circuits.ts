// Which edges between embeddings, heads and MLPs carry the answer, and how few of them suffice?
import { circuit, edgeAttribution, faithfulness, loadModel, metric } from "superlens";

const model = await loadModel(process.argv[2] as string);
const token = (word: string) => model.toSingleToken(word);
const prompts = {
  clean: "Lily saw a cat. She liked the ",
  corrupted: "Lily saw a bird. She liked the ",
  metric: metric.logitDiff(token("cat"), token("bird")),
};

const exact = await edgeAttribution(model, { ...prompts, method: "exact" });
const scores = (graph: typeof exact) => [...graph.edges.values()].map(({ score }) => score);
for (const method of ["eap", "eap-ig-inputs", "eap-ig-activations"] as const) {
  const graph = await edgeAttribution(model, { ...prompts, method });
  console.log(`${method}: correlation with exact patching ${correlation(scores(graph), scores(exact)).toFixed(2)}`);
}

const graph = await edgeAttribution(model, { ...prompts, method: "eap-ig-inputs" });
const largest = [...graph.edges.values()].sort((a, b) => Math.abs(b.score) - Math.abs(a.score)).slice(0, 5);
for (const { name, score } of largest) console.log(`${score.toFixed(2)}  ${name}`);
for (const n of [10, 20, 40, 80, graph.edges.size]) {
  const chosen = circuit(graph, n);
  const kept = [...chosen.edges.values()].filter(({ inGraph }) => inGraph).length;
  const { faithfulness: share } = await faithfulness(model, chosen, prompts);
  console.log(`${kept} of ${graph.edges.size} edges keep ${share.toFixed(2)} of the difference`);
}
model.destroy();

function correlation(a: readonly number[], b: readonly number[]): number {
  const centred = (values: readonly number[]) => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return values.map((value) => value - mean);
  };
  const product = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, value, at) => sum + value * (y[at] as number), 0);
  const [x, y] = [centred(a), centred(b)];
  return product(x, y) / Math.sqrt(product(x, x) * product(y, y));
}
