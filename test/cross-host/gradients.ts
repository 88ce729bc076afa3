/** Gradients on every host are PyTorch's: of the residual stream, of patterns, and of all weights. */
import { loadModel, metric } from "../../src/index.ts";
import { checkClose, fixtureTensors } from "./families.ts";
import { type Check, expectEqual, showWorst } from "./harness.ts";

/** Soft caps, windows, norms after and a tied head; weights as [in, out] and a table of positions. */
const FAMILIES = ["gemma2", "gpt2"];

const ofPyTorch: Check[] = FAMILIES.map((family) => ({
  name: `${family} gives PyTorch's gradients of points and weights`,
  atNightIn: ["browser", "node"], // attributions.ts has some of them, in Node test/gradients/passes.test.ts all
  async run(context) {
    const golden = await fixtureTensors(context, `families/${family}/golden.safetensors`);
    const expected = await fixtureTensors(context, `families/${family}/grads.safetensors`);
    const flat = [...(golden.get("input_ids") as Float32Array)];
    const ids = [flat.slice(0, flat.length / 2), flat.slice(flat.length / 2)];
    using model = await loadModel(`${context.fixtureUrl}families/${family}`, { gpu: await context.gpu() });
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
    expectEqual(loss.zeros.length, 0, "tensors without gradient");
    const [before, after] = ["blocks.0.hook_mlp_out", "blocks.1.hook_resid_pre"] as const;
    using cut = await model.backward(ids, {
      metric: metric.logit(5),
      at: [before, after],
      edits: { at: after, op: "zero" },
    });
    expectEqual(cut.zeros.join(), before, "points before an edit that cuts");
    return showWorst(worst);
  },
}));

/** What each head and MLP reads has a gradient of its own. */
const readers: Check = {
  name: "gradients of the residuals that heads and MLPs read add up to that of the residual",
  atNightIn: ["browser"],
  async run(context) {
    using model = await loadModel(`${context.fixtureUrl}families/gemma2`, { gpu: await context.gpu() });
    const inputs = ["q", "k", "v"].map((name) => `blocks.1.hook_${name}_input`);
    const [before, middle] = ["blocks.1.hook_resid_pre", "blocks.1.hook_resid_mid"] as const;
    using result = await model.backward([3, 14, 15, 92], { metric: metric.logit(5), at: [before, middle, ...inputs] });
    const sum = await result.grads.read(middle);
    const { dModel } = model.spec;
    for (const name of inputs) {
      const own = await result.grads.read(name);
      const heads = own.length / sum.length;
      own.forEach((value, i) => {
        const at = Math.floor(i / dModel / heads) * dModel + (i % dModel);
        sum[at] = (sum[at] as number) + value;
      });
    }
    return showWorst(checkClose(sum, await result.grads.read(before), before));
  },
};

/** The same metric as expressions, and a wrong gradient of it. */
const ownMetric: Check = {
  name: "a metric of WGSL expressions is the one that is built in, and a wrong gradient is refused",
  atNightIn: ["browser"],
  async run(context) {
    using model = await loadModel(`${context.fixtureUrl}families/gpt2`, { gpu: await context.gpu() });
    const ids = [
      [3, 14, 15],
      [92, 6],
    ];
    const at = "blocks.0.hook_resid_pre";
    const term = "select(0.0, logP, token == 9)";
    const own = metric.wgsl({ term, gradient: "select(0.0, 1.0, token == 9) - p" });
    using expected = await model.backward(ids, { metric: metric.logProb(9), at });
    using result = await model.backward(ids, { metric: own, at });
    const worst = Math.max(
      checkClose(result.value, expected.value, "value"),
      checkClose(await result.grads.read(at), await expected.grads.read(at), at),
    );
    const wrong = metric.wgsl({ term, gradient: "select(0.0, 1.0, token == 9)" });
    const code = await model.backward(ids, { metric: wrong, at }).then(
      () => "no error",
      (error: { code: string }) => error.code,
    );
    expectEqual(code, "hook/metric-gradient", "code");
    return showWorst(worst);
  },
};

export const gradientChecks: Check[] = [...ofPyTorch, ownMetric, readers];
