/**
 * Every weight that a model can have, one row each. From the rows follow the `weights` of a spec, what loading reads and where
 * it puts it, the memory that `inspect` predicts, and the names and shapes for `model.weight`.
 *
 * Axes are written as in einops. `(head dHead) dModel -> head dModel dHead` is stored as a matrix [head * dHead, dModel]: [out,
 * in], the layout of `torch.nn.Linear`. TransformerLens calls it [head, dModel, dHead]. Without an arrow both are the same.
 */
import type { Architecture } from "../architecture.ts";

type Condition = (spec: Architecture) => boolean;

/** Whether a block's MLP is a mixture of experts. */
export function isSparse({ mlp, layers }: Architecture, layer: number): boolean {
  return mlp.experts !== undefined && layers[layer]?.dense !== true;
}

/** Whether a block makes keys and values, rather than read those of an earlier one; and whether its values have a projection. */
export const ownsKeys = ({ layers }: Architecture, layer: number): boolean => layers[layer]?.keysFrom === undefined;
export const projectsValues = (spec: Architecture, layer: number): boolean =>
  ownsKeys(spec, layer) && spec.layers[layer]?.valuesFromKeys !== true;

const isDense = (spec: Architecture, layer: number) => !isSparse(spec, layer);

/** A weight, of one block or of the whole model. */
export interface WeightRow {
  /** TransformerLens's name; `{i}` stands for the block, where each has its own. */
  readonly lens: string;
  /** Its place in `Weights`, or else in `BlockWeights`. Weights of one place lie there stacked, in the order of the table. */
  readonly place: string;
  readonly axes: string | ((spec: Architecture) => string);
  /**
   * How it lies on the GPU: a `matrix` keeps the checkpoint's type; a `vector` is f32, and so is an `f32 matrix`, which a kernel
   * adds to a matrix of any type.
   */
  readonly form: "matrix" | "f32 matrix" | "vector";
  /** Whether a model has use for it. */
  readonly when: Condition;
  /** Whether it may be absent all the same; it then counts as zero. */
  readonly isOptional?: boolean;
  /** Rows before the first that `axes` counts. */
  readonly spare?: (spec: Architecture) => number;
  /** The blocks that have it; all unless told. */
  readonly inBlock?: (spec: Architecture, layer: number) => boolean;
  /** Every expert has one. They lie stacked, those of the first expert first. */
  readonly perExpert?: boolean;
  /** Training leaves it as it is, and it has no gradient: a buffer in PyTorch, not a parameter. Its place holds such weights alone. */
  readonly isConstant?: boolean;
  /** What training from scratch begins with: of a vector, where that is neither a norm's weight nor zero. */
  readonly initial?: number;
}

const always: Condition = () => true;
const hasMlp: Condition = ({ mlp }) => mlp.absent !== true;
const hasExperts: Condition = ({ mlp }) => mlp.experts !== undefined;
const gatesExperts: Condition = (spec) => hasExperts(spec) && spec.mlp.kind === "gated";
const hasShared: Condition = ({ mlp }) => mlp.experts?.shared !== undefined;
const gatesShared: Condition = (spec) => hasShared(spec) && spec.mlp.kind === "gated";
const hasDense: Condition = (spec) => hasMlp(spec) && spec.layers.some((_, layer) => !isSparse(spec, layer));
const gatesDense: Condition = (spec) => hasDense(spec) && spec.mlp.kind === "gated";
const hasWeights = ({ kind, affine }: Architecture["norm"]) => kind !== "none" && affine !== false;
const hasNorms: Condition = ({ norm }) => hasWeights(norm);
const normsBefore: Condition = (spec) => hasNorms(spec) && !["post", "added"].includes(spec.block.norms);
const normsAfter: Condition = (spec) => hasNorms(spec) && spec.block.norms !== "pre";
/** Whether attention of a block reads the residual through a norm, where the model has norms before its branches. */
export const normsAttention = ({ layers }: Architecture, layer: number) => layers[layer]?.attentionNorm !== false;
const isTransformed: Condition = ({ unembed }) => unembed.transform !== undefined;
const hasPerLayer: Condition = ({ embed }) => embed.perLayer !== undefined;
const normsValues: Condition = ({ attention }) => attention.vNorm !== undefined && hasWeights(attention.vNorm);
const isProjected: Condition = ({ embed }) => embed.width !== undefined;
const hasMlpNorm: Condition = (spec) => hasMlp(spec) && !spec.block.parallelSharedNorm;
const normsQk: Condition = ({ attention }) => attention.qkNorm !== "none" && hasWeights(attention.qkNormSpec);
const isLatent: Condition = ({ attention }) => attention.latent !== undefined;
const isDirect: Condition = (spec) => !isLatent(spec);
const hasQueryLatent: Condition = ({ attention }) => attention.latent?.dQ !== undefined;
const readsForQueries: Condition = (spec) => !hasQueryLatent(spec);
const normsLatent: Condition = ({ attention }) => attention.latent !== undefined && hasWeights(attention.latent.norm);
const normsQueryLatent: Condition = (spec) => hasQueryLatent(spec) && normsLatent(spec);

