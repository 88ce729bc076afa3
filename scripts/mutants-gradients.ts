/** Bugs of the backward pass: what is forgotten on the way back, added to the wrong place, or left behind. */
import type { Mutant } from "./mutant.ts";

const VJP = ["test/gradients/vjp.test.ts"];
const KERNELS = ["test/gradients/kernels.test.ts"];
const EDITS = ["test/gradients/edits.test.ts"];
const BAD_INPUT = ["test/gradients/bad-input.test.ts"];

export const GRADIENT_MUTANTS: readonly Mutant[] = [
  {
    name: "gradients: an own metric's gradient is not compared with its value",
    file: "src/hooks/metric-gradient.ts",
    from: "if (checks) this.#check(",
    to: "if (!checks) this.#check(",
    tests: ["test/gradients/own-metric.test.ts"],
  },
  {
    name: "gradients: an own metric's check moves the logits but not the softmax",
    file: "shaders/metric_expression.wgsl",
    from: "vec2<f32>(parts.x, moved[i])",
    to: "parts",
    tests: ["test/gradients/own-metric.test.ts"],
  },
  {
    name: "gradients: RoPE turns on instead of back",
    file: "src/ops/rope.ts",
    from: "{ ...attributes, inverse: true }",
    to: "attributes",
    tests: VJP,
    quick: true,
  },
  {
    name: "gradients: a factor's gradient is multiplied by itself",
    file: "src/ops/multiply.ts",
    from: "sink.one(MULTIPLY, [y, dy], {})",
    to: "sink.one(MULTIPLY, [x, dy], {})",
    tests: VJP,
    quick: true,
  },
  {
    name: "gradients: the scale of an added term is forgotten",
    file: "src/ops/add.ts",
    from: "attributes.scale === 1 ? dy : sink.one(SCALE, [dy], attributes)",
    to: "dy",
    tests: VJP,
  },
  {
    name: "gradients: those of a matrix are transposed",
    file: "src/ops/matmul.ts",
    from: "sink.add(WEIGHT_GRADIENT, [dy, x], { weight })",
    to: "sink.add(WEIGHT_GRADIENT, [x, dy], { weight })",
    tests: VJP,
  },
  {
    name: "gradients: the soft cap of scores is forgotten",
    file: "src/ops/attention.ts",
    from: "softCap ? sink.one(CAP_GRADIENT, [scores, dScores], attributes) : dScores",
    to: "dScores",
    tests: VJP,
  },
  {
    name: "gradients: of what several ops read only the first one's counts",
    file: "src/graph/differentiate.ts",
    from: "before ? this.one(ADD, [before, grad], { scale: 1 }) : grad",
    to: "grad",
    tests: ["test/gradients/references.test.ts"],
  },
  {
    name: "gradients: scores that no query sees are not masked",
    file: "shaders/attention_cap_gradient.wgsl",
    from: "if (key > lastVisible(entry.x, entry.y) || key < firstVisible(entry.y)) {",
    to: "if (key > params.keyCount) {",
    tests: KERNELS,
  },
  {
    name: "gradients: a softmax without the sum over keys",
    file: "shaders/attention_softmax_gradient.wgsl",
    from: "(grad[start + key] - total)",
    to: "grad[start + key]",
    tests: KERNELS,
  },
  {
    name: "gradients: a key gets nothing of its own query",
    file: "src/ops/attention-blocks.ts",
    from: "queries.position(seen) < position) seen++",
    to: "queries.position(seen) <= position) seen++",
    tests: KERNELS,
  },
  {
    name: "gradients: a norm without the part along its result",
    file: "shaders/norm_gradient.wgsl",
    from: " - y * meanAlong) * factor",
    to: ") * factor",
    tests: KERNELS,
  },
  {
    name: "gradients: an embedding's overwrites what was added before",
    file: "shaders/table_gradient.wgsl",
    from: "+= params.scale * sum",
    to: "= params.scale * sum",
    tests: KERNELS,
  },
  {
    name: "gradients: every part of a matrix gets the first one's",
    file: "src/kernels/gradients.ts",
    from: "rowStart: isLinear ? part.firstRow * rowStride : 0",
    to: "rowStart: 0",
    tests: KERNELS,
  },
  {
    name: "gradients: rows that were selected come back in the first places",
    file: "src/ops/select.ts",
    from: "putRows(recorder, inputs[0] as View, kept, outputs[0] as View);",
    to: "putRows(recorder, inputs[0] as View, Array.from(kept.keys()), outputs[0] as View);",
    tests: KERNELS,
  },
  {
    name: "gradients: a tied unembedding gives nothing to the embedding",
    file: "src/model/weights/gradients.ts",
    from: 'isTied ? "W_E" : place',
    to: "place",
    tests: ["test/gradients/passes.test.ts"],
  },
  {
    name: "gradients: of a lerp what the value counts",
    file: "src/ops/edit-call.ts",
    from: "({ alpha }) => 1 - alpha",
    to: "({ alpha }) => alpha",
    tests: EDITS,
  },
  {
    name: "gradients: a failed pass leaves its gradients behind",
    file: "src/hooks/backward.ts",
    from: "    held.push(grads);\n",
    to: "",
    tests: BAD_INPUT,
  },
  {
    name: "circuits: a head's output passes by the divisor of the norm after attention",
    file: "src/hooks/circuits/outputs.ts",
    from: "(value, d) => ((value - mean) / scale) *",
    to: "(value, d) => (value - mean) *",
    tests: ["test/gradients/circuits.test.ts"],
  },
];
