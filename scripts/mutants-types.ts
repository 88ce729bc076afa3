/** Bugs of what only some model types have. */
import type { Mutant } from "./mutant.ts";

const VJP = ["test/gradients/vjp.test.ts"];
const TYPES = ["test/families/types.test.ts"];
const CUSTOM = ["test/engine/custom.test.ts"];
const SHARED_KEYS = ["test/families/shared-keys.test.ts"];
const GRADIENTS = ["test/gradients/types.test.ts"];

const LATENT = ["test/engine/latent.test.ts"];
const CONFIGS = ["test/families/latent.test.ts"];

export const TYPE_MUTANTS: readonly Mutant[] = [
  {
    name: "types: the part of keys that heads share has the gradient of one head",
    file: "src/ops/head-parts.ts",
    from: "heads > 1 && inputs[input]?.heads === 1 ? sink.one(SUM_HEADS, [own], {}) : own",
    to: "own",
    tests: VJP,
  },
  {
    name: "types: values are widened with what lay in memory",
    file: "src/ops/concat.ts",
    from: "if (!x) zeroRows(recorder, rows.count, place);",
    to: "if (!x) return;",
    tests: ["test/kernels/head-parts.test.ts"],
  },
  {
    name: "types: a chunk is a window",
    file: "shaders/attention_params.wgsl",
    from: "if (CHUNKED) {",
    to: "if (CHUNKED && false) {",
    tests: TYPES,
  },
  {
    name: "types: gradients see other chunks",
    file: "shaders/attention_gradient.wgsl",
    from: "if (CHUNKED) {",
    to: "if (CHUNKED && false) {",
    tests: ["test/gradients/types.test.ts"],
  },
  {
    name: "types: the other part of queries rotates",
    file: "src/model/trace-attention.ts",
    from: "rotated(b, turningQuery, turning)",
    to: "rotated(b, turningQuery, turningQuery)",
    tests: LATENT,
  },
  {
    name: "types: the cache is as wide as values",
    file: "src/model/weights/table.ts",
    from: "nKvHeadsOf(spec, layer) * attentionWidth(spec, layer) : 0",
    to: "nKvHeadsOf(spec, layer) * dValueOf(spec, layer) : 0",
    tests: LATENT,
  },
  {
    name: "types: YaRN's temperature counts once",
    file: "src/model/families/rope-config.ts",
    from: 'yarnScale(settings.number("factor"), mscale) ** 2',
    to: 'yarnScale(settings.number("factor"), mscale)',
    tests: CONFIGS,
  },
  {
    name: "types: layers without RoPE norm queries and keys",
    file: "src/model/weights/table.ts",
    from: 'attention.qkNorm !== "none" && layers[layer]?.qkNorm !== false',
    to: 'attention.qkNorm !== "none"',
    tests: TYPES,
  },
  {
    name: "types: keys that are not there take rows of a stacked projection",
    file: "src/model/weights/plan.ts",
    from: "WEIGHTS[name].place === place && isPerBlock(name) === inBlock && isWeightOf(spec, name, layer ?? 0)",
    to: "WEIGHTS[name].place === place && isPerBlock(name) === inBlock",
    tests: TYPES,
  },
  {
    name: "types: heads beside odd values are not aligned",
    file: "src/model/trace-attention.ts",
    from: "if (zeros === 0 && dValueOf(b.spec, b.layer) % 4 === 0) return x;",
    to: "if (zeros === 0) return x;",
    tests: ["test/engine/custom.test.ts"],
  },
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
    file: "src/model/trace-builder.ts",
    from: 'const isAbsent = name === "ln1" && !normsAttention(this.spec, this.layer);',
    to: "const isAbsent = false;",
    tests: CUSTOM,
  },
  {
    name: "further types: values are not normed",
    file: "src/model/trace-attention.ts",
    from: 'if (v && vNorm && vNorm.kind !== "none")',
    to: 'if (v && vNorm && vNorm.kind === "none")',
    tests: CUSTOM,
  },
  {
    name: "further types: each block has the first one's embedding of the token",
    file: "src/model/trace.ts",
    from: "{ head: layer }, this.at",
    to: "{ head: 0 }, this.at",
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
