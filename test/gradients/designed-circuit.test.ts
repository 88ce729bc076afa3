/**
 * The circuit of a constructed transformer is known: its weights connect 30 of 175 edges, and a changed label runs through 11 of them.
 * Exact patching finds these and no other. Gradients find less, since attention and thresholds of the construction saturate.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LoadedReader, readersOf } from "../../src/hooks/circuits/readers.ts";
import { CircuitGraph, circuit, edgeAttribution, faithfulness, type HookedModel } from "../../src/hooks/index.ts";
import { inMemory, loadSuperposition } from "../../src/theory/model-folder.ts";
import { built, PATH, PROMPTS } from "../support/designed-circuit.ts";
import { testGpu } from "../support/gpu.ts";

let model: HookedModel;
let designed: Set<string>;
beforeAll(async () => {
  ({ model } = await loadSuperposition(inMemory(built), { gpu: await testGpu() }));
  designed = await designedEdges();
});
afterAll(() => model.destroy());

/** The edges whose source writes, by the weights, where their reader reads. */
async function designedEdges(): Promise<Set<string>> {
  const { dModel, nLayers, nHeads } = model.spec;
  const rowsOf = (data: Float32Array) =>
    Array.from({ length: data.length / dModel }, (_, row) => data.subarray(row * dModel, (row + 1) * dModel));
  const read = async (name: string) => (await model.weight(name)).data;
  const written = new Map([["input", [...rowsOf(await read("W_E")), ...rowsOf(await read("W_pos"))]]]);
  for (let layer = 0; layer < nLayers; layer++) {
    const heads = await read(`blocks.${layer}.attn.W_O`);
    const size = heads.length / nHeads;
    for (let head = 0; head < nHeads; head++)
      written.set(`a${layer}.h${head}`, rowsOf(heads.subarray(head * size, (head + 1) * size)));
    written.set(`m${layer}`, rowsOf(await read(`blocks.${layer}.mlp.W_out`)));
  }
  const unembed = await read("W_U");
  const reads = ({ projections }: LoadedReader, direction: Float32Array) =>
    projections.some(({ weight = unembed }) => {
      const width = weight.length / dModel;
      return Array.from({ length: width }, (_, n) =>
        direction.reduce((sum, value, d) => sum + value * (weight[d * width + n] as number), 0),
      ).some((value) => Math.abs(value) > 1e-6);
    });
  const edges = new Set<string>();
  for (const reader of readersOf(model, CircuitGraph.of(model.spec))) {
    const loaded = await reader.load();
    for (const source of reader.sources)
      if (written.get(source)?.some((direction) => reads(loaded, direction))) edges.add(`${source}->${reader.name}`);
  }
  return edges;
}

/** Edges with a score, largest first. */
const scored = (graph: CircuitGraph) =>
  [...graph.edges.values()]
    .filter(({ score }) => Math.abs(score) > 1e-3)
    .sort((a, b) => Math.abs(b.score) - Math.abs(a.score))
    .map(({ name }) => name);

const share = (of: readonly string[], within: ReadonlySet<string>) =>
  of.filter((name) => within.has(name)).length / of.length;

describe("the circuit of a constructed transformer", () => {
  it("is designed", () => {
    expect(designed.size).toBe(30);
    expect(share(PATH, designed)).toBe(1);
  });

  it.each([
    ["eap", 3 / 11],
    ["eap-ig-inputs", 5 / 11],
    ["eap-ig-activations", 7 / 11],
    ["exact", 1],
  ] as const)("is found by %s: no edge but designed ones", async (method, least) => {
    const found = scored(await edgeAttribution(model, { ...PROMPTS, method }));
    const onPath = share(PATH, new Set(found));
    console.info(
      `${method}: ${found.length} edges; precision ${share(found, designed)}, recall of the path ${onPath.toFixed(2)}`,
    );
    expect(share(found, designed)).toBe(1);
    expect(onPath).toBeGreaterThanOrEqual(least);
  });

  it("is faithful when exact patching chooses it", async () => {
    const graph = await edgeAttribution(model, { ...PROMPTS, method: "exact" });
    const chosen = circuit(graph, PATH.length);
    expect(new Set([...chosen.edges.values()].flatMap(({ name, inGraph }) => (inGraph ? [name] : [])))).toEqual(
      new Set(PATH),
    );
    expect((await faithfulness(model, chosen, PROMPTS)).faithfulness).toBeCloseTo(1, 5);
    const saturated = circuit(await edgeAttribution(model, { ...PROMPTS, method: "eap" }), PATH.length);
    expect((await faithfulness(model, saturated, PROMPTS)).faithfulness).toBeLessThan(0.1);
  });
});
