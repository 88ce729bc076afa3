/**
 * The named points of a forward pass, as one table: TransformerLens's names, the axes of each, what it is, and where it
 * does not exist. `docs/hooks.md` prints this table; captures, edits and sweeps accept exactly these names.
 */
import { HookError } from "../errors.ts";
import type { LayerSpec, ModelSpec } from "../model/spec.ts";
import { nearestNames } from "../schema/nearest.ts";
import * as s from "../schema/schema.ts";

export type Axis =
  | "batch"
  | "pos"
  | "head"
  | "kvHead"
  | "dHead"
  | "dModel"
  | "dMlp"
  | "query"
  | "key"
  | "one"
  | "vocab";

/** A kind of point: a line of the table in docs/hooks.md. */
export interface PointKind {
  /** `{i}` stands for the block. */
  readonly name: string;
  /** The shape of its activations, by the names of the axes. */
  readonly axes: readonly Axis[];
  readonly meaning: string;
  /** The formula in terms of other points and weights. */
  readonly formula: string;
  /** When the point does not exist; empty when it always does. */
  readonly absent: string;
  /** Whether a model has the point in a layer. */
  readonly exists: (spec: ModelSpec, layer: LayerSpec) => boolean;
}

const RESIDUAL: readonly Axis[] = ["batch", "pos", "dModel"];
const SCALE: readonly Axis[] = ["batch", "pos", "one"];
const HEADS: readonly Axis[] = ["batch", "pos", "head", "dHead"];
const KV_HEADS: readonly Axis[] = ["batch", "pos", "kvHead", "dHead"];
const PAIRS: readonly Axis[] = ["batch", "head", "query", "key"];
const MLP: readonly Axis[] = ["batch", "pos", "dMlp"];

const always = () => true;
const normed = (spec: ModelSpec) => spec.norm.kind !== "none";
const hasLn1 = (spec: ModelSpec) => normed(spec) && spec.block.norms !== "post";
const hasMlp = (spec: ModelSpec) => spec.mlp.absent !== true;
const hasLn2 = (spec: ModelSpec) =>
  hasLn1(spec) && hasMlp(spec) && !(spec.block.residual === "parallel" && spec.block.parallelSharedNorm);
const sequential = (spec: ModelSpec) => spec.block.residual === "sequential";
const rotates = (_: ModelSpec, layer: LayerSpec) => layer.rope !== null;
const gated = (spec: ModelSpec) => hasMlp(spec) && spec.mlp.kind === "gated";

function point(
  name: string,
  axes: readonly Axis[],
  meaning: string,
  formula: string,
  absent = "",
  exists: PointKind["exists"] = always,
): PointKind {
  return { name, axes, meaning, formula, absent, exists };
}

const NO_LN1 = "post-norm blocks (olmo2), models without norms";
const NO_LN2 = `${NO_LN1}, parallel blocks with one norm (gptj, phi, falcon, cohere)`;
const TERM = "after the post-norm (olmo2, gemma2, gemma3) and the residual multiplier (granite): exactly what is added";

