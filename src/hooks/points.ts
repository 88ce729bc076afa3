/**
 * The named points of a forward pass, as one table: TransformerLens's name of each, its axes, its meaning, and what a model
 * needs to have it. The graph of a model's pass says which points the model has, in which layers and in which order.
 * `docs/hooks.md` prints this table. Captures, edits and sweeps accept exactly these names.
 */
import { HookError } from "../errors.ts";
import { editedValues, type Graph, pointsOf } from "../graph/graph.ts";
import { Reaches } from "../graph/reach.ts";
import type { ModelSpec, ModuleSpec } from "../model/spec.ts";
import { trace } from "../model/trace.ts";
import type { Value } from "../ops/op.ts";
import { nearestNames } from "../schema/nearest.ts";
import * as s from "../schema/schema.ts";

/** An axis of an activation, by TransformerLens's name. */
export type Axis =
  | "batch"
  | "pos"
  | "head"
  | "kvHead"
  | "dHead"
  | "dValue"
  | "dRope"
  | "dQLatent"
  | "dKvLatent"
  | "dModel"
  | "dMlp"
  | "expert"
  | "slot"
  | "dExpert"
  | "dPerLayer"
  | "dShared"
  | "query"
  | "key"
  | "one"
  | "vocab"
  | "feature"
  | "dIn"
  | "dOut";

/** A kind of point: a line of the table in docs/hooks.md. */
export interface PointKind {
  /** `{i}` stands for the block. */
  readonly name: string;
  /** The shape of its activations, by the names of the axes. */
  readonly axes: readonly Axis[];
  readonly meaning: string;
  /** The formula in terms of other points and weights. */
  readonly formula: string;
  /** What a model must have for the point to exist; empty when every model has it. */
  readonly needs: string;
  /** A copy of another point, or what a model without post-norms has under another name: `runWithCache` leaves it out. */
  readonly isCopy: boolean;
}

const RESIDUAL: readonly Axis[] = ["batch", "pos", "dModel"];
const SCALE: readonly Axis[] = ["batch", "pos", "one"];
const HEADS: readonly Axis[] = ["batch", "pos", "head", "dHead"];
const KV_HEADS: readonly Axis[] = ["batch", "pos", "kvHead", "dHead"];
const VALUES: readonly Axis[] = ["batch", "pos", "kvHead", "dValue"];
const MIXED: readonly Axis[] = ["batch", "pos", "head", "dValue"];
const PER_HEAD: readonly Axis[] = ["batch", "pos", "head", "dModel"];
const PER_KV_HEAD: readonly Axis[] = ["batch", "pos", "kvHead", "dModel"];
const PAIRS: readonly Axis[] = ["batch", "head", "query", "key"];
const MLP: readonly Axis[] = ["batch", "pos", "dMlp"];
const SLOTS: readonly Axis[] = ["batch", "pos", "slot"];
const PER_EXPERT: readonly Axis[] = ["batch", "pos", "slot", "dExpert"];
const SHARED: readonly Axis[] = ["batch", "pos", "dShared"];

function point(name: string, axes: readonly Axis[], meaning: string, formula: string, needs = ""): PointKind {
  return { name, axes, meaning, formula, needs, isCopy: false };
}

/** The residual as one reader has it. */
function copy(name: string, axes: readonly Axis[], meaning: string, formula: string, needs = ""): PointKind {
  return { ...point(name, axes, meaning, formula, needs), isCopy: true };
}

const LN1 = "a norm before attention";
const LN2 = "a norm of its own before the MLP";
const LN1_POST = "a norm after attention";
const LN2_POST = "a norm after the MLP";
const EMBED_NORM = "a norm after the embedding";
const ROPE = "RoPE in the layer";
const OWN_PROJECTIONS = "queries, keys and values that are projected from the residual";
const LATENT = "keys and values from a latent vector";
const QUERY_LATENT = "queries from a latent vector";
const MLP_NEEDED = "an MLP in the block";
const DENSE = "an MLP in the block that is no mixture of experts";
const EXPERTS = "a mixture of experts in the block";
const GATED_EXPERTS = "gated experts in the block";
const OWN_KEYS = "keys and values of the block's own";
const OF_LAYER = "embeddings for each block";
const SHARED_MLP = "an MLP beside the experts of the block";
const FINAL_NORM = "norms";
const TERM = "after the post-norm (olmo2, gemma2, gemma3) and the residual multiplier (granite): exactly what is added";

