/** Dictionaries of features against SAELens on PyTorch: activations, and logits with the reconstruction or without a feature. */
import { loadDictionary, loadModel } from "../../src/index.ts";
import { checkClose, fixtureTensors } from "./families.ts";
import { type Check, showWorst } from "./harness.ts";

const CASES = [
  "gemma2-jumprelu",
  "gemma2-transcoder",
  "gpt2-standard",
  "gpt2-topk",
  "llama-jumprelu",
  "llama-skip_transcoder",
  "pythia-gated",
];

export const moduleChecks: Check[] = CASES.map((name) => ({
  name: `${name} is spliced in as SAELens does`,
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
