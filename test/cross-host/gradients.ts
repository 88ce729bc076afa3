/** Gradients on every host are PyTorch's: of the residual stream, of patterns, and of all weights. */
import { loadModel, metric } from "../../src/index.ts";
import { checkClose, fixtureTensors, sharedGpu } from "./families.ts";
import { type Check, expectEqual, showWorst } from "./harness.ts";

/** Soft caps, windows, norms after and a tied head; weights as [in, out] and a table of positions. */
const FAMILIES = ["gemma2", "gpt2"];

export const gradientChecks: Check[] = FAMILIES.map((family) => ({
  name: `${family} gives PyTorch's gradients of points and weights`,
  async run(context) {
    const golden = await fixtureTensors(context, `families/${family}/golden.safetensors`);
    const expected = await fixtureTensors(context, `families/${family}/grads.safetensors`);
    const flat = [...(golden.get("input_ids") as Float32Array)];
    const ids = [flat.slice(0, flat.length / 2), flat.slice(flat.length / 2)];
    using model = await loadModel(`${context.fixtureUrl}families/${family}`, { gpu: await sharedGpu(context) });
    let worst = 0;
    const compare = (is: Float32Array, name: string) => {
      worst = Math.max(worst, checkClose(is, expected.get(name) as Float32Array, name));
    };
    using points = await model.backward(ids, {
      metric: metric.logitDiff(5, 7),
      at: ["*.hook_resid_pre", "*.hook_pattern"],
    });
    for (let layer = 0; layer < model.spec.nLayers; layer++) {
      compare(await points.grads.read(`blocks.${layer}.hook_resid_pre`), `d_hidden.${layer}`);
      compare(await points.grads.read(`blocks.${layer}.attn.hook_pattern`), `d_pattern.${layer}`);
    }
    using loss = await model.backward(ids, { metric: metric.loss(), weights: "*" });
    compare(loss.value, "loss");
    for (const name of loss.weights.names) compare(await loss.weights.read(name), `d_weight.${name}`);
    const weights = [...expected.keys()].filter((name) => name.startsWith("d_weight."));
    expectEqual(loss.weights.names.length, weights.length, "tensors");
    return showWorst(worst);
  },
}));