/** In the order in which a forward pass reaches them. */
export const POINT_KINDS: readonly PointKind[] = [
  point("hook_embed", RESIDUAL, "token embedding", "W_E[token] * embed scale"),
  point("hook_pos_embed", RESIDUAL, "position embedding", "W_pos[position + offset]", "positions that are added"),
  point(
    "embed.ln.hook_scale",
    SCALE,
    "divisor of the norm after the embedding",
    "as ln1, of the embedding",
    EMBED_NORM,
  ),
  point(
    "embed.ln.hook_normalized",
    RESIDUAL,
    "normed embedding before weight and bias",
    "as ln1, of the embedding",
    EMBED_NORM,
  ),
  point(
    "blocks.{i}.hook_resid_pre",
    RESIDUAL,
    "residual stream before the block",
    "embed + pos_embed (bloom: normed), or resid_post of the block before",
  ),
  point(
    "blocks.{i}.ln1.hook_scale",
    SCALE,
    "divisor of the norm before attention",
    "sqrt(var(resid_pre) + eps); RMS norms: sqrt(mean(x^2) + eps)",
    LN1,
  ),
  point(
    "blocks.{i}.ln1.hook_normalized",
    RESIDUAL,
    "normed residual before weight and bias",
    "(resid_pre - mean) / scale; RMS norms: x / scale",
    LN1,
  ),
  copy(
    "blocks.{i}.attn.hook_in",
    RESIDUAL,
    "what attention reads, after weight and bias of the norm",
    "norm(resid_pre); without a norm there: resid_pre",
  ),
  copy(
    "blocks.{i}.hook_q_input",
    PER_HEAD,
    "residual that each head's queries read, before the norm",
    "resid_pre",
    OWN_PROJECTIONS,
  ),
  copy(
    "blocks.{i}.hook_k_input",
    PER_KV_HEAD,
    "residual that each head's keys read, before the norm",
    "resid_pre",
    OWN_KEYS,
  ),
  copy(
    "blocks.{i}.hook_v_input",
    PER_KV_HEAD,
    "residual that each head's values read, before the norm",
    "resid_pre",
    OWN_KEYS,
  ),
  point(
    "blocks.{i}.attn.hook_q_latent",
    ["batch", "pos", "dQLatent"],
    "the latent vector that queries are projected from, after its norm",
    "norm(W_DQ x + b_DQ)",
    QUERY_LATENT,
  ),
  point(
    "blocks.{i}.attn.hook_kv_latent",
    ["batch", "pos", "dKvLatent"],
    "the latent vector that keys and values of all heads are projected from, after its norm",
    "norm(W_DKV x + b_DKV)",
    LATENT,
  ),
  point("blocks.{i}.attn.hook_q", HEADS, "queries, before q/k norm and RoPE", "W_Q x + b_Q"),
  point("blocks.{i}.attn.hook_k", KV_HEADS, "keys, before q/k norm and RoPE", "W_K x + b_K", OWN_KEYS),
  point("blocks.{i}.attn.hook_v", VALUES, "values, before their norm", "W_V x + b_V; latent: W_UV kv_latent", OWN_KEYS),
  point("blocks.{i}.attn.hook_rot_q", HEADS, "queries after q/k norm and RoPE", "RoPE(norm(q))", ROPE),
  point("blocks.{i}.attn.hook_rot_k", KV_HEADS, "keys after q/k norm and RoPE", "RoPE(norm(k))", ROPE),
  point(
    "blocks.{i}.attn.hook_attn_scores",
    PAIRS,
    "scores before the softmax; -inf where the query cannot see",
    "softCap(q·k * scale) + ALiBi",
  ),
  point("blocks.{i}.attn.hook_pattern", PAIRS, "attention weights; 0 where the query cannot see", "softmax(scores)"),
  point("blocks.{i}.attn.hook_z", MIXED, "values mixed by the pattern", "pattern v"),
  point(
    "blocks.{i}.attn.hook_result",
    PER_HEAD,
    "each head's part of the attention output, before the post-norm and the residual multiplier",
    "W_O[head] z[head]",
  ),
  copy(
    "blocks.{i}.attn.hook_out",
    RESIDUAL,
    "what attention gives, before the post-norm and the residual multiplier",
    "sum over heads of result + b_O",
  ),
  point(
    "blocks.{i}.ln1_post.hook_scale",
    SCALE,
    "divisor of the norm after attention",
    "as ln1, of attn.hook_out; opt-350m, openai-gpt: of resid_pre + attn_out",
    LN1_POST,
  ),
  point(
    "blocks.{i}.ln1_post.hook_normalized",
    RESIDUAL,
    "what attention gives, normed, before weight and bias of that norm",
    "as ln1, of attn.hook_out; opt-350m, openai-gpt: of resid_pre + attn_out",
    LN1_POST,
  ),
  point(
    "blocks.{i}.hook_attn_out",
    RESIDUAL,
    `what attention adds to the residual: ${TERM}`,
    "attn.hook_out, through post-norm and multiplier",
  ),
  point(
    "blocks.{i}.hook_resid_mid",
    RESIDUAL,
    "residual stream between attention and MLP",
    "resid_pre + attn_out; opt-350m, openai-gpt: normed",
    "attention before the MLP, not beside it",
  ),
  copy(
    "blocks.{i}.hook_mlp_in",
    RESIDUAL,
    "residual that the MLP reads, before the norm",
    "resid_mid; parallel: resid_pre",
    MLP_NEEDED,
  ),
  point(
    "blocks.{i}.ln2.hook_scale",
    SCALE,
    "divisor of the norm before the MLP",
    "as ln1, of resid_mid (parallel: resid_pre)",
    LN2,
  ),
  point(
    "blocks.{i}.ln2.hook_normalized",
    RESIDUAL,
    "normed residual before weight and bias",
    "as ln1, of resid_mid (parallel: resid_pre)",
    LN2,
  ),
  copy(
    "blocks.{i}.mlp.hook_in",
    RESIDUAL,
    "what the MLP reads, after weight and bias of the norm",
    "norm(hook_mlp_in); without a norm there: hook_mlp_in",
    MLP_NEEDED,
  ),
  point(
    "blocks.{i}.mlp.hook_pre",
    MLP,
    "hidden layer before the activation; gated MLPs: the gate",
    "W_in x + b_in; gated: W_gate x + b_gate",
    DENSE,
  ),
  point(
    "blocks.{i}.mlp.hook_pre_linear",
    MLP,
    "the part of a gated MLP that is not activated",
    "W_in x + b_in",
    "a gated MLP",
  ),
  point(
    "blocks.{i}.mlp.hook_post",
    MLP,
    "hidden layer after the activation",
    "act(pre); gated: act(pre) * pre_linear",
    DENSE,
  ),
  point(
    "blocks.{i}.mlp.hook_router_logits",
    ["batch", "pos", "expert"],
    "a logit for each expert; edits change which experts a row goes through",
    "W_router x + b_router",
    EXPERTS,
  ),
  point(
    "blocks.{i}.mlp.hook_expert_indices",
    SLOTS,
    "numbers of the experts that the row goes through, the one with the greatest score first",
    "the greatest scores (+ b_choice)",
    EXPERTS,
  ),
  point(
    "blocks.{i}.mlp.hook_expert_weights",
    SLOTS,
    "weight of each of them",
    "scores of the chosen, normed and scaled as the model has it",
    EXPERTS,
  ),
  point(
    "blocks.{i}.mlp.hook_expert_pre",
    PER_EXPERT,
    "each expert's hidden layer before the activation; gated experts: the gate",
    "as mlp.hook_pre, of the expert (llama4: of weight * x)",
    EXPERTS,
  ),
  point(
    "blocks.{i}.mlp.hook_expert_pre_linear",
    PER_EXPERT,
    "the part of gated experts that is not activated",
    "as mlp.hook_pre_linear, of the expert",
    GATED_EXPERTS,
  ),
  point(
    "blocks.{i}.mlp.hook_expert_post",
    PER_EXPERT,
    "each expert's hidden layer after the activation",
    "as mlp.hook_post; gpt_oss: act(min(pre, c)) * (clamp(pre_linear, -c, c) + 1)",
    EXPERTS,
  ),
  point(
    "blocks.{i}.mlp.hook_expert_out",
    ["batch", "pos", "slot", "dModel"],
    "what each expert gives, before its weight",
    "W_out post + b_out of the expert",
    EXPERTS,
  ),
  point(
    "blocks.{i}.mlp.hook_shared_pre",
    SHARED,
    "hidden layer of the MLP beside the experts, before the activation; gated: the gate",
    "as mlp.hook_pre",
    SHARED_MLP,
  ),
  point(
    "blocks.{i}.mlp.hook_shared_pre_linear",
    SHARED,
    "the part of it that is not activated",
    "as mlp.hook_pre_linear",
    SHARED_MLP,
  ),
  point(
    "blocks.{i}.mlp.hook_shared_post",
    SHARED,
    "hidden layer of it after the activation",
    "as mlp.hook_post",
    SHARED_MLP,
  ),
  point(
    "blocks.{i}.mlp.hook_shared_out",
    RESIDUAL,
    "what it adds to what the experts give",
    "W_out post + b_out, with a gate times sigmoid(w x)",
    SHARED_MLP,
  ),
  copy(
    "blocks.{i}.mlp.hook_out",
    RESIDUAL,
    "what the MLP gives, before the post-norm and the residual multiplier",
    "W_out post + b_out; experts: sum over slots of weight * expert_out, + shared_out",
    MLP_NEEDED,
  ),
  point(
    "blocks.{i}.ln2_post.hook_scale",
    SCALE,
    "divisor of the norm after the MLP",
    "as ln1, of mlp.hook_out; opt-350m, openai-gpt: of resid_mid + mlp_out",
    LN2_POST,
  ),
  point(
    "blocks.{i}.ln2_post.hook_normalized",
    RESIDUAL,
    "what the MLP gives, normed, before weight and bias of that norm",
    "as ln1, of mlp.hook_out; opt-350m, openai-gpt: of resid_mid + mlp_out",
    LN2_POST,
  ),
  point(
    "blocks.{i}.hook_mlp_out",
    RESIDUAL,
    `what the MLP adds to the residual: ${TERM}`,
    "mlp.hook_out, through post-norm and multiplier",
    MLP_NEEDED,
  ),
  point(
    "blocks.{i}.hook_per_layer_in",
    ["batch", "pos", "dPerLayer"],
    "what the block has of the token for itself",
    "(norm(W_proj embed * projection scale) + table[token] * table scale) * scale, the block's part",
    OF_LAYER,
  ),
  point(
    "blocks.{i}.hook_per_layer_out",
    RESIDUAL,
    "what the block adds to the residual for that",
    "norm(W_out (act(W_gate residual) * per_layer_in))",
    OF_LAYER,
  ),
  point(
    "blocks.{i}.hook_resid_post",
    RESIDUAL,
    "residual stream after the block",
    "resid_mid + mlp_out; parallel: resid_pre + attn_out + mlp_out; opt-350m, openai-gpt: normed; gemma4: (resid_mid + mlp_out + per_layer_out) * scalar",
  ),
  point("ln_final.hook_scale", SCALE, "divisor of the final norm", "as ln1, of the last resid_post", FINAL_NORM),
  point(
    "ln_final.hook_normalized",
    RESIDUAL,
    "normed final residual before weight and bias",
    "as ln1, of the last resid_post",
    FINAL_NORM,
  ),
  point(
    "unembed.hook_in",
    RESIDUAL,
    "what the unembedding reads, where a layer stands before it",
    "norm(act(W_transform lnFinal + b_transform))",
    "a layer between the final norm and the unembedding",
  ),
  point("logits", ["batch", "pos", "vocab"], "logits", "softCap((W_U lnFinal + b_U) * scale)"),
];

