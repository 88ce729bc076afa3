/**
 * What is checked once a release: models whose weights are larger than 4 GB in sum, and those that are streamed.
 *
 *   npm run release:large                  6 GB to load, half a gigabyte to stream, both made in build/
 *   npm run release:large -- 0.5 0.25       smaller ones, in gigabytes
 *
 * Takes some ten minutes on two cores with SwiftShader, 7 GB of disk and as much memory. Exits with 1 where a bound is not kept:
 *
 *   * JavaScript (heap, and what it holds beside the heap) stays below 300 MB while the first is loaded and runs;
 *   * the GPU's memory stays below its weights + 3%;
 *   * a streamed pass over 128 tokens takes at most reading + 1.2 times the resident pass (medians of five, in turn), and gives
 *     the same bits.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type HookedModel, loadModel } from "../src/hooks/index.ts";
import type { LoadOptions } from "../src/model/load.ts";
import type { LayerStream } from "../src/model/weights/stream.ts";
import { weightBuffers } from "../src/model/weights/weights.ts";
import "../src/node.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const MOST_JAVASCRIPT = 300e6;
const MOST_GPU = 1.03;
const MOST_COMPUTE = 1.2;
const RUNS = 5;
const TOKENS = 128;

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
const ids = (count: number) => Array.from({ length: count }, (_, index) => (index * 7919) % 32_000);
const bytesOf = ({ engine }: HookedModel) =>
  [...weightBuffers(engine.weights)].reduce((sum, { size }) => sum + size, 0);

const [large = 6, streamed = 0.5] = process.argv.slice(2).map(Number);
const failures: string[] = [];
await checkLarge(folderOf(large));
await checkStreamed(folderOf(streamed));
for (const failure of failures) console.error(`not kept: ${failure}`);
process.exit(failures.length > 0 ? 1 : 0);

/** The model of that size; a process of its own makes it, so that what that takes is not measured here. */
function folderOf(gigabytes: number): string {
  const folder = `${ROOT}build/large-${gigabytes}`;
  if (!existsSync(`${folder}/config.json`))
    execFileSync(process.execPath, ["--import", "tsx", `${ROOT}scripts/large-model.ts`, folder, String(gigabytes)]);
  return folder;
}

function check(kept: boolean, what: string): void {
  console.log(`${kept ? "ok" : "not ok"}: ${what}`);
  if (!kept) failures.push(what);
}

async function checkLarge(folder: string): Promise<void> {
  const resident = await loadAndRun(folder, {});
  const streamed = await loadAndRun(folder, { residency: "streamed" });
  check(
    resident.every(Number.isFinite) && resident.some((value) => value !== resident[0]),
    "logits are numbers, and differ",
  );
  check(isSame(resident, streamed), "streamed, they are the same bits");
}

function isSame(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((value, index) => Object.is(value, b[index]));
}

/** The last logits of 16 tokens; what the load and the pass hold is checked. */
async function loadAndRun(folder: string, where: Pick<LoadOptions, "residency">): Promise<Float32Array> {
  const javascript = watchJavaScript();
  const began = performance.now();
  using model = await loadModel(folder, { tune: false, ...where });
  const loaded = performance.now();
  using result = await model.forward(ids(16), { logits: "last" });
  const logits = await result.logits.read();
  const ran = performance.now();
  const peak = javascript.stop();
  const [weights, most] = [bytesOf(model), model.gpu.peakBytes];
  console.log(
    `${folder}, ${where.residency ?? "resident"}: ${megabytes(weights)} on the GPU, loaded in ${seconds(loaded - began)}, 16 tokens in ${seconds(ran - loaded)}`,
  );
  check(peak < MOST_JAVASCRIPT, `JavaScript held ${megabytes(peak)} at most, of ${megabytes(MOST_JAVASCRIPT)}`);
  check(
    most < MOST_GPU * weights,
    `the GPU held ${megabytes(most)} at most, ${(most / weights).toFixed(4)} of its weights`,
  );
  return logits;
}

/** The most that JavaScript holds: its heap, and buffers beside it. */
function watchJavaScript(): { stop(): number } {
  let most = 0;
  const look = () => {
    const { heapUsed, external } = process.memoryUsage();
    most = Math.max(most, heapUsed + external);
  };
  const timer = setInterval(look, 2);
  return {
    stop() {
      look();
      clearInterval(timer);
      return most;
    },
  };
}

async function checkStreamed(folder: string): Promise<void> {
  const resident = await loadModel(folder, { tune: false });
  const { gpu } = resident;
  const model = await loadModel(folder, { gpu, tune: false, residency: "streamed" });
  console.log(`${folder}: ${megabytes(bytesOf(resident))} resident, ${megabytes(bytesOf(model))} streamed`);
  const stream = model.engine.weights.stream as LayerStream;
  const pass = async (of: HookedModel) => {
    using result = await of.forward(ids(TOKENS), { logits: "last" });
    return await result.logits.read();
  };
  const sides = {
    resident: () => pass(resident),
    streamed: () => pass(model),
    // The same reads and writes as a pass makes, with nothing to compute in between.
    reading: async () => {
      for (const layer of stream.layers) await stream.bring(layer);
      await gpu.idle();
    },
  };
  const [expected, actual] = [await sides.resident(), await sides.streamed()];
  check(isSame(expected, actual), "a streamed pass gives the resident one's bits");
  const times: Record<string, number[]> = { resident: [], streamed: [], reading: [] };
  for (let run = 0; run < RUNS; run++) {
    for (const [name, side] of Object.entries(sides)) {
      const began = performance.now();
      await side();
      times[name]?.push(performance.now() - began);
    }
  }
  const median = (name: string) => (times[name] as number[]).sort((a, b) => a - b)[(RUNS - 1) / 2] as number;
  const [compute, whole, reading] = [median("resident"), median("streamed"), median("reading")];
  const bound = reading + MOST_COMPUTE * compute;
  check(
    whole <= bound,
    `${TOKENS} tokens streamed ${seconds(whole)}; resident ${seconds(compute)}, reading ${seconds(reading)}; bound ${seconds(bound)}`,
  );
  model.destroy();
  resident.destroy();
}
