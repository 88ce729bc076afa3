/** Every way to compute a matmul and attention, on odd shapes: which of them an adapter takes by itself is its own choice. */
import { ATTENTION_FAMILY } from "../../src/kernels/attention.ts";
import { SHAPES as ATTENTION_SHAPES, attentionError, canRun, toleranceOf } from "../kernels/attention.cases.ts";
import { ALL_MATMULS, SHAPES as MATMUL_SHAPES, matmulError, suits, TOLERANCE } from "../kernels/matmul.cases.ts";
import { sharedGpu } from "./families.ts";
import { type Check, showWorst } from "./harness.ts";

function below(error: number, tolerance: number, what: string): number {
  if (!(error < tolerance)) throw new Error(`${what}: differs from the reference by ${error}`);
  return error;
}

const matmulChecks: Check[] = ALL_MATMULS.flatMap((kernel) =>
  kernel.layouts.map((layout) => ({
    name: `matmul ${kernel.name}, ${layout}`,
    async run(context) {
      const gpu = await sharedGpu(context);
      const shapes = MATMUL_SHAPES.filter((shape) => suits(kernel, layout, shape));
      if (!kernel.fits(gpu.host, { rows: shapes[0]?.rows as number, layout, storage: "f32" }))
        return "not for this adapter";
      let worst = 0;
      for (const shape of shapes) {
        for (const storage of ["f32", "bf16"] as const) {
          const error = await matmulError(gpu, kernel, layout, storage, shape);
          worst = Math.max(worst, below(error, TOLERANCE, `${shape.name}, ${storage}`));
        }
      }
      return showWorst(worst);
    },
  })),
);

const attentionChecks: Check[] = [...ATTENTION_FAMILY.candidates, ATTENTION_FAMILY.reference].map((attention) => ({
  name: `attention ${attention.name}`,
  async run(context) {
    const gpu = await sharedGpu(context);
    const shapes = ATTENTION_SHAPES.filter((shape) => canRun(gpu, attention, shape));
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
    const { adapterInfo, features } = (await sharedGpu(context)).host;
    const needed = context.host !== "deno" && adapterInfo.isSoftware;
    if (needed && !features.has("subgroups")) throw new Error(`${adapterInfo.name} has none`);
    return undefined;
  },
};

/** What `test/kernels` has as tables of its own. */
export const kernelTables: readonly Check[] = [...matmulChecks, ...attentionChecks];

export const kernelChecks: readonly Check[] = [subgroupCheck, ...kernelTables];