/** Whether a block norms queries and keys. */
export function normsQkIn({ attention, layers }: Architecture, layer: number): boolean {
  return attention.qkNorm !== "none" && layers[layer]?.qkNorm !== false;
}

const normsKeysIn = (spec: Architecture, layer: number) => normsQkIn(spec, layer) && ownsKeys(spec, layer);

/** A matrix of a block and its bias. */
function linear<Room extends string, Part extends string>(
  room: Room,
  part: Part,
  axes: string,
  when: Condition,
  [W, b] = [`W_${part}`, `b_${part}`],
) {
  const [out = []] = groupsOf(axes);
  const bias = `(${out.join(" ")}) -> ${out.join(" ")}`;
  return {
    [`${room}.W_${part}`]: { lens: `blocks.{i}.${room}.W_${part}`, place: W, axes, form: "matrix", when },
    [`${room}.b_${part}`]: {
      lens: `blocks.{i}.${room}.b_${part}`,
      place: b,
      axes: bias,
      form: "vector",
      when,
      isOptional: true,
    },
  } as Record<`${Room}.${"W" | "b"}_${Part}`, WeightRow>;
}

/** Rows of weights that some blocks only have. */
function inBlocks<Rows extends Record<string, WeightRow>>(
  inBlock: NonNullable<WeightRow["inBlock"]>,
  rows: Rows,
  also: Partial<WeightRow> = {},
): Rows {
  return Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, { ...row, inBlock, ...also }])) as Rows;
}

/** A matrix of every expert and its bias; of what every row goes through beside its experts. */
const ofExperts = <Part extends "gate" | "in" | "out">(part: Part, axes: string, when: Condition) =>
  inBlocks(isSparse, linear("mlp.experts", part, axes, when, [`W_experts_${part}`, `b_experts_${part}`]), {
    perExpert: true,
  });
const ofShared = <Part extends "gate" | "in" | "out">(part: Part, axes: string, when: Condition) =>
  inBlocks(isSparse, linear("mlp.shared", part, axes, when, [`W_shared_${part}`, `b_shared_${part}`]));

/** Weight and bias of a norm. */
function norm<Name extends string>(
  name: Name,
  lens: string,
  place: string,
  when: Condition,
  axes: WeightRow["axes"] = "dModel",
) {
  const row = { axes, form: "vector", when } as const;
  return {
    [`${name}.w`]: { ...row, lens: `${lens}.w`, place: `${place}.w` },
    [`${name}.b`]: { ...row, lens: `${lens}.b`, place: `${place}.b`, isOptional: true },
  } as Record<`${Name}.${"w" | "b"}`, WeightRow>;
}

/** The q/k norm's: of any head, of each head, or of all heads together. */
const qkNormAxes = (head: string) => (spec: Architecture) =>
  ({ none: "", head: "dHead", perHead: `${head} dHead`, full: `(${head} dHead)` })[spec.attention.qkNorm];

/** Axes of a table of the vocabulary, which may be narrower than the residual. */
const ofEmbedding = (axes: string) => (spec: Architecture) =>
  isProjected(spec) ? axes.replaceAll("dModel", "dEmbed") : axes;

const QKV: [string, string] = ["qkv", "qkvBias"];
const KV_UP: [string, string] = ["kvUp", "kvUpBias"];

