/**
 * Checks that a spec is a model that can run. First comes the form (`spec-schema.ts`), then the rules below: the numbers fit
 * together, and the spec has every weight that the model needs, of the right size, and no other.
 */
import { ConfigError } from "../errors.ts";
import type { ExpertsSpec, ModelSpec, RopeSpec, RoutingSpec, TensorSource } from "./spec.ts";
import { checkSpecForm } from "./spec-schema.ts";
import {
  dHeadOf,
  expertsIn,
  isPerBlock,
  isPerHead,
  isSparse,
  isWeightOf,
  nKvHeadsOf,
  type WeightName,
  weightShape,
  weightUses,
} from "./weights/table.ts";

/** One rule: the problems it finds, each a sentence without its full stop. */
type Rule = (spec: ModelSpec) => string[];

const RULES: Rule[] = [
  sizes,
  layers,
  latent,
  sharedKeys,
  perLayer,
  experts,
  ropes,
  positions,
  sinks,
  block,
  missingWeights,
  surplusWeights,
  tensorNames,
  rowCuts,
];

/**
 * Returns `spec`, typed. Throws `ConfigError` `config/spec` that names the file (`label`) and the first thing that is
 * wrong in form, or everything that does not fit together.
 */
export function validateSpec(spec: unknown, label: string): ModelSpec {
  checkSpecForm(spec, label);
  const checked = spec as ModelSpec;
  const problems = RULES.flatMap((rule) => rule(checked));
  if (problems.length === 0) return checked;
  throw new ConfigError("config/spec", `${label}: ${problems.map((problem) => `spec.${problem}.`).join(" ")}`);
}

function sizes(spec: ModelSpec): string[] {
  const { nHeads, dMlp, mlp, layers } = spec;
  const hasDense = mlp.absent !== true && layers.some((_, layer) => !isSparse(spec, layer));
  return problems(
    ...[spec.nKvHeads, ...layers.flatMap((layer) => layer.nKvHeads ?? [])].map(
      (count): Problem => [nHeads % count !== 0, `nHeads = ${nHeads} is not a multiple of nKvHeads = ${count}`],
    ),
    [dMlp === 0 && hasDense, "dMlp = 0, but the blocks have an MLP (mlp.absent is not true)"],
  );
}

function layers({ nLayers, layers, ropes, attention }: ModelSpec): string[] {
  return problems(
    [layers.length !== nLayers, `layers has ${layers.length} entries, but nLayers = ${nLayers}`],
    ...layers.flatMap(({ rope, window, chunk, qkNorm }, i): Problem[] => [
      [rope !== null && rope >= ropes.length, `layers[${i}].rope = ${rope}, but ropes has ${ropes.length} entries`],
      [chunk !== undefined && window !== null, `layers[${i}] has both window and chunk`],
      [chunk !== undefined && attention.causal === false, `layers[${i}].chunk needs causal attention`],
      [qkNorm === true && attention.qkNorm === "none", `layers[${i}].qkNorm is true, but attention.qkNorm is "none"`],
    ]),
  );
}

const LATENT_EXCLUDES = ["dHead", "nKvHeads", "keysFrom", "valuesFromKeys"] as const;

function latent({ attention, layers, nHeads, nKvHeads, dHead }: ModelSpec): string[] {
  const { latent, qkNorm, clamp, vNorm } = attention;
  if (!latent) return [];
  const { dRope } = latent;
  const other = layers.findIndex((layer) => LATENT_EXCLUDES.some((name) => layer[name] !== undefined));
  return problems(
    [other >= 0, `layers[${other}] has dHead, nKvHeads, keysFrom or valuesFromKeys, which attention.latent excludes`],
    [vNorm !== undefined, "attention.vNorm and attention.latent exclude each other"],
    [nKvHeads !== nHeads, `nKvHeads = ${nKvHeads} must be nHeads = ${nHeads} with attention.latent`],
    [dRope % 2 !== 0, `attention.latent.dRope = ${dRope} is odd`],
    [dRope >= dHead, `attention.latent.dRope = ${dRope} is not less than dHead = ${dHead}`],
    [qkNorm !== "none", `attention.qkNorm = "${qkNorm}" and attention.latent exclude each other`],
    [clamp !== undefined, "attention.clamp and attention.latent exclude each other"],
  );
}

