/** Bugs of what only some model types have. */
import type { Mutant } from "./mutant.ts";

const VJP = ["test/gradients/vjp.test.ts"];
const TYPES = ["test/families/types.test.ts"];
const CUSTOM = ["test/engine/custom.test.ts"];
const SHARED_KEYS = ["test/families/shared-keys.test.ts"];
const GRADIENTS = ["test/gradients/types.test.ts"];

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
  {
    name: "further types: the left alpha of xIELU has the gradient of its softplus",
    file: "src/ops/xielu.ts",
    from: "[0, sigmoid(alphaN) * leftPart(x)]",
    to: "[0, leftPart(x)]",
    tests: VJP,
  },
  {
    name: "further types: a block without a norm before attention has one",
    file: "src/model/trace.ts",
    from: 'const isAbsent = name === "ln1" && !normsAttention(this.spec, this.layer);',
    to: "const isAbsent = false;",
    tests: CUSTOM,
  },
  {
    name: "further types: values are not normed",
    file: "src/model/trace.ts",
    from: 'if (v && vNorm && vNorm.kind !== "none")',
    to: 'if (v && vNorm && vNorm.kind === "none")',
    tests: CUSTOM,
  },
  {
    name: "further types: each block has the first one's embedding of the token",
    file: "src/model/trace.ts",
    from: "{ head: layer }, this.#at",
    to: "{ head: 0 }, this.#at",
    tests: CUSTOM,
  },
  {
    name: "further types: rows of a sweep join after the block whose keys they read",
    file: "src/hooks/sweep-plan.ts",
    from: "[...ofModules, ...ofKeys, ...ofEmbeddings]",
    to: "[...ofModules]",
    tests: ["test/hooks/sweep.test.ts"],
  },
  {
    name: "further types: a cache has the size of its first layer's keys",
    file: "src/model/weights/table.ts",
    from: "layers[layer]?.keysFrom === undefined ? nKvHeadsOf",
    to: "layers[0]?.keysFrom === undefined ? nKvHeadsOf",
    tests: SHARED_KEYS,
  },
  {
    name: "further types: gradients that lie side by side are added as if they were packed",
    file: "src/ops/add.ts",
    from: "if (isPacked(view) && view.start === 0) return undefined;",
    to: "if (view.width > 0) return undefined;",
    tests: GRADIENTS,
  },
  {
    name: "further types: constants have gradients",
    file: "src/model/weights/tensors.ts",
    from: "planned.filter(({ place }) => !constants.has(place))",
    to: "planned",
    tests: GRADIENTS,
  },
];