/** One number of each block with an MLP: of the xIELU in it. */
const ofXielu = <Name extends string>(name: Name, place: string, more: Pick<WeightRow, "isConstant" | "initial">) =>
  ({
    [`mlp.xielu.${name}`]: {
      ...{ lens: `blocks.{i}.mlp.xielu.${name}`, place, axes: "one", form: "vector", inBlock: isDense, ...more },
      when: (spec: Architecture) => hasDense(spec) && spec.mlp.activation === "xielu",
    },
  }) as Record<`mlp.xielu.${Name}`, WeightRow>;

const ROWS = {
  "embed.W_E": { lens: "W_E", place: "W_E", axes: ofEmbedding("vocab dModel"), form: "matrix", when: always },
  "embed.W_proj": {
    lens: "embed.W_proj",
    place: "embedProjection",
    axes: "dModel dEmbed -> dEmbed dModel",
    form: "matrix",
    when: isProjected,
  },
  "embed.W_pos": {
    lens: "W_pos",
    place: "W_pos",
    axes: "pos dModel",
    form: "f32 matrix",
    when: ({ positions }) => positions.kind === "learned",
    spare: ({ positions }) => (positions.kind === "learned" ? positions.offset : 0),
  },
  "embed.perLayer.W_E": {
    lens: "embed.per_layer.W_E",
    place: "W_E_perLayer",
    axes: "vocabPerLayer (layer dPerLayer) -> vocabPerLayer layer dPerLayer",
    form: "matrix",
    when: hasPerLayer,
  },
  "embed.perLayer.W_proj": {
    lens: "embed.per_layer.W_proj",
    place: "perLayerProjection",
    axes: "(layer dPerLayer) dModel -> layer dModel dPerLayer",
    form: "matrix",
    when: hasPerLayer,
  },
  ...norm(
    "embed.perLayer.norm",
    "embed.per_layer.ln",
    "perLayerNorm",
    (spec) => hasPerLayer(spec) && hasNorms(spec),
    "dPerLayer",
  ),
  ...norm("embed.norm", "embed.ln", "embedNorm", (spec) => spec.embed.norm && hasNorms(spec)),
  ...inBlocks(normsAttention, norm("ln1", "blocks.{i}.ln1", "ln1", normsBefore)),
  ...linear("attn", "Q", "(head dHead) dModel -> head dModel dHead", readsForQueries, QKV),
  ...inBlocks(ownsKeys, linear("attn", "K", "(kvHead dHead) dModel -> kvHead dModel dHead", isDirect, QKV)),
  ...inBlocks(projectsValues, linear("attn", "V", "(kvHead dValue) dModel -> kvHead dModel dValue", isDirect, QKV)),
  ...linear("attn", "DQ", "dQLatent dModel -> dModel dQLatent", hasQueryLatent),
  ...norm("attn.qLatentNorm", "blocks.{i}.attn.q_latent_norm", "qLatentNorm", normsQueryLatent, "dQLatent"),
  ...linear("attn", "UQ", "(head dHead) dQLatent -> head dQLatent dHead", hasQueryLatent),
  ...linear("attn", "DKV", "dKvLatent dModel -> dModel dKvLatent", isLatent),
  ...norm("attn.kvLatentNorm", "blocks.{i}.attn.kv_latent_norm", "kvLatentNorm", normsLatent, "dKvLatent"),
  ...linear("attn", "UK", "(head dNope) dKvLatent -> head dKvLatent dNope", isLatent, KV_UP),
  ...linear("attn", "UV", "(head dValue) dKvLatent -> head dKvLatent dValue", isLatent, KV_UP),
  ...linear("attn", "KR", "dRope dModel -> dModel dRope", isLatent),
  ...inBlocks(normsQkIn, norm("attn.qNorm", "blocks.{i}.attn.q_norm", "qNorm", normsQk, qkNormAxes("head"))),
  ...inBlocks(normsKeysIn, norm("attn.kNorm", "blocks.{i}.attn.k_norm", "kNorm", normsQk, qkNormAxes("kvHead"))),
  ...inBlocks(ownsKeys, norm("attn.vNorm", "blocks.{i}.attn.v_norm", "vNorm", normsValues, "dValue")),
  "attn.sinks": {
    lens: "blocks.{i}.attn.sinks",
    place: "sinks",
    axes: "head",
    form: "vector",
    when: ({ attention }) => attention.sinks === true,
  },
  ...linear("attn", "O", "dModel (head dValue) -> head dValue dModel", always),
  ...norm("ln1Post", "blocks.{i}.ln1_post", "ln1Post", normsAfter),
  ...norm("ln2", "blocks.{i}.ln2", "ln2", (spec) => normsBefore(spec) && hasMlpNorm(spec)),
  ...inBlocks(isDense, linear("mlp", "gate", "dMlp dModel -> dModel dMlp", gatesDense)),
  ...inBlocks(isDense, linear("mlp", "in", "dMlp dModel -> dModel dMlp", hasDense)),
  ...ofXielu("alphaP", "xielu", { initial: Math.log(Math.expm1(0.8)) }),
  ...ofXielu("alphaN", "xielu", { initial: Math.log(Math.expm1(0.3)) }),
  ...ofXielu("beta", "xieluConstants", { isConstant: true, initial: 0.5 }),
  ...ofXielu("eps", "xieluConstants", { isConstant: true, initial: -1e-6 }),
  ...inBlocks(isDense, linear("mlp", "out", "dModel dMlp -> dMlp dModel", hasDense)),
  ...inBlocks(isSparse, linear("mlp", "router", "expert dModel -> dModel expert", hasExperts)),
  "mlp.b_choice": {
    lens: "blocks.{i}.mlp.b_choice",
    place: "b_choice",
    axes: "expert",
    form: "vector",
    when: ({ mlp }) => mlp.experts?.routing.choiceBias === true,
    inBlock: isSparse,
  },
  ...ofExperts("gate", "(expert dExpert) dModel -> expert dModel dExpert", gatesExperts),
  ...ofExperts("in", "(expert dExpert) dModel -> expert dModel dExpert", hasExperts),
  ...ofExperts("out", "(expert dModel) dExpert -> expert dExpert dModel", hasExperts),
  ...ofShared("gate", "dShared dModel -> dModel dShared", gatesShared),
  ...ofShared("in", "dShared dModel -> dModel dShared", hasShared),
  ...ofShared("out", "dModel dShared -> dShared dModel", hasShared),
  "mlp.shared.W_weight": {
    lens: "blocks.{i}.mlp.shared.W_weight",
    place: "W_shared_weight",
    axes: "one dModel -> dModel one",
    form: "matrix",
    when: ({ mlp }) => mlp.experts?.shared?.gate === true,
    inBlock: isSparse,
  },
  ...norm("ln2Post", "blocks.{i}.ln2_post", "ln2Post", (spec) => normsAfter(spec) && hasMlpNorm(spec)),
  ...linear("perLayer", "gate", "dPerLayer dModel -> dModel dPerLayer", hasPerLayer, [
    "W_perLayer_gate",
    "b_perLayer_gate",
  ]),
  ...linear("perLayer", "out", "dModel dPerLayer -> dPerLayer dModel", hasPerLayer, [
    "W_perLayer_out",
    "b_perLayer_out",
  ]),
  ...norm("perLayer.norm", "blocks.{i}.perLayer.ln", "perLayerNorm", (spec) => hasPerLayer(spec) && hasNorms(spec)),
  "block.scalar": {
    ...{ lens: "blocks.{i}.scalar", place: "scalar", axes: "one", form: "vector", isConstant: true, initial: 1 },
    when: ({ block }) => block.scalar === true,
  },
  ...norm("lnFinal", "ln_final", "lnFinal", (spec) => hasNorms(spec) && spec.unembed.norm !== false),
  "unembed.W_transform": {
    lens: "unembed.W_transform",
    place: "unembedTransform",
    axes: "dOut dModel -> dModel dOut",
    form: "matrix",
    when: isTransformed,
  },
  "unembed.b_transform": {
    lens: "unembed.b_transform",
    place: "unembedTransformBias",
    axes: "dModel",
    form: "vector",
    when: isTransformed,
    isOptional: true,
  },
  ...norm("unembed.ln", "unembed.ln", "unembedNorm", (spec) => isTransformed(spec) && hasNorms(spec)),
  "unembed.W_proj": {
    lens: "unembed.W_proj",
    place: "unembedProjection",
    axes: "dEmbed dModel -> dModel dEmbed",
    form: "matrix",
    when: isProjected,
  },
  "unembed.W_U": {
    lens: "W_U",
    place: "W_U",
    axes: ofEmbedding("vocab dModel -> dModel vocab"),
    form: "matrix",
    when: ({ unembed }) => !unembed.tied,
  },
  "unembed.b_U": { lens: "b_U", place: "b_U", axes: "vocab", form: "vector", when: always, isOptional: true },
} satisfies Record<string, WeightRow>;