/**
 * The same names in models with latent attention (deepseek), as TransformerLens has them there: queries and keys are those that the scores are
 * made of, and what RoPE turns is a part of them.
 */
export const LATENT_POINT_KINDS: readonly PointKind[] = [
  point(
    "blocks.{i}.attn.hook_rot_q",
    ["batch", "pos", "head", "dRope"],
    "the part of queries that turns, after RoPE",
    "RoPE(the last dRope of W_UQ q_latent, or of W_Q x)",
    ROPE,
  ),
  point(
    "blocks.{i}.attn.hook_rot_k",
    ["batch", "pos", "dRope"],
    "the part of keys that turns, after RoPE; the same in all heads",
    "RoPE(W_KR x + b_KR)",
    ROPE,
  ),
  point("blocks.{i}.attn.hook_q", HEADS, "queries", "[the other part of W_UQ q_latent, or of W_Q x; rot_q]"),
  point("blocks.{i}.attn.hook_k", KV_HEADS, "keys", "[W_UK kv_latent; rot_k]"),
];

const FEATURES: readonly Axis[] = ["batch", "pos", "feature"];
const SPLICED = "a dictionary there: model.withModules([dictionary])";

/**
 * The points of a dictionary that is spliced in, by what stands behind the name of its hook. The error and the output have the axes of
 * the activation that is written.
 */