/** Keys and values that a block takes from an earlier one are that block's own, and as wide as its heads. */
function sharedKeys(spec: ModelSpec): string[] {
  return spec.layers.flatMap(({ keysFrom: from, valuesFromKeys }, layer) => {
    if (from === undefined) return [];
    const path = `layers[${layer}]`;
    const width = (at: number) => `${nKvHeadsOf(spec, at)} heads of ${dHeadOf(spec, at)}`;
    return problems(
      [from >= layer, `${path}.keysFrom = ${from} is no earlier block`],
      [spec.layers[from]?.keysFrom !== undefined, `${path}.keysFrom = ${from}, which has no keys of its own`],
      [valuesFromKeys === true, `${path} has keysFrom and valuesFromKeys, which exclude each other`],
      [
        from < layer && width(from) !== width(layer),
        `${path}.keysFrom = ${from} has keys of ${width(from)}, not ${width(layer)}`,
      ],
    );
  });
}

function perLayer({ embed, vocabSize }: ModelSpec): string[] {
  const rows = embed.perLayer?.vocabSize ?? vocabSize;
  return problems([rows < vocabSize, `embed.perLayer.vocabSize = ${rows} is less than vocabSize = ${vocabSize}`]);
}

/** As many as fit in the workgroup memory of route.wgsl. */
const MOST_EXPERTS = 896;

function experts({ mlp, layers }: ModelSpec): string[] {
  const dense = layers.findIndex((layer) => layer.dense !== undefined);
  const { experts } = mlp;
  if (!experts) return problems([dense >= 0, `layers[${dense}].dense needs mlp.experts`]);
  const { count, perToken, routing, clamp } = experts;
  const { groups, scores } = routing;
  const isSparsemixer = scores === "sparsemixer";
  return problems(
    [mlp.absent === true, "mlp.experts and mlp.absent exclude each other"],
    [mlp.activation === "xielu", 'mlp.activation "xielu" is for one MLP a block, not for mlp.experts'],
    [count > MOST_EXPERTS, `mlp.experts.count = ${count} is more than ${MOST_EXPERTS}`],
    [perToken > count, `mlp.experts.perToken = ${perToken} is more than count = ${count}`],
    [clamp !== undefined && mlp.kind !== "gated", 'mlp.experts.clamp needs mlp.kind "gated"'],
    [isSparsemixer && perToken !== 2, "mlp.experts.perToken must be 2 with sparsemixer"],
    [isSparsemixer && routing.tolerance === undefined, "mlp.experts.routing.tolerance is missing"],
    [!isSparsemixer && routing.tolerance !== undefined, "mlp.experts.routing.tolerance is sparsemixer's"],
    [
      isSparsemixer && (routing.choiceBias === true || groups !== undefined || routing.normalize !== undefined),
      "mlp.experts.routing has choiceBias, groups or normalize, which sparsemixer has not",
    ],
    ...(groups ? groupProblems(groups, experts) : []),
  );
}

function groupProblems(
  { count: groups, chosen, by }: NonNullable<RoutingSpec["groups"]>,
  { count }: ExpertsSpec,
): Problem[] {
  return [
    [count % groups !== 0, `mlp.experts.routing.groups.count = ${groups} does not divide count = ${count}`],
    [chosen > groups, `mlp.experts.routing.groups.chosen = ${chosen} is more than its count = ${groups}`],
    [
      by === "topTwo" && count / groups < 2,
      'mlp.experts.routing.groups.by "topTwo" needs groups of two experts at least',
    ],
  ];
}

function ropes(spec: ModelSpec): string[] {
  const { latent } = spec.attention;
  return spec.ropes.flatMap((rope, i) => {
    const turned = spec.layers.flatMap((layer, at) => (layer.rope === i ? [dHeadOf(spec, at)] : []));
    const least = Math.min(...(turned.length > 0 ? turned : [spec.dHead]));
    const [width, name] = latent ? [latent.dRope, "attention.latent.dRope"] : [least, "dHead"];
    return ropeProblems(rope, `ropes[${i}]`, width, name);
  });
}

function ropeProblems({ rotaryDim, scaling, theta }: RopeSpec, path: string, width: number, name: string): string[] {
  const isLlama3 = scaling.kind === "llama3";
  const factors = scaling.kind === "longrope" ? ([scaling.shortFactors, scaling.longFactors] as const) : [];
  return problems(
    [
      factors.some(({ length }) => length !== rotaryDim / 2),
      `${path}.scaling has ${factors.map(({ length }) => length).join(" and ")} factors for ${rotaryDim / 2} frequencies`,
    ],
    [rotaryDim % 2 !== 0, `${path}.rotaryDim = ${rotaryDim} is odd`],
    [rotaryDim > width, `${path}.rotaryDim = ${rotaryDim} is more than ${name} = ${width}`],
    [theta === 1 && scaling.kind === "yarn", `${path}.theta = 1 leaves YaRN without a range of frequencies`],
    [scaling.kind === "proportional" && scaling.share > 1, `${path}.scaling.share is more than 1`],
    [scaling.kind === "dynamic" && rotaryDim === 2, `${path}.rotaryDim = 2 is too small for dynamic scaling`],
    [
      isLlama3 && scaling.highFreqFactor <= scaling.lowFreqFactor,
      `${path}.scaling.highFreqFactor must be more than lowFreqFactor`,
    ],
  );
}

