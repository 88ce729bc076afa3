/** Dictionaries of features against SAELens on PyTorch: activations, and logits with the reconstruction or without a feature; attribution graphs. */
import { FilesSource, writeSafetensors } from "../../src/checkpoint/index.ts";
import { attributionGraph, loadDictionary, loadModel } from "../../src/index.ts";
import { checkClose, fixtureTensors } from "./families.ts";
import { byDayIn, type Check, showWorst } from "./harness.ts";

const CASES = [
  "gemma2-jumprelu",
  "gemma2-transcoder",
  "gpt2-standard",
  "gpt2-topk",
  "llama-jumprelu",
  "llama-skip_transcoder",
  "pythia-gated",
];

const byDay = byDayIn({ browser: ["gpt2-topk", "gemma2-jumprelu"] });

const spliceChecks: Check[] = CASES.map((name) => ({
  name: `${name} is spliced in as SAELens does`,
  ...byDay(name),
  async run(context) {
    const { model: family } = JSON.parse(
      new TextDecoder().decode(await context.loadFixture(`modules/${name}/model.json`)),
    );
    const expected = await fixtureTensors(context, `modules/${name}/golden.safetensors`);
    const flat = [
      ...((await fixtureTensors(context, `families/${family}/golden.safetensors`)).get("input_ids") as Float32Array),
    ];
    const ids = [flat.slice(0, flat.length / 2), flat.slice(flat.length / 2)];
    using model = await loadModel(`${context.fixtureUrl}families/${family}`, { gpu: await context.gpu() });
    using dictionary = await loadDictionary(model, `${context.fixtureUrl}modules/${name}`);
    const acts = `${dictionary.hook}.hook_sae_acts_post`;
    using alone = model.withModules(dictionary, { error: false });
    using result = await alone.forward(ids, { capture: acts });
    const zeroed = [...expected.keys()].find((key) => key.startsWith("logits.zero")) as string;
    using spliced = model.withModules(dictionary);
    const edits = { at: acts, op: "zero", dims: [Number(zeroed.slice("logits.zero".length))] } as const;
    using edited = await spliced.forward(ids, { edits });
    const worst = Math.max(
      checkClose(await result.cache.read(acts), expected.get("acts") as Float32Array, "activations"),
      checkClose(await result.logits.read(), expected.get("logits.spliced") as Float32Array, "logits"),
      checkClose(await edited.logits.read(), expected.get(zeroed) as Float32Array, "logits without a feature"),
    );
    return showWorst(worst);
  },
}));

/** Transcoders of a block, made here: circuit-tracer's files. */
function transcoderFile(layer: number): Blob {
  const names = { W_enc: [12, 32], W_dec: [12, 32], b_enc: [12], b_dec: [32] };
  const tensors = Object.entries(names).map(([name, shape], index) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const data = Float32Array.from({ length: count }, (_, i) => 0.3 * Math.sin((i + 1) * (layer + 2) * (index + 1.7)));
    return { name, dtype: "F32" as const, shape, data: new Uint8Array(data.buffer) };
  });
  return new Blob([writeSafetensors(tensors) as BlobPart]);
}

const graphCheck: Check = {
  name: "the edges of an attribution graph add up to each feature and logit",
  atNightIn: ["browser"],
  async run(context) {
    using model = await loadModel(`${context.fixtureUrl}families/llama`, { gpu: await context.gpu() });
    const files = [0, 1, 2].map((layer) => ({ name: `layer_${layer}.safetensors`, blob: transcoderFile(layer) }));
    const source = new FilesSource(files, "transcoders");
    using transcoders = await loadDictionary(model, source, { hook: "mlp.hook_in", hookOut: "mlp.hook_out" });
    const graph = await attributionGraph(model, transcoders, { input: [5, 6, 7, 8], maxFeatures: 20 });
    const targets = graph.nodes.flatMap((node, index) => {
      if (node.kind !== "feature" && node.kind !== "logit") return [];
      const edges = graph.into(index).reduce((sum, { weight }) => sum + weight, 0);
      const sum = edges + node.bias + node.leftOut;
      return [{ sum, value: node.kind === "feature" ? node.activation : node.logit }];
    });
    if (targets.length < 21) throw new Error(`only ${targets.length} targets`);
    const [sums, values] = [targets.map(({ sum }) => sum), targets.map(({ value }) => value)];
    return showWorst(checkClose(Float32Array.from(sums), Float32Array.from(values), "sums of edges"));
  },
};

export const moduleChecks: Check[] = [...spliceChecks, graphCheck];