export const MODULE_POINT_KINDS: readonly PointKind[] = [
  point(".hook_sae_input", ["batch", "pos", "dIn"], "what the dictionary reads", "the hook's activation", SPLICED),
  point(".hook_sae_acts_pre", FEATURES, "features before their activation", "W_enc (input - b_dec) + b_enc", SPLICED),
  point(".hook_sae_acts_post", FEATURES, "the activations of features", "activation(acts_pre)", SPLICED),
  point(
    ".hook_sae_recons",
    ["batch", "pos", "dOut"],
    "what the features stand for",
    "W_dec acts_post + b_dec",
    SPLICED,
  ),
  point(".hook_sae_error", RESIDUAL, "what unedited features do not stand for", "activation - recons", SPLICED),
  copy(".hook_sae_output", RESIDUAL, "what goes on: the same as the hook itself", "recons (+ error)", SPLICED),
];

const MODULE_KINDS = new Map(MODULE_POINT_KINDS.map((kind) => [kind.name, kind]));
const MODULE_NAME = /^(.+)(\.hook_sae_[a-z_]+)$/;

/** A point of one model. */
export interface Point {
  readonly name: string;
  readonly kind: PointKind;
  /** The dictionary that it is a point of. */
  readonly module?: ModuleSpec | undefined;
  /** The block, or undefined for points outside the blocks. */
  readonly layer: number | undefined;
  /** Place in the order of the forward pass. */
  readonly order: number;
}