function positions({ positions, nHeads }: ModelSpec): string[] {
  if (positions.kind !== "alibi") return [];
  const { length } = positions.slopes;
  return problems([length !== nHeads, `positions.slopes has ${length} entries, but nHeads = ${nHeads}`]);
}

/** Kernels read one number a head: its slope or its sink. */
function sinks({ attention, positions }: ModelSpec): string[] {
  const both = attention.sinks === true && positions.kind === "alibi";
  return problems([both, 'attention.sinks needs positions other than "alibi"']);
}

function block({ block, embed, norm, layers }: ModelSpec): string[] {
  const isParallel = block.residual === "parallel";
  const unnormed = layers.findIndex(({ attentionNorm }) => attentionNorm === false);
  const hasOwnNorm = !isParallel && !block.normedResidual && ["pre", "sandwich"].includes(block.norms);
  return problems(
    [block.parallelSharedNorm && !isParallel, 'block.parallelSharedNorm needs block.residual "parallel"'],
    [isParallel && block.norms !== "pre", `block.residual "parallel" needs block.norms "pre", not "${block.norms}"`],
    [
      block.normedResidual === true && (isParallel || block.norms !== "pre"),
      'block.normedResidual needs block.residual "sequential" and block.norms "pre"',
    ],
    [
      unnormed >= 0 && !hasOwnNorm,
      `layers[${unnormed}].attentionNorm = false needs block.residual "sequential" and block.norms "pre" or "sandwich", without normedResidual`,
    ],
    [embed.norm && norm.kind === "none", 'embed.norm is true, but norm.kind is "none"'],
  );
}

function missingWeights(spec: ModelSpec): string[] {
  return [...weightUses(spec)]
    .filter(([name, use]) => use === "required" && !spec.weights[name])
    .map(([name]) => `weights lacks "${name}", which this spec needs`);
}

function surplusWeights(spec: ModelSpec): string[] {
  const uses = weightUses(spec);
  return sources(spec)
    .filter(([name]) => !uses.has(name))
    .map(([name]) => `weights has "${name}", for which this spec has no use`);
}

function tensorNames(spec: ModelSpec): string[] {
  const uses = weightUses(spec);
  return sources(spec).flatMap(([name, { tensor, optional }]) =>
    problems(
      [tensor === "", `weights["${name}"].tensor is empty`],
      [
        tensor.includes("{h}") && !isPerHead(spec, name),
        `weights["${name}"].tensor = "${tensor}" has {h}, but no heads`,
      ],
      [isPerBlock(name) && !tensor.includes("{i}"), `weights["${name}"].tensor = "${tensor}" lacks {i}, the layer`],
      [!isPerBlock(name) && tensor.includes("{i}"), `weights["${name}"].tensor = "${tensor}" has {i}, but no layer`],
      [
        expertsIn(spec, name) === 0 && tensor.includes("{e}"),
        `weights["${name}"].tensor = "${tensor}" has {e}, but no expert`,
      ],
      [optional === true && uses.get(name) === "required", `weights["${name}"].optional is true, but it is needed`],
    ),
  );
}

function rowCuts(spec: ModelSpec): string[] {
  return sources(spec).flatMap(([name, { rows }]) => {
    if (!rows) return [];
    const { groups, groupSize, start, count } = rows;
    const layers = isPerBlock(name) ? spec.layers.map((_, layer) => layer) : [0];
    const needed = new Set(
      layers
        .filter((layer) => isWeightOf(spec, name, layer))
        .map((layer) => weightShape(spec, name, layer)[0] as number),
    );
    const experts = expertsIn(spec, name) || 1;
    return problems(
      [start + count > groupSize, `weights["${name}"].rows ends at ${start + count} in a group of ${groupSize}`],
      ...[...needed].map((rowsNeeded): Problem => {
        const own = rowsNeeded / experts;
        return [groups * count !== own, `weights["${name}"].rows takes ${groups * count} rows, but ${own} are needed`];
      }),
    );
  });
}

function sources({ weights }: ModelSpec): [WeightName, TensorSource][] {
  return Object.entries(weights).filter(([, source]) => source !== undefined) as [WeightName, TensorSource][];
}

type Problem = [isProblem: boolean, message: string];

function problems(...found: Problem[]): string[] {
  return found.filter(([isProblem]) => isProblem).map(([, message]) => message);
}
