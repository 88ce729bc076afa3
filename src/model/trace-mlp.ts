/** The MLP as ops: one that all rows go through, or the experts that each row has chosen. */
import { ADD } from "../ops/add.ts";
import { CLAMP } from "../ops/clamp.ts";
import { ACTIVATION } from "../ops/elementwise.ts";
import { EXPERT_MATMUL } from "../ops/experts.ts";
import { MATMUL } from "../ops/matmul.ts";
import { MULTIPLY } from "../ops/multiply.ts";
import type { Shape, Value } from "../ops/op.ts";
import { ROUTE } from "../ops/route.ts";
import { SUM_HEADS } from "../ops/sum-heads.ts";
import { WEIGH } from "../ops/weigh.ts";
import { XIELU } from "../ops/xielu.ts";
import type { Activation, ExpertsSpec } from "./spec.ts";
import type { BlockBuilder } from "./trace-builder.ts";
import { dMlpOf, isSparse } from "./weights/table.ts";

/** What the MLP of a block adds, [row, dModel], before post-norm and multiplier. */
export function mlpOrExperts(b: BlockBuilder, x: Value): Value {
  const { spec, layer } = b;
  if (!isSparse(spec, layer)) return mlp(b, x, "", dMlpOf(spec, layer));
  const experts = spec.mlp.experts as ExpertsSpec;
  const out = besideShared(b, x, chosenExperts(b, x, experts), experts);
  b.name(out, b.at("mlp.hook_out"));
  return out;
}

/** What experts give, and what the MLP that all rows go through adds. */
function besideShared(b: BlockBuilder, x: Value, routed: Value, { shared }: ExpertsSpec): Value {
  if (!shared) return routed;
  let own = mlp(b, x, "shared_", shared.dMlp);
  if (shared.gate) {
    const parts = [{ heads: 1, width: 1 }];
    const gate = b.one(MATMUL, [x], { weight: b.weight("W_shared_weight"), parts });
    own = b.one(WEIGH, [own, b.one(ACTIVATION, [gate], { activation: "sigmoid" })], {});
  }
  b.name(own, b.at("mlp.hook_shared_out"));
  return b.one(ADD, [routed, own], { scale: 1 });
}

/** What the chosen experts of each row give, weighed and summed: [row, dModel]. */
function chosenExperts(
  b: BlockBuilder,
  x: Value,
  { count, perToken, dExpert, routing, weighsInput, clamp }: ExpertsSpec,
): Value {
  const { activation, kind } = b.spec.mlp;
  const router = {
    weight: b.weight("W_router"),
    bias: b.weight("b_router"),
    parts: [{ heads: 1, width: count }],
  };
  const logits = b.one(MATMUL, [x], router, b.at("mlp.hook_router_logits"));
  const bias = routing.choiceBias ? b.weight("b_choice") : undefined;
  const points = ["indices", "weights"].map((name) => [b.at(`mlp.hook_expert_${name}`)]);
  const [indices, weights] = b.add(ROUTE, [logits], { routing, chosen: perToken, bias }, { points }) as [Value, Value];
  const project = (name: string, input: Value, width: number, point: string) => {
    const weight = b.weight(`W_experts_${name}`);
    const attributes = { weight, bias: b.weight(`b_experts_${name}`), experts: count, width };
    return b.one(EXPERT_MATMUL, [input, indices], attributes, b.at(`mlp.hook_expert_${point}`));
  };
  const input = weighsInput ? b.one(WEIGH, [x, weights], {}) : x;
  const isGated = kind === "gated";
  const pre = project(isGated ? "gate" : "in", input, dExpert, "pre");
  const gate = clamp ? b.one(CLAMP, [pre], { most: clamp.limit, plus: 0 }) : pre;
  let post = b.one(ACTIVATION, [gate], { activation: activation as Activation });
  if (isGated) {
    const linear = project("in", input, dExpert, "pre_linear");
    const { limit = 0, plus = 0 } = clamp ?? {};
    post = b.one(MULTIPLY, [post, clamp ? b.one(CLAMP, [linear], { least: -limit, most: limit, plus }) : linear], {});
  }
  b.name(post, b.at("mlp.hook_expert_post"));
  const out = project("out", post, b.spec.dModel, "out");
  return b.one(SUM_HEADS, [weighsInput ? out : b.one(WEIGH, [out, weights], {})], {});
}

/** One MLP, [row, dModel]: the block's, or the one that all rows go through beside their experts. */
function mlp(b: BlockBuilder, x: Value, own: "" | "shared_", width: number): Value {
  const { spec } = b;
  const { activation, kind } = spec.mlp;
  const hidden = [{ heads: 1, width }];
  const project = (name: string, input: Value, parts: readonly Shape[], point?: string) => {
    const attributes = { weight: b.weight(`W_${own}${name}`), bias: b.weight(`b_${own}${name}`), parts };
    return b.one(MATMUL, [input], attributes, point && b.at(point));
  };
  const at = (name: string) => `mlp.hook_${own}${name}`;
  const isGated = kind === "gated";
  const pre = project(isGated ? "gate" : "in", x, hidden, at("pre"));
  let post =
    activation === "xielu"
      ? b.one(XIELU, [pre], { alphas: b.weight("xielu"), constants: b.weight("xieluConstants") })
      : b.one(ACTIVATION, [pre], { activation });
  if (isGated) post = b.one(MULTIPLY, [post, project("in", x, hidden, at("pre_linear"))], {});
  b.name(post, b.at(at("post")));
  return project("out", post, [{ heads: 1, width: spec.dModel }], own === "" ? "mlp.hook_out" : undefined);
}