const KINDS = new Map(POINT_KINDS.map((kind) => [kind.name, kind]));
const LATENT_KINDS = new Map(LATENT_POINT_KINDS.map((kind) => [kind.name, kind]));

/** The kind of a name, whatever its block; of models with latent attention where `isLatent`. */
function kindOf(name: string, isLatent = false): PointKind | undefined {
  const [, hook, inside] = MODULE_NAME.exec(name) ?? [];
  if (hook !== undefined) return moduleKindOf(hook, inside as string, isLatent);
  const general = name.replace(/^blocks\.(\d+|\*)\./, "blocks.{i}.");
  return (isLatent ? LATENT_KINDS.get(general) : undefined) ?? KINDS.get(general);
}

/** The kind of a point inside a dictionary, at a hook. */
function moduleKindOf(hook: string, inside: string, isLatent: boolean): PointKind | undefined {
  const [kind, outer] = [MODULE_KINDS.get(inside), kindOf(hook, isLatent)];
  if (!kind || !outer) return undefined;
  return { ...kind, name: outer.name + kind.name, axes: kind.axes === RESIDUAL ? outer.axes : kind.axes };
}

/** Whether captures of the point have their heads before their positions: [batch, head, query, key]. */
export function isHeadFirst(name: string): boolean {
  return kindOf(name)?.axes[1] === "head";
}