/** In the order in which a forward pass reaches them. */
export const POINT_KINDS: readonly PointKind[] = [
  point("hook_embed", RESIDUAL, "token embedding", "W_E[token] * embed scale"),
  point(
    "hook_pos_embed",
    RESIDUAL,
    "position embedding",
    "W_pos[position + offset]",
    "models without learned positions (RoPE, ALiBi)",
    (spec) => spec.positions.kind === "learned",
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
    NO_LN1,
    hasLn1,
  ),
  point(
    "blocks.{i}.ln1.hook_normalized",
    RESIDUAL,
    "normed residual before weight and bias",
    "(resid_pre - mean) / scale; RMS norms: x / scale",
    NO_LN1,
    hasLn1,
  ),
  point("blocks.{i}.attn.hook_q", HEADS, "queries, before q/k norm and RoPE", "W_Q x + b_Q"),
  point("blocks.{i}.attn.hook_k", KV_HEADS, "keys, before q/k norm and RoPE", "W_K x + b_K"),
  point("blocks.{i}.attn.hook_v", KV_HEADS, "values", "W_V x + b_V"),
  point(
    "blocks.{i}.attn.hook_rot_q",
    HEADS,
    "queries after q/k norm and RoPE",
    "RoPE(norm(q))",
    "layers without RoPE",
    rotates,
  ),
  point(
    "blocks.{i}.attn.hook_rot_k",
    KV_HEADS,
    "keys after q/k norm and RoPE",
    "RoPE(norm(k))",
    "layers without RoPE",
    rotates,
  ),
  point(
    "blocks.{i}.attn.hook_attn_scores",
    PAIRS,
    "scores before the softmax; -inf where the query cannot see",
    "softCap(q·k * scale) + ALiBi",
  ),
  point("blocks.{i}.attn.hook_pattern", PAIRS, "attention weights; 0 where the query cannot see", "softmax(scores)"),
  point("blocks.{i}.attn.hook_z", HEADS, "values mixed by the pattern", "pattern v"),
  point(
    "blocks.{i}.attn.hook_result",
    ["batch", "pos", "head", "dModel"],
    "each head's part of the attention output, before the post-norm and the residual multiplier",
    "W_O[head] z[head]",
  ),
  point(
    "blocks.{i}.hook_attn_out",
    RESIDUAL,
    `what attention adds to the residual: ${TERM}`,
    "sum over heads of result + b_O",
  ),
  point(
    "blocks.{i}.hook_resid_mid",
    RESIDUAL,
    "residual stream between attention and MLP",
    "resid_pre + attn_out",
    "parallel blocks",
    sequential,
  ),
  point(
    "blocks.{i}.ln2.hook_scale",
    SCALE,
    "divisor of the norm before the MLP",
    "as ln1, of resid_mid (parallel: resid_pre)",
    NO_LN2,
    hasLn2,
  ),
  point(
    "blocks.{i}.ln2.hook_normalized",
    RESIDUAL,
    "normed residual before weight and bias",
    "as ln1, of resid_mid (parallel: resid_pre)",
    NO_LN2,
    hasLn2,
  ),
  point(
    "blocks.{i}.mlp.hook_pre",
    MLP,
    "hidden layer before the activation; gated MLPs: the gate",
    "W_in x + b_in; gated: W_gate x + b_gate",
    "blocks without an MLP",
    hasMlp,
  ),
  point(
    "blocks.{i}.mlp.hook_pre_linear",
    MLP,
    "the part of a gated MLP that is not activated",
    "W_in x + b_in",
    "MLPs without a gate",
    gated,
  ),
  point(
    "blocks.{i}.mlp.hook_post",
    MLP,
    "hidden layer after the activation",
    "act(pre); gated: act(pre) * pre_linear",
    "blocks without an MLP",
    hasMlp,
  ),
  point(
    "blocks.{i}.hook_mlp_out",
    RESIDUAL,
    `what the MLP adds to the residual: ${TERM}`,
    "W_out post + b_out",
    "blocks without an MLP",
    hasMlp,
  ),
  point(
    "blocks.{i}.hook_resid_post",
    RESIDUAL,
    "residual stream after the block",
    "resid_mid + mlp_out; parallel: resid_pre + attn_out + mlp_out",
  ),
  point(
    "ln_final.hook_scale",
    SCALE,
    "divisor of the final norm",
    "as ln1, of the last resid_post",
    "models without norms",
    normed,
  ),
  point(
    "ln_final.hook_normalized",
    RESIDUAL,
    "normed final residual before weight and bias",
    "as ln1, of the last resid_post",
    "models without norms",
    normed,
  ),
  point("logits", ["batch", "pos", "vocab"], "logits", "softCap((W_U lnFinal + b_U) * scale)"),
];

/** A point of one model. */
export interface Point {
  readonly name: string;
  readonly kind: PointKind;
  /** The block, or undefined for points outside the blocks. */
  readonly layer: number | undefined;
  /** Place in the order of the forward pass. */
  readonly order: number;
}

const pointsOf = new WeakMap<ModelSpec, Map<string, Point>>();

/** Every point of a model by name, in the order of the forward pass. */
export function pointTable(spec: ModelSpec): ReadonlyMap<string, Point> {
  let table = pointsOf.get(spec);
  if (!table) {
    table = buildTable(spec);
    pointsOf.set(spec, table);
  }
  return table;
}

const SPEC = s.simple<ModelSpec>(
  "a ModelSpec, such as model.spec",
  (value) => typeof value === "object" && value !== null && "layers" in value && "norm" in value,
);