/** Per-block names stand for every block. */
export type WeightName = keyof typeof ROWS;

export const WEIGHTS: Readonly<Record<WeightName, WeightRow>> = ROWS;
export const WEIGHT_NAMES = Object.keys(WEIGHTS) as WeightName[];

/** Whether each block has its own. */
export const isPerBlock = (name: WeightName): boolean => WEIGHTS[name].lens.includes("{i}");

/** Whether a block, or the model outside of its blocks, has use for a weight. */
export function isWeightOf(spec: Architecture, name: WeightName, layer: number): boolean {
  const { when, inBlock } = WEIGHTS[name];
  return when(spec) && (inBlock?.(spec, layer) ?? true);
}

/** How many experts a weight belongs to; 0 of all others. */
export function expertsIn({ mlp }: Architecture, name: WeightName): number {
  return WEIGHTS[name]?.perExpert ? (mlp.experts?.count ?? 0) : 0;
}

/** Weights that choose experts, or say how much an MLP counts: `weights` quantises all others. */
export const ROUTING_WEIGHTS: ReadonlySet<WeightName> = new Set(["mlp.W_router", "mlp.shared.W_weight"]);

/** Whether each head has its own, so that each may be a tensor. */
export const isPerHead = ({ attention }: Architecture, name: WeightName): boolean =>
  attention.qkNorm === "perHead" && /^attn\.[qk]Norm\./.test(name);