/** What the graphs of a model's passes say of its points. */
interface PointFacts {
  readonly table: ReadonlyMap<string, Point>;
  readonly graph: Graph;
  readonly reaches: Reaches;
  /** Points of the last block and after it whose rows may be dropped when nobody reads their logits. */
  readonly narrowed: ReadonlySet<string>;
}

const EVERY_POINT = { has: () => true };

const facts = new WeakMap<ModelSpec, PointFacts>();

const SPEC = s.simple<ModelSpec>(
  "a ModelSpec, such as model.spec",
  (value) => typeof value === "object" && value !== null && "layers" in value && "norm" in value,
);

function factsOf(given: ModelSpec): PointFacts {
  const spec = s.readArgument(SPEC, given, "pointTable", "spec");
  const known = facts.get(spec);
  if (known) return known;
  // Rows that join make the residual before a block a value of its own, which that block computes.
  const graph = trace(spec, { joins: true, changed: EVERY_POINT });
  const table = new Map<string, Point>();
  for (const [name, { layer }] of pointsOf(graph)) {
    const kind = kindOf(name, spec.attention.latent !== undefined) as PointKind;
    const module = moduleOf(spec, name);
    table.set(name, { name, kind, module, layer: kind.name.includes("{i}") ? layer : undefined, order: table.size });
  }
  const narrow = pointsOf(trace(spec, { narrow: true }));
  const narrowed = new Set([...narrow].flatMap(([name, { rows }]) => (rows === "output" ? [name] : [])));
  const made = { table, graph, reaches: new Reaches(graph, editedValues(graph)), narrowed };
  facts.set(spec, made);
  return made;
}

/** The dictionary whose point a name is. */
function moduleOf({ modules = [] }: ModelSpec, name: string): ModuleSpec | undefined {
  const hook = MODULE_NAME.exec(name)?.[1];
  return hook === undefined ? undefined : modules.find(({ hookIn, hookOut }) => hook === hookIn || hook === hookOut);
}

/** Every point of a model by name, in the order of the forward pass. */
export function pointTable(spec: ModelSpec): ReadonlyMap<string, Point> {
  return factsOf(spec).table;
}

/** What edits of each point can change of the logits, or of other points. */
export function reachesOf(spec: ModelSpec, outputs: readonly string[] = ["logits"]): Reaches {
  const { graph, reaches } = factsOf(spec);
  if (outputs.length === 1 && outputs[0] === "logits") return reaches;
  const values = editedValues(graph);
  return new Reaches(
    graph,
    values,
    outputs.map((name) => values.get(name)?.[0] as Value),
  );
}

/** The block in which a pass computes a point: the first for embeddings, the last for what follows the blocks. */
export function blockOf(spec: ModelSpec, name: string): number {
  return (pointsOf(factsOf(spec).graph).get(name) as Value).layer;
}

/** Whether a pass may drop rows of the point that give no logits, and has to keep them where somebody looks. */
export function isNarrowed(spec: ModelSpec, { name }: Point): boolean {
  return factsOf(spec).narrowed.has(name);
}

/** The points of a pass that begins with a block or ends before one, or of a whole one. */
export function reachedPoints(
  spec: ModelSpec,
  form: { startAtLayer?: number | undefined; stopAtLayer?: number | undefined },
): ReadonlySet<string> {
  const isWhole = form.startAtLayer === undefined && form.stopAtLayer === undefined;
  return new Set(isWhole ? pointTable(spec).keys() : pointsOf(trace(spec, form)).keys());
}

/**
 * Whether `runWithCache` captures the point unless told otherwise: no other point shows the same, and one row of it is not as long as the
 * sequence, the vocabulary or the residuals of all heads.
 */
export function isUsual({ kind: { axes, isCopy } }: Point): boolean {
  const isLarge = axes.includes("key") || axes.includes("vocab") || (axes.includes("head") && axes.includes("dModel"));
  return !isCopy && !isLarge;
}

