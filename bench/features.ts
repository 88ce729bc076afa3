/**
 * What a dictionary of features costs beside a matmul: encoding, as a share of what the adapter's matmuls reach at best, measured in
 * turn; and decoding of what is active, which gathers. GPT-2's width, 131,072 features of which 100 are active in a row.
 * `npm run bench:features -- --json --features 16384 --rows 64 --rounds 9`
 */
import "../src/node.ts";
import { CeilingProbe } from "../src/bench/ceilings.ts";
import { median } from "../src/bench/statistics.ts";
import { Gpu } from "../src/gpu/gpu.ts";
import { Recorder } from "../src/gpu/recorder.ts";
import { STORAGE_USAGE } from "../src/gpu/usage.ts";
import { requestGpu } from "../src/index.ts";
import { matmul } from "../src/kernels/calls.ts";
import { decodeActive, keepLargest } from "../src/kernels/dictionary.ts";
import type { Matrix } from "../src/kernels/matrix.ts";
import { packedView } from "../src/kernels/view.ts";
import { RandomStream } from "../src/model/random.ts";
import { bound, report } from "./measure.ts";

const argument = (name: string, otherwise: number) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
};
const [features, rows, rounds] = [argument("--features", 131_072), argument("--rows", 32), argument("--rounds", 7)];
const [width, active] = [768, 100];

const random = RandomStream.fromSeed(1, 0);
const numbers = (count: number) => Float32Array.from({ length: count }, () => random.next() - 0.5);

/** Random weights [features, width], in parts that each fit in a binding. */
function randomMatrix(gpu: Gpu): Matrix {
  const most = Math.min(features, Math.floor(gpu.host.limits.maxStorageBufferBindingSize / (4 * width)));
  const pattern = numbers(1024 * width);
  const parts = Array.from({ length: Math.ceil(features / most) }, (_, part) => {
    const firstRow = part * most;
    const here = Math.min(most, features - firstRow);
    const buffer = gpu.createBuffer(4 * here * width, STORAGE_USAGE, "weights");
    for (let row = 0; row < here; row += 1024)
      gpu.device.queue.writeBuffer(buffer, 4 * row * width, pattern, 0, Math.min(1024, here - row) * width);
    return { buffer, firstRow, rows: here };
  });
  return { outWidth: features, width, layout: "linear", stride: width, storage: "f32", parts };
}

const gpu = new Gpu(await requestGpu());
const encoder = randomMatrix(gpu);
using x = gpu.tensorFrom(numbers(rows * width), [rows, width], "x");
using acts = gpu.tensor([rows, features], "acts");
using out = gpu.tensor([rows, width], "out");

async function timed(record: (recorder: Recorder) => void): Promise<number> {
  const start = performance.now();
  await Recorder.run(gpu, "timed", record);
  await gpu.idle();
  return performance.now() - start;
}
const encode = () => timed((recorder) => matmul(recorder, x, rows, encoder, acts));
const keep = () => timed((recorder) => keepLargest(recorder, packedView(acts, features), rows, active));
const decode = () =>
  timed((recorder) => decodeActive(recorder, packedView(acts, features), rows, encoder, packedView(out, width)));

const sizes = { manyRows: [{ rows: 128, width, outWidth: 3072 }], oneRow: [{ rows: 1, width, outWidth: 3072 }] };
const probe = await CeilingProbe.find(gpu, { sizes });
const times: { encode: number; decode: number; gflops: number }[] = [];
for (let round = 0; round <= rounds; round++) {
  const { gflops } = await probe.measure();
  const encoding = await encode();
  await keep();
  times.push({ encode: encoding, decode: await decode(), gflops });
}
times.shift(); // compiled
const operations = 2 * rows * width * features;
const of = (value: (each: (typeof times)[number]) => number) => median(times.map(value));
const detail = {
  encode: of((each) => each.encode),
  decode: of((each) => each.decode),
  "ceiling, GFLOP/s": of((each) => each.gflops),
};
const bounds = [
  bound(
    `encoding ${features} features, share of the matmul ceiling`,
    of((each) => operations / each.encode / 1e6 / each.gflops),
    "at least",
    0.6,
    detail,
  ),
  bound(
    `decoding ${active} active of ${features}, share of encoding`,
    of((each) => each.decode / each.encode),
    "at most",
    0.1,
    detail,
  ),
];
report(bounds, gpu.host.adapterInfo, process.argv.includes("--json"));
probe.destroy();
gpu.destroy();
process.exitCode = bounds.every(({ ok }) => ok) ? 0 : 1;
