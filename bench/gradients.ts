/**
 * What gradients cost, as ratios against a plain forward in the same run, on the GPT-2 shape with 128 tokens: of every residual for a
 * logit difference at the last position, and of all weights for the loss. `npm run bench:gradients -- --json --shape mini --rounds 5`
 */
import "../src/node.ts";
import { RandomSource, SHAPES, type ShapeName } from "../src/bench/index.ts";
import { Gpu, type HookedModel, loadModel, metric, requestGpu } from "../src/index.ts";
import { type Bound, bound, interleave, ratio, report } from "./measure.ts";

const argument = (name: string) =>
  process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined;
const rounds = Number(argument("--rounds") ?? 5);
const shape = SHAPES[(argument("--shape") ?? "gpt2") as ShapeName];
const tokens = Array.from({ length: 128 }, (_, index) => (index * 7919) % shape.vocab_size);
const difference = metric.logitDiff(5, 7);
const residuals = "*.hook_resid_pre";

async function costs(model: HookedModel): Promise<Bound[]> {
  const forward = (logits: "all" | "last") => async () => {
    const result = await model.forward(tokens, { logits });
    await model.gpu.idle();
    result.destroy();
  };
  const backward = (options: Parameters<HookedModel["backward"]>[1]) => async () => {
    const result = await model.backward(tokens, options);
    await model.gpu.idle();
    result.destroy();
  };
  const measured = await interleave(
    [
      { name: "forward", run: forward("last") },
      { name: "residuals", run: backward({ metric: difference, at: residuals }) },
      { name: "residuals and weights", run: backward({ metric: difference, at: residuals, weights: "*" }) },
      { name: "residuals, recomputed", run: backward({ metric: difference, at: residuals, recompute: true }) },
      { name: "forward, all logits", run: forward("all") },
      { name: "weights for the loss", run: backward({ metric: metric.loss(), weights: "*" }) },
    ],
    rounds,
  );
  const detail = Object.fromEntries(measured.map(({ name, median }) => [name, median]));
  return [
    bound(
      "gradients of every hook_resid_pre: forwards",
      ratio(measured, "residuals", "forward"),
      "at most",
      2.3,
      detail,
    ),
    bound("with all weights: forwards", ratio(measured, "residuals and weights", "forward"), "at most", 3.4, detail),
    bound("recomputed against kept", ratio(measured, "residuals, recomputed", "residuals"), "at most", 1.35, detail),
    bound(
      "all weights for the loss: forwards with all logits",
      ratio(measured, "weights for the loss", "forward, all logits"),
      "at most",
      3.4,
      detail,
    ),
  ];
}

const gpu = new Gpu(await requestGpu());
const model = await loadModel(await RandomSource.create(shape), { gpu });
const bounds = await costs(model);
report(bounds, gpu.host.adapterInfo, process.argv.includes("--json"));
model.destroy();
gpu.destroy();
process.exitCode = bounds.every(({ ok }) => ok) ? 0 : 1;