/** What a spec makes of the weights it knows; names that do not appear are unused. */
export function weightUses(spec: Architecture): Map<WeightName, "required" | "optional"> {
  const used = WEIGHT_NAMES.filter((name) => WEIGHTS[name].when(spec));
  return new Map(used.map((name) => [name, WEIGHTS[name].isOptional ? "optional" : "required"]));
}

/** Width of a block's MLP: the block's own, or else the model's. */
export function dMlpOf({ layers, dMlp }: Architecture, layer: number): number {
  return layers[layer]?.dMlp ?? dMlp;
}

/** Width of a block's heads: the block's own, or else the model's. */
export function dHeadOf({ layers, dHead }: Pick<Architecture, "layers" | "dHead">, layer: number): number {
  return layers[layer]?.dHead ?? dHead;
}

/** Key-value heads of a block: its own number, or else the model's. */
export function nKvHeadsOf({ layers, nKvHeads }: Pick<Architecture, "layers" | "nKvHeads">, layer: number): number {
  return layers[layer]?.nKvHeads ?? nKvHeads;
}

/** What widths of heads depend on. */
export type HeadWidths = Pick<Architecture, "layers" | "nKvHeads" | "dHead" | "dValue" | "attention">;

/** Width of a head's values in a block, and of what it gives: the model's, or else as wide as queries and keys. */
export function dValueOf(spec: Pick<Architecture, "layers" | "dHead" | "dValue">, layer: number): number {
  return spec.dValue ?? dHeadOf(spec, layer);
}

/**
 * Width of queries, keys and values in attention and in the key-value cache of a block, where all are as wide: vectors that are narrower
 * end in zeros. A zero adds nothing to q·k, and values that are zero mix to zero. Where widths differ it is a multiple of four, as kernels
 * need it.
 */
export function attentionWidth(spec: Omit<HeadWidths, "nKvHeads">, layer: number): number {
  const [dHead, dValue] = [dHeadOf(spec, layer), dValueOf(spec, layer)];
  return dValue === dHead && !spec.attention.latent ? dHead : 4 * Math.ceil(Math.max(dHead, dValue) / 4);
}

/** The same of every block. */
export const attentionWidths = (spec: Omit<HeadWidths, "nKvHeads">): number[] =>
  spec.layers.map((_, layer) => attentionWidth(spec, layer));

