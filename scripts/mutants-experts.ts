/** Bugs in mixtures of experts that tests must notice: routing, sorting, loading, the backward pass. */
import type { Mutant } from "./mutant.ts";

const MODEL = ["test/experts/model.test.ts"];
const ROUTING = ["test/experts/routing.test.ts"];
const KERNELS = ["test/experts/kernels.test.ts"];

export const EXPERT_MUTANTS: readonly Mutant[] = [
  {
    name: "experts: a group that is not chosen keeps its experts",
    file: "shaders/route.wgsl",
    from: "choice[e] = 0.0;",
    to: "choice[e] = choice[e];",
    tests: ROUTING,
  },
  {
    name: "experts: an expert is chosen twice",
    file: "shaders/route.wgsl",
    from: "isOpen[expert] = 0u;",
    to: "",
    tests: ROUTING,
  },
  {
    name: "experts: of equal scores the last expert is taken",
    file: "shaders/route.wgsl",
    from: "(bValue == aValue && b < a)",
    to: "(bValue == aValue && b > a)",
    tests: ROUTING,
  },
  {
    name: "experts: the bias of the choice counts in the weights",
    file: "src/ops/route-reference.ts",
    from: "const raw = indices.map((expert) => scores[expert] as number);\n  const divisor",
    to: "const raw = indices.map((expert) => (scores[expert] as number) + (bias?.[expert] ?? 0));\n  const divisor",
    tests: ROUTING,
  },
  {
    name: "experts: sorted pairs of a later part are taken from the first",
    file: "shaders/expert_matmul_grouped.wgsl",
    from: "stacked < params.firstRow || ",
    to: "",
    tests: KERNELS,
  },
  {
    name: "experts: the last block of an expert has no pairs",
    file: "shaders/expert_groups.wgsl",
    from: "(atomicLoad(&counts[expert]) + ROWS - 1u) / ROWS",
    to: "atomicLoad(&counts[expert]) / ROWS",
    tests: KERNELS,
  },
  {
    name: "experts: every slot reads what the first does",
    file: "src/kernels/experts.ts",
    from: "view === undefined || view.heads === 1 ? 0 : view.headStride",
    to: "0",
    tests: KERNELS,
  },
  {
    name: "experts: all experts are cut from the first one's part of a tensor",
    file: "src/model/weights/plan.ts",
    from: "member * rows * width",
    to: "0",
    tests: MODEL,
  },
  {
    name: "experts: weights are counted for all experts",
    file: "src/kernels/experts.ts",
    from: "Math.min(pairs, experts) * ofOne",
    to: "experts * ofOne",
    tests: MODEL,
  },
  {
    name: "experts: the softmax of the router has no gradient through the experts that were not chosen",
    file: "shaders/route_gradient.wgsl",
    from: "-= mean * exp(logit(row, e) - largest) / total;",
    to: "-= 0.0 * mean;",
    tests: ["test/gradients/kernels.test.ts"],
  },
];
