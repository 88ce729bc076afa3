/**
 * What gradients cost, as ratios against a plain forward in the same run, on the GPT-2 shape with 128 tokens: of every residual for a
 * logit difference at the last position, and of all weights for the loss. And how fast its matmuls are, see `backward-matmuls.ts`.
 * `npm run bench:gradients -- --json --shape mini --rounds 5`
 */
import "../src/node.ts";
import { RandomSource, SHAPES, type ShapeName } from "../src/bench/index.ts";
import { Gpu, type HookedModel, loadModel, metric, requestGpu } from "../src/index.ts";
import { measureMatmuls, projectionsOf, type Rates, rateTable, together, WAYS } from "./backward-matmuls.ts";
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

/** Backwards a matmul is to reach at least this share of the rate of the forward's. */
const LEAST_SHARE = 0.6;

function matmulBounds(rates: readonly Rates[]): Bound[] {
  return [...rates, together(rates)].flatMap((each) =>
    (["dX", "dW"] as const).map((way) => {
      const detail = Object.fromEntries([...WAYS, "ceiling" as const].map((name) => [`${name}, GFLOP/s`, each[name]]));
      return bound(
        `${each.name}, ${way}: of the forward's rate`,
        each[way] / each.forward,
        "at least",
        LEAST_SHARE,
        detail,
      );
    }),
  );
}

const gpu = new Gpu(await requestGpu());
const model = await loadModel(await RandomSource.create(shape), { gpu });
const isJson = process.argv.includes("--json");
const passes = await costs(model);
model.destroy();
const rates = await measureMatmuls(
  gpu,
  projectionsOf("n_embd" in shape ? shape.n_embd : shape.hidden_size, shape.vocab_size),
);
const bounds = [...passes, ...matmulBounds(rates)];
report(bounds, gpu.host.adapterInfo, isJson);
if (!isJson) console.log(rateTable(rates));
gpu.destroy();
process.exitCode = bounds.every(({ ok }) => ok) ? 0 : 1;
