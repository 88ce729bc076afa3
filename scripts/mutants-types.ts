/** Bugs of what only some model types have. */
import type { Mutant } from "./mutant.ts";

const VJP = ["test/gradients/vjp.test.ts"];
const TYPES = ["test/families/types.test.ts"];

export const TYPE_MUTANTS: readonly Mutant[] = [
  {
    name: "types: a sink's gradient has the wrong sign",
    file: "src/ops/sink-gradients.ts",
    from: "return -Math.exp(sinkOf(rowHead) - logSum) * along;",
    to: "return Math.exp(sinkOf(rowHead) - logSum) * along;",
    tests: VJP,
  },
  {
    name: "types: what was clamped has a gradient",
    file: "src/ops/clamp.ts",
    from: "isInside(x?.[i] as number) ? value : 0",
    to: "value",
    tests: VJP,
  },
  {
    name: "types: LongRoPE takes the other list",
    file: "src/model/rope.ts",
    from: "length > originalMaxPositions ? longFactors : shortFactors",
    to: "length > originalMaxPositions ? shortFactors : longFactors",
    tests: TYPES,
  },
  {
    name: "types: attention's output is added to the residual before its norm",
    file: "src/model/trace.ts",
    from: "if (normedResidual) residual = normed;",
    to: "",
    tests: TYPES,
  },
  {
    name: "types: every head and expert has the tensor of the first",
    file: "src/model/families/resolve.ts",
    from: "replaceAll(/\\{[eh]\\}/g, String(member))",
    to: 'replaceAll(/\\{[eh]\\}/g, "0")',
    tests: TYPES,
  },
];