/** A name, a pattern in which `*` stands for anything, a regular expression, or a function of the name. */
export type PointPattern = string | RegExp | ((name: string) => boolean);

const patternsOf = (named: string) =>
  s.oneOrMore<PointPattern>(
    "such patterns",
    s.simple(
      `the name of ${named}, a pattern with *, a regular expression or a function of the name`,
      (value) => typeof value === "string" || value instanceof RegExp || typeof value === "function",
    ),
  );

/** One pattern or several. */
export const PATTERNS = patternsOf("a point");
/** The same for tensors of a checkpoint. */
export const TENSOR_PATTERNS = patternsOf("a tensor");

/**
 * The points that match any of the patterns, in the order of the forward pass.
 * @throws HookError `hook/no-such-point` for a pattern that matches nothing, with the nearest names.
 */
export function resolvePoints(spec: ModelSpec, given: PointPattern | readonly PointPattern[]): Point[] {
  const patterns = s.readArgument(PATTERNS, given, "resolvePoints", "patterns");
  const table = pointTable(spec);
  const chosen = new Set<Point>();
  for (const pattern of patterns) {
    const matching = matchesOf(pattern, table);
    if (matching.length === 0) throw noSuchPoint(spec, pattern, table);
    for (const match of matching) chosen.add(match);
  }
  return [...chosen].sort((a, b) => a.order - b.order);
}

/** The point of exactly this name. @throws HookError `hook/no-such-point`, for a pattern too */
export function resolvePoint(spec: ModelSpec, name: string): Point {
  const table = pointTable(spec);
  const found = table.get(name);
  if (found) return found;
  const matching = matchesOf(name, table);
  if (matching.length === 0) throw noSuchPoint(spec, name, table);
  const names = matching.slice(0, 3).map((each) => each.name);
  const more = matching.length > 3 ? `, and ${matching.length - 3} more` : "";
  throw new HookError(
    "hook/no-such-point",
    `"${name}" is a pattern, and one point is wanted here. Take one of ${names.join(", ")}${more}.`,
  );
}

/** The points that a pattern names. A plain name is looked up: a sweep names one in each of thousands of cells. */
function matchesOf(pattern: PointPattern, table: ReadonlyMap<string, Point>): Point[] {
  if (typeof pattern === "string" && !pattern.includes("*")) return [table.get(pattern) ?? []].flat();
  const matches = matcher(pattern);
  return [...table.values()].filter(({ name }) => matches(name));
}

/** Whether a name matches a pattern. */
export function matcher(pattern: PointPattern): (name: string) => boolean {
  if (typeof pattern === "function") return pattern;
  const expression =
    typeof pattern === "string"
      ? new RegExp(`^${pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")}$`)
      : new RegExp(pattern);
  return (name) => {
    expression.lastIndex = 0; // "g" and "y" go on from there
    return expression.test(name);
  };
}

function noSuchPoint(spec: ModelSpec, pattern: PointPattern, table: ReadonlyMap<string, Point>): HookError {
  const text = typeof pattern === "string" ? `"${pattern}"` : String(pattern);
  const kind = typeof pattern === "string" ? kindOf(pattern) : undefined;
  const error = (message: string) => new HookError("hook/no-such-point", `${text} ${message}`);
  if (kind && !layerExists(spec, pattern as string))
    return error(`names no point: ${spec.family} has blocks 0 to ${spec.nLayers - 1}.`);
  if (kind?.needs) {
    const listed = "`model.pointNames()` lists what there is";
    return error(`does not exist in this ${spec.family} model: it needs ${kind.needs}. ${listed}.`);
  }
  const plain = pattern instanceof RegExp ? pattern.source.replace(/[\\^$*+?()[\]{}|]/g, "") : pattern;
  const near = typeof plain === "string" ? ` Nearest: ${nearestNames(plain, table.keys(), 3).join(", ")}.` : "";
  return error(`matches no point of this ${spec.family} model.${near}`);
}

function layerExists(spec: ModelSpec, name: string): boolean {
  const layer = Number(/^blocks\.(\d+)\./.exec(name)?.[1] ?? 0);
  return layer < spec.nLayers;
}