function buildTable(given: ModelSpec): Map<string, Point> {
  const spec = s.readArgument(SPEC, given, "pointTable", "spec");
  const inBlock = POINT_KINDS.filter((kind) => kind.name.includes("{i}"));
  const before = POINT_KINDS.slice(0, POINT_KINDS.indexOf(inBlock[0] as PointKind));
  const after = POINT_KINDS.slice(before.length + inBlock.length);
  const table = new Map<string, Point>();
  const put = (kinds: readonly PointKind[], layer: number | undefined) => {
    const layerSpec = spec.layers[layer ?? 0] as LayerSpec;
    for (const kind of kinds.filter((candidate) => candidate.exists(spec, layerSpec))) {
      const name = kind.name.replace("{i}", String(layer));
      table.set(name, { name, kind, layer, order: table.size });
    }
  };
  put(before, undefined);
  for (const layer of spec.layers.keys()) put(inBlock, layer);
  put(after, undefined);
  return table;
}

/** A name, a pattern in which `*` stands for anything, a regular expression, or a function of the name. */
export type PointPattern = string | RegExp | ((name: string) => boolean);

/** One pattern or several. */
export const PATTERNS = s.oneOrMore<PointPattern>(
  "such patterns",
  s.simple(
    "the name of a point, a pattern with *, a regular expression or a function of the name",
    (value) => typeof value === "string" || value instanceof RegExp || typeof value === "function",
  ),
);

/**
 * The points that match any of the patterns, in the order of the forward pass.
 * @throws HookError `hook/no-such-point` for a pattern that matches nothing, with the nearest names.
 */
export function resolvePoints(spec: ModelSpec, given: PointPattern | readonly PointPattern[]): Point[] {
  const patterns = s.readArgument(PATTERNS, given, "resolvePoints", "patterns");
  const table = pointTable(spec);
  const chosen = new Set<Point>();
  for (const pattern of patterns) {
    const matching = [...table.values()].filter((candidate) => matches(pattern, candidate.name));
    if (matching.length === 0) throw noSuchPoint(spec, pattern, table);
    for (const match of matching) chosen.add(match);
  }
  return [...chosen].sort((a, b) => a.order - b.order);
}

/** The point of exactly this name. */
export function resolvePoint(spec: ModelSpec, name: string): Point {
  const found = pointTable(spec).get(name);
  if (!found) throw noSuchPoint(spec, name, pointTable(spec));
  return found;
}

function matches(pattern: PointPattern, name: string): boolean {
  if (typeof pattern === "function") return pattern(name);
  if (typeof pattern !== "string") return new RegExp(pattern.source, pattern.flags.replace("g", "")).test(name);
  const escaped = pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
  return new RegExp(`^${escaped}$`).test(name);
}

function noSuchPoint(spec: ModelSpec, pattern: PointPattern, table: ReadonlyMap<string, Point>): HookError {
  const text = typeof pattern === "string" ? `"${pattern}"` : String(pattern);
  const kind =
    typeof pattern === "string" ? POINT_KINDS.find((candidate) => generic(pattern) === candidate.name) : undefined;
  if (kind && !layerExists(spec, pattern as string)) {
    return new HookError(
      "hook/no-such-point",
      `${text} names no point: ${spec.family} has blocks 0 to ${spec.nLayers - 1}.`,
    );
  }
  if (kind?.absent) {
    return new HookError(
      "hook/no-such-point",
      `${text} does not exist in this ${spec.family} model; it is absent in ${kind.absent}.`,
    );
  }
  const plain = pattern instanceof RegExp ? pattern.source.replace(/[\\^$*+?()[\]{}|]/g, "") : pattern;
  const near = typeof plain === "string" ? ` Nearest: ${nearestNames(plain, table.keys(), 3).join(", ")}.` : "";
  return new HookError("hook/no-such-point", `${text} matches no point of this ${spec.family} model.${near}`);
}

const generic = (name: string) => name.replace(/^blocks\.(\d+|\*)\./, "blocks.{i}.");

function layerExists(spec: ModelSpec, name: string): boolean {
  const layer = Number(/^blocks\.(\d+)\./.exec(name)?.[1] ?? 0);
  return layer < spec.nLayers;
}
