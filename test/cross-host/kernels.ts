/**
 * Every way to compute a matmul and attention, on odd shapes: which of them an adapter takes by itself is its own choice.
 *
 * Most of the time goes into compiling. `test/kernels` compiles every combination by day, on Node. At night so do the other
 * hosts. By day Deno, whose compiler is another, compiles each piece of each kernel's WGSL, and Chromium, whose compiler is
 * Node's, what its models take.
 */
import { ATTENTION_FAMILY } from "../../src/kernels/attention.ts";
import { isBlockStorage, STORAGE_TYPES, type StorageType } from "../../src/kernels/storage.ts";
import { SHAPES as ATTENTION_SHAPES, attentionError, canRun, toleranceOf } from "../kernels/attention.cases.ts";
import { everyFp8 } from "../kernels/fp8.cases.ts";
import {
  ALL_MATMULS,
  type Case,
  isForTheNight,
  SHAPES as MATMUL_SHAPES,
  matmulError,
  shape as shapeOf,
  suits,
  TOLERANCE,
} from "../kernels/matmul.cases.ts";
import { type Check, type CheckContext, showWorst } from "./harness.ts";

function below(error: number, tolerance: number, what: string): number {
  if (!(error < tolerance)) throw new Error(`${what}: differs from the reference by ${error}`);
  return error;
}

/** How a matrix is stored and how its rows are read are pieces of their own: by day bf16 is read by fours, and f32 by ones. */
function matmulCases(shapes: readonly Case[], { isNight }: CheckContext): [Case, StorageType][] {
  if (isNight)
    return shapes.flatMap((shape): [Case, StorageType][] => [
      [shape, "f32"],
      [shape, "bf16"],
    ]);
  const byDay = shapes.map((shape): [Case, StorageType] => [shape, shape.width % 4 === 0 ? "bf16" : "f32"]);
  const lastOf = (wanted: StorageType) => byDay.filter(([, storage]) => storage === wanted).slice(-1);
  return [...lastOf("bf16"), ...lastOf("f32")];
}

const shapesNamed = (names: readonly string[]) =>
  names.map((wanted) => {
    const shape = ATTENTION_SHAPES.find(({ name }) => name === wanted);
    if (!shape) throw new Error(`There is no shape "${wanted}".`);
    return shape;
  });

/** By day these take two shapes: SwiftShader takes longest for them, and what shapes ask for is the same WGSL in all kernels. */
const LONGEST_TO_COMPILE = ["tiled", "single"];
const FEW_PIECES = shapesNamed([
  "dHead 260, two slices of output",
  "both ways through a window, some rows of long sequences",
]);

/** Every flag and piece of WGSL once. */
const PIECES = shapesNamed([
  "soft cap, window, ALiBi",
  "ALiBi rounded to bfloat16",
  "chunks of 5",
  "sinks of 2500 keys, a soft cap and a window",
  "dHead 260, two slices of output",
  "both ways through a window, some rows of long sequences",
]);

/** Weights in blocks: every storage, read four at a time and one at a time, and by the kernels that walk blocks. */
const blocksCheck: Check = {
  name: "matmul of weights in blocks",
  atNightIn: ["browser"],
  async run(context) {
    const gpu = await context.gpu();
    const test = shapeOf(1, 520, 13);
    let worst = 0;
    for (const storage of STORAGE_TYPES.filter(isBlockStorage)) {
      for (const kernel of ALL_MATMULS.filter(({ name }) => /^(reference|lanes 8x8|blocks .*)$/.test(name))) {
        for (const layout of kernel.layouts) {
          if (!kernel.fits(gpu.host, { rows: 1, layout, storage })) continue;
          const error = await matmulError(gpu, kernel, layout, storage, test);
          worst = Math.max(worst, below(error, TOLERANCE, `${kernel.name}, ${layout}, ${storage}`));
        }
      }
    }
    return showWorst(worst);
  },
};

const fp8Check: Check = {
  name: "every float of eight bits is its number",
  async run(context) {
    const { actual, expected } = await everyFp8(await context.gpu());
    const wrong = actual.findIndex((value, code) => value !== expected[code]);
    if (wrong >= 0) throw new Error(`three times code ${wrong} is ${actual[wrong]}, and should be ${expected[wrong]}`);
    return "256 codes";
  },
};

const matmulChecks: Check[] = ALL_MATMULS.filter(({ inBlocks }) => !inBlocks).flatMap((kernel) =>
  kernel.layouts.map((layout) => ({
    name: `matmul ${kernel.name}, ${layout}`,
    atNightIn: isForTheNight(kernel) ? ["browser", "deno"] : ["browser"],
    async run(context) {
      const gpu = await context.gpu();
      const shapes = MATMUL_SHAPES.filter((shape) => suits(kernel, layout, shape));
      if (!kernel.fits(gpu.host, { rows: shapes[0]?.rows as number, layout, storage: "f32" }))
        return "not for this adapter";
      let worst = 0;
      for (const [shape, storage] of matmulCases(shapes, context)) {
        const error = await matmulError(gpu, kernel, layout, storage, shape);
        worst = Math.max(worst, below(error, TOLERANCE, `${shape.name}, ${storage}`));
      }
      return showWorst(worst);
    },
  })),
);

const attentionChecks: Check[] = [...ATTENTION_FAMILY.candidates, ATTENTION_FAMILY.reference].map((attention) => ({
  name: `attention ${attention.name}`,
  atNightIn: ["browser"],
  async run(context) {
    const gpu = await context.gpu();
    const pieces = LONGEST_TO_COMPILE.includes(attention.name) ? FEW_PIECES : PIECES;
    const shapes = (context.isNight ? ATTENTION_SHAPES : pieces).filter((shape) => canRun(gpu, attention, shape));
    if (shapes.length === 0) return "not for this adapter";
    let worst = 0;
    for (const shape of shapes) {
      const error = below(await attentionError(gpu, attention, shape), toleranceOf(shape), shape.name);
      if (shape.scale !== 1e4) worst = Math.max(worst, error);
    }
    return showWorst(worst);
  },
}));

/** Checks of what an adapter cannot run pass, so that those it must be able to run are named here. */
const subgroupCheck: Check = {
  name: "Dawn's software adapters offer subgroups",
  async run(context) {
    const { adapterInfo, features } = (await context.gpu()).host;
    const needed = context.host !== "deno" && adapterInfo.isSoftware;
    if (needed && !features.has("subgroups")) throw new Error(`${adapterInfo.name} has none`);
    return undefined;
  },
};

/** What `test/kernels` has as tables of its own. */
export const kernelTables: readonly Check[] = [...matmulChecks, blocksCheck, fp8Check, ...attentionChecks];

export const kernelChecks: readonly Check[] = [subgroupCheck, ...kernelTables];
