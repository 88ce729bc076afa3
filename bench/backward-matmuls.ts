/**
 * How fast the matmuls of a backward pass are: of each projection of GPT-2, with 128 tokens, the forward's x W^T, and the
 * backward's dX = dY W and dW = dY^T x, with the kernels that these use, beside what the adapter's matmuls reach at best.
 * They are timed in turn, as the ceilings are (`src/bench/ceilings.ts`).
 */
import { CeilingProbe, RATE_TIMING } from "../src/bench/ceilings.ts";
import { median } from "../src/bench/statistics.ts";
import type { Gpu } from "../src/index.ts";
import { matmul } from "../src/kernels/calls.ts";
import { addWeightGradient, matmulTransposed } from "../src/kernels/gradients.ts";
import type { Matrix, WeightLayout } from "../src/kernels/matrix.ts";
import { type RecordOnce, Timer } from "../src/kernels/tuning/timer.ts";
import { randomWords } from "../src/kernels/tuning/workload.ts";
import { packedView } from "../src/kernels/view.ts";

interface Projection {
  readonly name: string;
  readonly width: number;
  readonly outWidth: number;
  readonly layout: WeightLayout;
}

export const WAYS = ["forward", "dX", "dW"] as const;
type Way = (typeof WAYS)[number];

/** GFLOP/s of each way, and the ceiling at the time. */
export interface Rates extends Record<Way, number> {
  readonly name: string;
  readonly operations: number;
  readonly ceiling: number;
}

const TOKENS = 128;

/** The projections of a block of GPT-2 of that width, and the unembedding, which is tied and so lies as the embedding does. */
export const projectionsOf = (dModel: number, vocabulary: number): readonly Projection[] => [
  { name: "queries, keys, values", width: dModel, outWidth: 3 * dModel, layout: "conv1d" },
  { name: "attention's output", width: dModel, outWidth: dModel, layout: "conv1d" },
  { name: "MLP's input", width: dModel, outWidth: 4 * dModel, layout: "conv1d" },
  { name: "MLP's output", width: 4 * dModel, outWidth: dModel, layout: "conv1d" },
  { name: "unembedding", width: dModel, outWidth: vocabulary, layout: "linear" },
];

export async function measureMatmuls(gpu: Gpu, projections: readonly Projection[]): Promise<Rates[]> {
  const probe = await CeilingProbe.find(gpu);
  try {
    const all: Rates[] = [];
    let before = (await probe.measure()).gflops;
    for (const projection of projections) {
      const rates = await timeProjection(gpu, projection);
      const after = (await probe.measure()).gflops;
      all.push({ ...rates, name: projection.name, ceiling: median([before, after]) });
      before = after;
    }
    return all;
  } finally {
    probe.destroy();
  }
}

async function timeProjection(
  gpu: Gpu,
  { width, outWidth, layout }: Projection,
): Promise<Record<Way | "operations", number>> {
  const stride = 4 * Math.ceil((layout === "linear" ? width : outWidth) / 4);
  const size = stride * (layout === "linear" ? outWidth : width);
  const tensor = (elements: number, seed: number) =>
    gpu.tensorFrom(randomWords(elements, "f32", seed), [elements], "operand for timing");
  using x = tensor(TOKENS * width, 1);
  using y = tensor(TOKENS * outWidth, 2);
  using weights = tensor(size, 3);
  using gradient = tensor(size, 4);
  const matrix = ({ buffer }: { buffer: GPUBuffer }): Matrix => ({
    layout,
    storage: "f32",
    width,
    outWidth,
    stride,
    parts: [{ buffer, firstRow: 0, rows: outWidth }],
  });
  const [W, dW] = [matrix(weights), matrix(gradient)];
  const [xs, ys] = [packedView(x, width), packedView(y, outWidth)];
  const records: Record<Way, RecordOnce> = {
    forward: (recorder) => matmul(recorder, x, TOKENS, W, y),
    dX: (recorder) => matmulTransposed(recorder, ys, TOKENS, W, xs, {}),
    dW: (recorder) => addWeightGradient(recorder, ys, xs, TOKENS, dW),
  };
  const timer = new Timer(gpu, "matmuls", RATE_TIMING);
  for (const way of WAYS) await timer.run(records[way], 1); // compiles
  await timer.time(records.forward); // finds how often a run repeats
  const times = await timer.timeInTurn(WAYS.map((way) => records[way]));
  const operations = 2 * TOKENS * width * outWidth;
  const [forward, dX, dW_] = times.map((ms) => operations / ms / 1e6) as [number, number, number];
  return { forward, dX, dW: dW_, operations };
}

/** Rates of several projections together: all their operations over all their time. */
export function together(rates: readonly Rates[]): Rates {
  const operations = rates.reduce((sum, each) => sum + each.operations, 0);
  const rate = (way: Way | "ceiling") => operations / rates.reduce((sum, each) => sum + each.operations / each[way], 0);
  const [forward, dX, dW, ceiling] = [rate("forward"), rate("dX"), rate("dW"), rate("ceiling")];
  return { name: "together", operations, forward, dX, dW, ceiling };
}

/** GFLOP/s, and the share of the ceiling, as a Markdown table. */
export function rateTable(rates: readonly Rates[]): string {
  const cells = (each: Rates) =>
    WAYS.map((way) => `${each[way].toFixed(1)} (${Math.round((100 * each[way]) / each.ceiling)}%)`);
  const rows = [...rates, together(rates)].map((each) => [each.name, ...cells(each), each.ceiling.toFixed(1)]);
  const lines = [["matmul", ...WAYS, "ceiling"], ["---", "---:", "---:", "---:", "---:"], ...rows];
  return lines.map((line) => `| ${line.join(" | ")} |`).join("\n");
}
