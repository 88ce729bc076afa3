/** The pieces of families whose MLPs are mixtures of experts. */
import type { ConfigReader } from "../config.ts";
import type { ExpertsSpec, LayerSpec, ModelSpec, RoutingSpec, TensorSource, WeightName } from "../spec.ts";
import type { Weights } from "./common.ts";
import { BLOCK } from "./llama-like.ts";

/** Weights divided by their sum. */
export const BY_SUM: NonNullable<RoutingSpec["normalize"]> = { plus: 0, atLeast: 0 };

/** Softmax over all experts; `normalize`: the weights of the chosen sum to 1, which makes it the softmax over the chosen. */
export function softmaxRouting(normalize: boolean): RoutingSpec {
  return { scores: "softmax", ...(normalize && { normalize: BY_SUM }), scale: 1 };
}

/** The spec with its MLPs replaced by experts, but in layers that are `dense`. Weights of dense MLPs stay where there are such layers. */
export function withExperts(
  spec: ModelSpec,
  experts: ExpertsSpec,
  weights: Weights,
  isDense: (layer: number) => boolean = () => false,
): ModelSpec {
  const layers = spec.layers.map((layer, i): LayerSpec => (isDense(i) ? { ...layer, dense: true } : layer));
  const hasDense = layers.some(({ dense }) => dense === true);
  const others = Object.entries(spec.weights).filter(([name]) => hasDense || !name.startsWith("mlp."));
  return {
    ...spec,
    mlp: { ...spec.mlp, experts },
    layers,
    weights: { ...Object.fromEntries(others), ...weights },
  };
}

/** The router's matrix. */
export function router(module = `${BLOCK}.mlp.gate`): Weights {
  return { "mlp.W_router": { tensor: `${module}.weight` } };
}

/** A tensor for each expert, named as `names` says. */
export function separateExperts(module: string, names: readonly [gate: string, up: string, down: string]): Weights {
  const [gate, up, down] = names.map((name) => ({ tensor: `${module}.{e}.${name}.weight` })) as [
    TensorSource,
    TensorSource,
    TensorSource,
  ];
  return { "mlp.experts.W_gate": gate, "mlp.experts.W_in": up, "mlp.experts.W_out": down };
}

export const PROJ = ["gate_proj", "up_proj", "down_proj"] as const;
/** Mixtral's names of the same. */
export const W132 = ["w1", "w3", "w2"] as const;

/** An MLP beside the experts. */
export function sharedMlp(module: string, bias = false): Weights {
  const parts = [
    ["gate", "gate_proj"],
    ["in", "up_proj"],
    ["out", "down_proj"],
  ] as const;
  return Object.fromEntries(
    parts.flatMap(([part, name]): [WeightName, TensorSource][] => [
      [`mlp.shared.W_${part}`, { tensor: `${module}.${name}.weight` }],
      ...(bias ? [[`mlp.shared.b_${part}`, { tensor: `${module}.${name}.bias` }] as [WeightName, TensorSource]] : []),
    ]),
  );
}

/** Gate and up in one tensor, the gate's rows before the others. */
export function gateThenUp(tensor: string, width: number): { gate: TensorSource; up: TensorSource } {
  const rows = { groups: 1, groupSize: 2 * width, count: width };
  return { gate: { tensor, rows: { ...rows, start: 0 } }, up: { tensor, rows: { ...rows, start: width } } };
}

/** Gate and up in one tensor, by turns. */
export function gateByUp(tensor: string, width: number): { gate: TensorSource; up: TensorSource } {
  const rows = { groups: width, groupSize: 2, count: 1 };
  return { gate: { tensor, rows: { ...rows, start: 0 } }, up: { tensor, rows: { ...rows, start: 1 } } };
}

/** DeepSeek V3's routing, which dots1 and glm4_moe share: sigmoid, a bias where experts are chosen, groups, a factor. */
export function deepseekRouting(config: ConfigReader, defaults: DeepseekDefaults): RoutingSpec {
  const count = config.integer("n_group", defaults.groups);
  return {
    scores: "sigmoid",
    choiceBias: true,
    ...(count > 1 && { groups: { count, chosen: config.integer("topk_group", defaults.groupsChosen), by: "topTwo" } }),
    ...(config.boolean("norm_topk_prob", defaults.normalize) && { normalize: { plus: 1e-20, atLeast: 0 } }),
    scale: config.number("routed_scaling_factor", defaults.scale),
  };
}

export interface DeepseekDefaults {
  groups: number;
  groupsChosen: number;
  normalize: boolean;
  scale: number;
}

/** DeepSeek V3's names of what routes, and of what every row goes through. */
export function deepseekExperts(): Weights {
  return {
    ...router(),
    "mlp.b_choice": { tensor: `${BLOCK}.mlp.gate.e_score_correction_bias` },
    ...separateExperts(`${BLOCK}.mlp.experts`, PROJ),
    ...sharedMlp(`${BLOCK}.mlp.shared_experts`),
  };
}
