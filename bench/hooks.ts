/**
 * What looking and changing cost, as ratios on the GPT-2 shape: captures against a plain forward, sweeps against one full
 * forward a cell
 * (every position's logits; a forward that unembeds the last position alone is timed beside it). `npm run bench:hooks -- --json --only captures --rounds 5`
 */
import "../src/node.ts";
import { RandomSource, SHAPES } from "../src/bench/index.ts";
import { type Edit, Gpu, type HookedModel, loadModel, metric, requestGpu } from "../src/index.ts";
import { type Bound, bound, interleave, ratio, report } from "./measure.ts";

const GPT2_SMALL = SHAPES.gpt2;
const ids = (count: number) => Array.from({ length: count }, (_, index) => (index * 7919) % GPT2_SMALL.vocab_size);
const last = metric.logit(11);

/** Waits until the GPU is done and frees the result: nothing is read back. */
async function forward(
  model: HookedModel,
  tokens: number[],
  options: Parameters<HookedModel["forward"]>[1] = {},
): Promise<void> {
  const result = await model.forward(tokens, options);
  await model.gpu.idle();
  result.destroy();
}

async function captures(model: HookedModel): Promise<Bound[]> {
  const tokens = ids(128);
  const most = model.pointNames((name) => !/hook_(attn_scores|pattern|result)$|^logits$/.test(name));
  const sides = [
    { name: "plain", run: () => forward(model, tokens) },
    { name: "resid_post", run: () => forward(model, tokens, { capture: "blocks.*.hook_resid_post" }) },
    { name: "most", run: () => forward(model, tokens, { capture: most }) },
  ];
  const memory = await captureMemory(model, tokens, most);
  const measured = await interleave(sides, rounds);
  const detail = Object.fromEntries(measured.map(({ name, median }) => [name, median]));
  return [
    memory,
    bound("capture every hook_resid_post, T=128", ratio(measured, "resid_post", "plain"), "at most", 1.05, detail),
    bound(
      "capture all but scores, pattern and result, T=128",
      ratio(measured, "most", "plain"),
      "at most",
      1.3,
      detail,
    ),
  ];
}

/** GPU memory that a capturing run needs beyond a plain one, against what it captured. */
async function captureMemory(model: HookedModel, tokens: number[], capture: string[]): Promise<Bound> {
  const { gpu } = model;
  gpu.pool.trim();
  const plain = await model.forward(tokens);
  const plainBytes = gpu.memory.bytes;
  plain.destroy();
  gpu.pool.trim();
  const looked = await model.forward(tokens, { capture });
  const lookedBytes = gpu.memory.bytes;
  const captured = looked.cache.byteLength;
  looked.destroy();
  const extra = (lookedBytes - plainBytes) / captured;
  return bound("GPU memory of a capturing run, per byte captured", extra, "at most", 1.05, {
    captured,
    plainBytes,
    lookedBytes,
  });
}

async function sweepBound(
  model: HookedModel,
  name: string,
  tokens: number[],
  cells: Edit[][],
  limit: { atMostForwards: number } | { atLeastFaster: number },
): Promise<Bound> {
  const one = cells[Math.floor(cells.length / 2)] as Edit[];
  const measured = await interleave(
    [
      { name: "one full forward", run: () => forward(model, tokens, { edits: one }) },
      { name: "sweep", run: async () => void (await model.sweep({ input: tokens, cells, metric: last })) },
      { name: "forward with the last logits only", run: () => forward(model, tokens, { edits: one, logits: "last" }) },
    ],
    rounds,
  );
  const forwards = ratio(measured, "sweep", "one full forward");
  const detail = { cells: cells.length, ...Object.fromEntries(measured.map((side) => [side.name, side.median])) };
  if ("atMostForwards" in limit)
    return bound(`${name}: full forwards`, forwards, "at most", limit.atMostForwards, detail);
  return bound(`${name}: times faster`, cells.length / forwards, "at least", limit.atLeastFaster, detail);
}

async function sweeps(model: HookedModel): Promise<Bound[]> {
  const layers = Array.from({ length: GPT2_SMALL.n_layer }, (_, layer) => layer);
  const value = new Float32Array(GPT2_SMALL.n_embd).fill(0.1);
  const residual = (layer: number, position: number): Edit => ({
    at: `blocks.${layer}.hook_resid_pre`,
    op: "set",
    positions: [position],
    value,
  });
  const grid = layers.flatMap((layer) => Array.from({ length: 32 }, (_, position) => [residual(layer, position)]));
  const lastPosition = layers.map((layer) => [residual(layer, -1)]);
  const heads = layers.flatMap((layer) =>
    Array.from({ length: GPT2_SMALL.n_head }, (_, head): Edit[] => [
      { at: `blocks.${layer}.attn.hook_z`, op: "zero", positions: [-1], heads: [head] },
    ]),
  );
  return [
    await sweepBound(model, "resid_pre grid, T=32, 384 cells", ids(32), grid, { atLeastFaster: 4 }),
    await sweepBound(model, "last position, 12 layers, T=256", ids(256), lastPosition, { atMostForwards: 1.2 }),
    await sweepBound(model, "144 heads' z at the last position, T=128", ids(128), heads, { atMostForwards: 2 }),
  ];
}

const argument = (name: string) =>
  process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined;
const rounds = Number(argument("--rounds") ?? 5);
const only = argument("--only");
const gpu = new Gpu(await requestGpu());
const model = await loadModel(await RandomSource.create(GPT2_SMALL), { gpu });
const bounds = [
  ...(only === "sweeps" ? [] : await captures(model)),
  ...(only === "captures" ? [] : await sweeps(model)),
];
report(bounds, gpu.host.adapterInfo, process.argv.includes("--json"));
model.destroy();
gpu.destroy();
process.exitCode = bounds.every(({ ok }) => ok) ? 0 : 1;