/** Elements of a token's keys in a block, and of its values; 0 where they are an earlier block's. */
export function kvWidthOf(spec: HeadWidths, layer: number): number {
  return spec.layers[layer]?.keysFrom === undefined ? nKvHeadsOf(spec, layer) * attentionWidth(spec, layer) : 0;
}

/** Elements of a token's keys and values in all blocks. */
export function cacheWidth(spec: HeadWidths): number {
  return 2 * spec.layers.reduce((sum, _, layer) => sum + kvWidthOf(spec, layer), 0);
}

/** Elements of a row of the widest projection to queries, keys and values. */
export function widestProjection(spec: Architecture): number {
  return Math.max(
    ...spec.layers.map((_, layer) => spec.nHeads * attentionWidth(spec, layer) + 2 * kvWidthOf(spec, layer)),
  );
}

/** Width of the widest MLP; of a mixture, what a row's experts have together. */
export function widestMlp(spec: Architecture): number {
  const { experts } = spec.mlp;
  const ofExperts = experts
    ? Math.max(experts.perToken * Math.max(experts.dExpert, spec.dModel), experts.shared?.dMlp ?? 0)
    : 0;
  return spec.layers.reduce(
    (widest, _, layer) => Math.max(widest, isSparse(spec, layer) ? ofExperts : dMlpOf(spec, layer)),
    0,
  );
}

const SIZES: Readonly<Record<string, (spec: Architecture, layer: number) => number>> = {
  dModel: ({ dModel }) => dModel,
  dOut: ({ dModel }) => dModel,
  dEmbed: ({ embed, dModel }) => embed.width ?? dModel,
  vocab: ({ vocabSize }) => vocabSize,
  pos: ({ maxPositions }) => maxPositions,
  head: ({ nHeads }) => nHeads,
  kvHead: nKvHeadsOf,
  dHead: dHeadOf,
  dValue: dValueOf,
  dQLatent: ({ attention }) => attention.latent?.dQ ?? 0,
  dKvLatent: ({ attention }) => attention.latent?.dKv ?? 0,
  dRope: ({ attention }) => attention.latent?.dRope ?? 0,
  dNope: ({ dHead, attention }) => dHead - (attention.latent?.dRope ?? 0),
  layer: ({ nLayers }) => nLayers,
  dPerLayer: ({ embed }) => embed.perLayer?.width ?? 0,
  vocabPerLayer: ({ embed }) => embed.perLayer?.vocabSize ?? 0,
  dMlp: dMlpOf,
  expert: ({ mlp }) => mlp.experts?.count ?? 0,
  dExpert: ({ mlp }) => mlp.experts?.dExpert ?? 0,
  dShared: ({ mlp }) => mlp.experts?.shared?.dMlp ?? 0,
  one: () => 1,
};

/** The size of an axis of the table. */
export function sizeOf(axis: string, spec: Architecture, layer: number): number {
  return (SIZES[axis] as (typeof SIZES)[string])(spec, layer);
}

/** The axes of one side of a pattern, by groups: `(head dHead) dModel` is [["head", "dHead"], ["dModel"]]. */
function groupsOf(side: string): string[][] {
  return (side.match(/\([^)]*\)|\w+/g) ?? []).map((group) => group.match(/\w+/g) as string[]);
}

/** The axes of a weight as it is stored and as TransformerLens has it. */
export function axesOf(spec: Architecture, name: WeightName): { stored: string[][]; lens: string[][] } {
  const { axes } = WEIGHTS[name];
  const [stored = "", lens = stored] = (typeof axes === "string" ? axes : axes(spec)).split(" -> ");
  return { stored: groupsOf(stored), lens: groupsOf(lens) };
}

/**
 * Shape of a weight after it is cut from its tensor: [out, in] of a matrix, [length] of a bias or norm.
 * @param layer matters to MLPs, whose width may differ from block to block.
 */
export function weightShape(spec: Architecture, name: WeightName, layer = 0): number[] {
  const [first = 0, ...others] = shapeOf(axesOf(spec, name).stored, spec, layer);
  return [first + (WEIGHTS[name].spare?.(spec) ?? 0), ...others];
}

/** Sizes of groups of axes. */
export function shapeOf(groups: readonly (readonly string[])[], spec: Architecture, layer: number): number[] {
  return groups.map((axes) => axes.reduce((size, axis) => size * sizeOf(axis, spec, layer), 1));
}
