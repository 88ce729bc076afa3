/**
 * What every point is, in float64, from the points before it and the weights: the formulas of the table, one each.
 *
 * A value at (point, position) is one flat row: heads times width, for scores and pattern heads times keys.
 */

import { ropeTable } from "../../src/model/rope.ts";
import type {
  Activation,
  ExpertsSpec,
  LatentSpec,
  LayerSpec,
  ModelSpec,
  NormSpec,
  PerLayerSpec,
  WeightName,
} from "../../src/model/spec.ts";
import { ACTIVATIONS, softCapped } from "../../src/ops/activations.ts";
import { rotated } from "../../src/ops/attention-reference.ts";
import { normalized, normReference } from "../../src/ops/norm-reference.ts";
import { type Routed, routed } from "../../src/ops/route-reference.ts";
import type { lookupIn } from "../engine/forward.reference.ts";

type Row = ArrayLike<number>;

/** One sequence of a run in which every point was captured. */
export interface Seen {
  spec: ModelSpec;
  ids: readonly number[];
  weights: ReturnType<typeof lookupIn>;
  /** The captured row; undefined when the model has no such point. */
  row(name: string, position: number): Float32Array | undefined;
}

const dot = (a: Row, b: Row) => Array.from(a).reduce((sum, value, i) => sum + value * (b[i] as number), 0);
const plus = (a: Row, b: Row) => Float64Array.from(a, (value, i) => value + (b[i] as number));
const times = (a: Row, scale: number) => Float64Array.from(a, (value) => value * scale);
const part = (row: Row, index: number, width: number) => Array.from(row).slice(index * width, (index + 1) * width);

/** A block, or what lies around the blocks, at one position. */
class Place {
  constructor(
    readonly seen: Seen,
    readonly layer: number,
    readonly position: number,
  ) {}

  get spec(): ModelSpec {
    return this.seen.spec;
  }

  get settings(): LayerSpec {
    return this.spec.layers[this.layer] as LayerSpec;
  }

  get dHead(): number {
    return this.settings.dHead ?? this.spec.dHead;
  }

  /** The block whose keys and values attention reads, at a position. */
  keysAt(position: number): Place {
    return new Place(this.seen, this.settings.keysFrom ?? this.layer, position);
  }

  /** A point of this block, or with `outside` of the whole model. */
  find(name: string, position = this.position): Float32Array | undefined {
    return this.seen.row(`blocks.${this.layer}.${name}`, position);
  }

  at(name: string, position = this.position): Float32Array {
    return this.find(name, position) as Float32Array;
  }

  outside(name: string): Float32Array | undefined {
    return this.seen.row(name, this.position);
  }

  weight(name: string): Row[] | undefined {
    return this.seen.weights(name as WeightName, this.layer);
  }

  flat(name: string): Float64Array | undefined {
    const rows = this.weight(name);
    return rows && Float64Array.from(rows.flatMap((row) => Array.from(row)));
  }

  /** W x + b. */
  linear(name: string, x: Row): Float64Array {
    const b = this.flat(name.replace("W_", "b_"));
    return Float64Array.from(this.weight(name) as Row[], (row, i) => dot(row, x) + (b?.[i] ?? 0));
  }

  norm(name: string, x: Row, norm: NormSpec, pick: (w: Float64Array) => Float64Array = (w) => w): Row {
    if (norm.kind === "none") return x;
    if (norm.affine === false)
      return normReference(x as Float32Array, { ...norm, kind: norm.kind, w: undefined, b: undefined });
    const [w, b] = [this.flat(`${name}.w`), this.flat(`${name}.b`)];
    return normReference(x as Float32Array, { ...norm, kind: norm.kind, w: w && pick(w), b: b && pick(b) });
  }

  /** What attention (`ln1`) or the MLP reads: the captured normed residual times weight plus bias, or the residual. */
  input(name: "ln1" | "ln2"): Row {
    const { block } = this.spec;
    const used = block.residual === "parallel" && block.parallelSharedNorm ? "ln1" : name;
    const before = name === "ln2" && block.residual === "sequential" ? "hook_resid_mid" : "hook_resid_pre";
    const x = this.find(`${used}.hook_normalized`);
    return x ? this.affine(used, x) : this.at(before);
  }

  /** A normed row times the norm's weight plus its bias. */
  affine(name: string, x: Row): Float64Array {
    const { weightOffset } = this.spec.norm;
    const [w, b] = [this.flat(`${name}.w`), this.flat(`${name}.b`)];
    return Float64Array.from(x, (value, d) => value * ((w?.[d] ?? 1 - weightOffset) + weightOffset) + (b?.[d] ?? 0));
  }

  get normsSums(): boolean {
    return this.spec.block.norms === "added";
  }

  /** What is added to the residual: through the post-norm, and scaled. */
  term(name: "ln1" | "ln2", branch: Row): Float64Array {
    const normed = this.normsSums ? undefined : this.find(`${name}_post.hook_normalized`);
    return times(normed ? this.affine(`${name}Post`, normed) : branch, this.spec.block.residualScale);
  }

  /** The residual before attention or the MLP, and what that adds, before the norm of such sums. */
  sum(name: "ln1" | "ln2"): Row {
    if (name === "ln1") return plus(this.at("hook_resid_pre"), this.at("hook_attn_out"));
    return plus(this.find("hook_resid_mid") ?? this.sum("ln1"), this.at("hook_mlp_out"));
  }

  /** The residual after attention or the MLP. */
  after(name: "ln1" | "ln2"): Row {
    return this.normsSums ? this.affine(`${name}Post`, this.at(`${name}_post.hook_normalized`)) : this.sum(name);
  }

  /** What the norm after attention or the MLP reads. */
  postInput(name: "ln1" | "ln2"): Row {
    if (this.normsSums) return this.sum(name);
    return this.at(name === "ln1" ? "attn.hook_out" : "mlp.hook_out");
  }

  /** Query or key vectors as the scores see them: normed and rotated. */
  rotated(which: "q" | "k", position = this.position): Float64Array {
    const { dHead } = this;
    const { attention, ropes } = this.spec;
    const name = `attn.${which}Norm`;
    const raw = this.at(`attn.hook_${which}`, position);
    const whole = attention.qkNorm === "full" ? this.norm(name, raw, attention.qkNormSpec) : raw;
    const rope = this.settings.rope === null ? undefined : ropes[this.settings.rope];
    const heads = Array.from({ length: raw.length / dHead }, (_, head) => {
      let vector: Row = Float64Array.from(part(whole, head, dHead));
      if (attention.qkNorm === "head" && !attention.qkNormAfterRope)
        vector = this.norm(name, vector, attention.qkNormSpec);
      if (attention.qkNorm === "perHead")
        vector = this.norm(name, vector, attention.qkNormSpec, (w) => w.slice(head * dHead, (head + 1) * dHead));
      if (!rope) return Array.from(vector);
      const { cos, sin } = ropeTable(rope, position + 1);
      const table = Float32Array.from({ length: 2 * cos.length }, (_, i) => (i % 2 ? sin : cos)[i >> 1] as number);
      return Array.from(rotated(vector as Float32Array, table, position, rope.rotaryDim / 2, rope.style));
    });
    return Float64Array.from(heads.flat());
  }

  /** The last dimensions of a head turned, of queries, or those that keys of all heads share. */
  turned(x: Row, position = this.position): number[] {
    const rope = this.settings.rope === null ? undefined : this.spec.ropes[this.settings.rope];
    if (!rope) return Array.from(x);
    const { cos, sin } = ropeTable(rope, position + 1);
    const table = Float32Array.from({ length: 2 * cos.length }, (_, i) => (i % 2 ? sin : cos)[i >> 1] as number);
    return Array.from(rotated(Float64Array.from(x), table, position, rope.rotaryDim / 2, rope.style));
  }

  get latent(): LatentSpec {
    return this.spec.attention.latent as LatentSpec;
  }

  latentOf(which: "q" | "kv"): Row {
    const x = this.linear(`attn.W_D${which.toUpperCase()}`, this.input("ln1"));
    return this.norm(`attn.${which}LatentNorm`, x, this.latent.norm);
  }

  /** Of each head, before RoPE. */
  latentQueries(): number[][] {
    const { nHeads, dHead } = this.spec;
    const all =
      this.latent.dQ === undefined
        ? this.linear("attn.W_Q", this.input("ln1"))
        : this.linear("attn.W_UQ", this.at("attn.hook_q_latent"));
    return Array.from({ length: nHeads }, (_, head) => part(all, head, dHead));
  }

  latentKeys(): number[] {
    const { nHeads, dHead } = this.spec;
    const dNope = dHead - this.latent.dRope;
    const own = this.linear("attn.W_UK", this.at("attn.hook_kv_latent"));
    const shared = Array.from(this.at("attn.hook_rot_k"));
    return Array.from({ length: nHeads }, (_, head) => [...part(own, head, dNope), ...shared]).flat();
  }

  sees(key: number): boolean {
    const { window, chunk } = this.settings;
    if (chunk !== undefined && Math.floor(key / chunk) !== Math.floor(this.position / chunk)) return false;
    const isBefore = key <= this.position || this.spec.attention.causal === false;
    return isBefore && key < this.seen.ids.length && (window === null || Math.abs(key - this.position) < window);
  }

  /** For each head and key: `of` where the query sees the key, else `hidden`. */
  pairs(hidden: number, of: (head: number, key: number) => number): number[] {
    const keys = this.seen.ids.length;
    return Array.from({ length: this.spec.nHeads * keys }, (_, i) => {
      const key = i % keys;
      return this.sees(key) ? of(Math.floor(i / keys), key) : hidden;
    });
  }

  kvHead(head: number): number {
    return Math.floor(head / (this.spec.nHeads / (this.settings.nKvHeads ?? this.spec.nKvHeads)));
  }

  /** Queries or keys as the scores have them: turned, and normed after that or scaled by their position where the layer does so. */
  scored(which: "q" | "k"): Row {
    const { dHead } = this;
    const { attention } = this.spec;
    const turned = this.find(`attn.hook_rot_${which}`) ?? this.rotated(which);
    const isNormed = attention.qkNormAfterRope && this.settings.qkNorm !== false;
    const heads = Array.from({ length: turned.length / dHead }, (_, head) => part(turned, head, dHead));
    const normed = isNormed
      ? heads.flatMap((x) => Array.from(this.norm(`attn.${which}Norm`, x, attention.qkNormSpec)))
      : turned;
    const { queryScale } = this.settings;
    if (which === "k" || !queryScale) return normed;
    const { factor, span, shift } = queryScale;
    return times(normed, 1 + factor * Math.log(1 + Math.floor((this.position + shift) / span)));
  }

  score(head: number, key: number): number {
    const { dHead } = this;
    const { attention, positions } = this.spec;
    const keys = this.keysAt(key);
    const [q, k] = attention.latent
      ? [this.at("attn.hook_q"), keys.at("attn.hook_k")]
      : [this.scored("q"), keys.scored("k")];
    const product =
      dot(part(q, head, dHead), part(k, this.kvHead(head), dHead)) * (this.settings.attentionScale ?? attention.scale);
    const bias = positions.kind === "alibi" ? (positions.slopes[head] as number) * (key - this.position) : 0;
    return softCapped(product, attention.softCap) + bias;
  }

  pattern(): Float64Array {
    const scores = this.at("attn.hook_attn_scores");
    const keys = this.seen.ids.length;
    const sinks = this.flat("attn.sinks");
    return Float64Array.from(scores, (score, i) => {
      const head = Math.floor(i / keys);
      const row = [...part(scores, head, keys), ...(sinks ? [sinks[head] as number] : [])];
      const largest = Math.max(...row);
      return Math.exp(score - largest) / row.reduce((sum, each) => sum + Math.exp(each - largest), 0);
    });
  }

  mixed(): Float64Array {
    const { nHeads, dValue: dHead = this.dHead } = this.spec;
    const keys = this.seen.ids.length;
    const values = Array.from({ length: keys }, (_, key) => this.keysAt(key).values());
    const pattern = this.at("attn.hook_pattern");
    return Float64Array.from({ length: nHeads * dHead }, (_, i) => {
      const head = Math.floor(i / dHead);
      const place = this.kvHead(head) * dHead + (i % dHead);
      let sum = 0;
      for (let key = 0; key < keys; key++)
        sum += (pattern[head * keys + key] as number) * (values[key]?.[place] as number);
      return sum;
    });
  }

  /** Values as they are mixed: through their norm, where they have one. */
  values(): Row {
    const raw = this.at("attn.hook_v");
    const { vNorm } = this.spec.attention;
    if (!vNorm) return raw;
    const heads = Array.from({ length: raw.length / this.dHead }, (_, head) => part(raw, head, this.dHead));
    return heads.flatMap((vector) => Array.from(this.norm("attn.vNorm", Float64Array.from(vector), vNorm)));
  }

  /** What this block has of the token for itself. */
  ofToken(): Float64Array {
    const { width, tableScale, projectionScale, scale } = this.spec.embed.perLayer as PerLayerSpec;
    const context = times(this.linear("embed.perLayer.W_proj", this.outside("hook_embed") as Row), projectionScale);
    const own = Float64Array.from(part(context, this.layer, width));
    const table = this.weight("embed.perLayer.W_E")?.[this.seen.ids[this.position] as number] as Row;
    const identity = times(part(table, this.layer, width), tableScale);
    return times(plus(this.norm("embed.perLayer.norm", own, this.spec.norm), identity), scale);
  }

  /** What the block adds of the token. */
  addedOfToken(): Row {
    const act = ACTIVATIONS[(this.spec.embed.perLayer as PerLayerSpec).activation];
    const own = this.at("hook_per_layer_in");
    const gate = this.linear("perLayer.W_gate", this.after("ln2")).map((value, i) => act(value) * (own[i] as number));
    return this.norm("perLayer.norm", this.linear("perLayer.W_out", gate), this.spec.norm);
  }

  /** Each head's part of the output: its columns of W_O times its z. */
  results(): Float64Array {
    const { nHeads, dModel, dValue: dHead = this.dHead } = this.spec;
    const z = this.at("attn.hook_z");
    const W_O = this.weight("attn.W_O") as Row[];
    return Float64Array.from({ length: nHeads * dModel }, (_, i) => {
      const head = Math.floor(i / dModel);
      return dot(part(W_O[i % dModel] as Row, head, dHead), part(z, head, dHead));
    });
  }

  summedResults(): Float64Array {
    const { nHeads, dModel } = this.spec;
    const results = this.at("attn.hook_result");
    const b_O = this.flat("attn.b_O");
    return Float64Array.from({ length: dModel }, (_, d) =>
      Array.from({ length: nHeads }, (_, head) => results[head * dModel + d] as number).reduce(
        (sum, value) => sum + value,
        b_O?.[d] ?? 0,
      ),
    );
  }

  get experts(): ExpertsSpec {
    return this.spec.mlp.experts as ExpertsSpec;
  }

  routed(): Routed {
    const { routing, perToken } = this.experts;
    return routed(routing, [...this.at("mlp.hook_router_logits")], perToken, this.flat("mlp.b_choice"));
  }

  /** What the experts of this row make of what each reads, one behind the other. */
  ofExperts(name: "gate" | "in" | "out", x: (slot: number) => Row): Float64Array {
    const rows = this.weight(`mlp.experts.W_${name}`) as Row[];
    const bias = this.flat(`mlp.experts.b_${name}`);
    const width = rows.length / this.experts.count;
    const slots = Array.from(this.at("mlp.hook_expert_indices"), (expert, slot) =>
      Array.from({ length: width }, (_, n) => {
        const at = expert * width + n;
        return dot(rows[at] as Row, x(slot)) + (bias?.[at] ?? 0);
      }),
    );
    return Float64Array.from(slots.flat());
  }

  expertInput(slot: number): Row {
    const x = this.input("ln2");
    return this.experts.weighsInput ? times(x, this.at("mlp.hook_expert_weights")[slot] as number) : x;
  }

  /** act(pre), or its product with the linear part, within bounds where the experts have some. */
  hidden(pre: Row, linear: Row | undefined, clamp?: ExpertsSpec["clamp"]): Float64Array {
    const act = ACTIVATIONS[this.spec.mlp.activation as Activation];
    const { limit = Number.POSITIVE_INFINITY, plus: offset = 0 } = clamp ?? {};
    return Float64Array.from(pre, (value, i) => {
      const factor = linear === undefined ? 1 : Math.min(Math.max(linear[i] as number, -limit), limit) + offset;
      return act(Math.min(value, limit)) * factor;
    });
  }

  /** What experts add together, and the MLP beside them. */
  addedByExperts(): Float64Array {
    const { dModel } = this.spec;
    const out = this.at("mlp.hook_expert_out");
    const shared = this.find("mlp.hook_shared_out");
    const weights = this.at("mlp.hook_expert_weights");
    return Float64Array.from({ length: dModel }, (_, d) =>
      Array.from(weights).reduce(
        (sum, weight, slot) => sum + (this.experts.weighsInput ? 1 : weight) * (out[slot * dModel + d] as number),
        shared?.[d] ?? 0,
      ),
    );
  }

  sharedOut(): Float64Array {
    const out = this.linear("mlp.shared.W_out", this.at("mlp.hook_shared_post"));
    const gate = this.weight("mlp.shared.W_weight")?.[0];
    return gate ? times(out, ACTIVATIONS.sigmoid(dot(gate, this.input("ln2")))) : out;
  }

  residPre(): Row {
    if (this.layer > 0) return this.seen.row(`blocks.${this.layer - 1}.hook_resid_post`, this.position) as Float32Array;
    const normed = this.outside("embed.ln.hook_normalized");
    return normed ? this.affine("embed.norm", normed) : this.embedded();
  }

  /** Tokens and positions. */
  embedded(): Row {
    const embed = this.outside("hook_embed") as Float32Array;
    const positions = this.outside("hook_pos_embed");
    return positions ? plus(embed, positions) : embed;
  }

  finalResidual(): Float32Array {
    return this.seen.row(`blocks.${this.spec.nLayers - 1}.hook_resid_post`, this.position) as Float32Array;
  }

  /** What the unembedding reads, or the layer before it. */
  finalInput(): Row {
    const normed = this.outside("ln_final.hook_normalized");
    return normed ? this.affine("lnFinal", normed) : this.finalResidual();
  }

  logits(): Float64Array {
    const { unembed } = this.spec;
    const x = this.outside("unembed.hook_in") ?? this.finalInput();
    const b_U = this.flat("unembed.b_U");
    const W_U = this.weight(unembed.tied ? "embed.W_E" : "unembed.W_U") as Row[];
    return Float64Array.from(W_U, (row, token) =>
      softCapped((dot(row, x) + (b_U?.[token] ?? 0)) * unembed.scale, unembed.softCap),
    );
  }
}

const scaleOf = (x: Row, norm: NormSpec) => [
  normalized(x as Float32Array, norm as NormSpec & { kind: "layer" | "rms" }).scale,
];

/** x over a scale that was captured, centred for LayerNorm. */
function over(x: Row, [scale = 1]: Row & Iterable<number>, norm: NormSpec): Float64Array {
  const mean = norm.kind === "layer" ? Array.from(x).reduce((sum, value) => sum + value, 0) / x.length : 0;
  return Float64Array.from(x, (value) => (value - mean) / scale);
}

const repeated = (x: Row, heads: number) => Array.from({ length: heads }, () => Array.from(x)).flat();

const beforeMlp = (place: Place) => place.find("hook_resid_mid") ?? place.at("hook_resid_pre");

/** Of models with latent attention. */
export const LATENT_FORMULAS: Record<string, (place: Place) => Row> = {
  "blocks.{i}.attn.hook_rot_q": (place) =>
    place.latentQueries().flatMap((q) => place.turned(q.slice(q.length - place.latent.dRope))),
  "blocks.{i}.attn.hook_rot_k": (place) => place.turned(place.linear("attn.W_KR", place.input("ln1"))),
  "blocks.{i}.attn.hook_q": (place) => {
    const { dRope } = place.latent;
    const turned = place.at("attn.hook_rot_q");
    return place.latentQueries().flatMap((q, head) => [...q.slice(0, q.length - dRope), ...part(turned, head, dRope)]);
  },
  "blocks.{i}.attn.hook_k": (place) => place.latentKeys(),
};

/** By the name of the point in the table. */
export const FORMULAS: Record<string, (place: Place) => Row> = {
  hook_embed: ({ seen, position, spec }) =>
    times(seen.weights("embed.W_E")?.[seen.ids[position] as number] as Row, spec.embed.scale),
  hook_pos_embed: ({ seen, position, spec: { positions } }) =>
    seen.weights("embed.W_pos")?.[position + (positions.kind === "learned" ? positions.offset : 0)] as Row,
  "embed.ln.hook_scale": (place) => scaleOf(place.embedded(), place.spec.norm),
  "embed.ln.hook_normalized": (place) =>
    over(place.embedded(), place.outside("embed.ln.hook_scale") as Float32Array, place.spec.norm),
  "blocks.{i}.hook_resid_pre": (place) => place.residPre(),
  "blocks.{i}.ln1.hook_scale": (place) => scaleOf(place.at("hook_resid_pre"), place.spec.norm),
  "blocks.{i}.ln1.hook_normalized": (place) =>
    over(place.at("hook_resid_pre"), place.at("ln1.hook_scale"), place.spec.norm),
  "blocks.{i}.attn.hook_in": (place) => place.input("ln1"),
  "blocks.{i}.hook_q_input": (place) => repeated(place.at("hook_resid_pre"), place.spec.nHeads),
  "blocks.{i}.hook_k_input": (place) => repeated(place.at("hook_resid_pre"), place.spec.nKvHeads),
  "blocks.{i}.hook_v_input": (place) => repeated(place.at("hook_resid_pre"), place.spec.nKvHeads),
  "blocks.{i}.attn.hook_q_latent": (place) => place.latentOf("q"),
  "blocks.{i}.attn.hook_kv_latent": (place) => place.latentOf("kv"),
  "blocks.{i}.attn.hook_q": (place) => place.linear("attn.W_Q", place.input("ln1")),
  "blocks.{i}.attn.hook_k": (place) => place.linear("attn.W_K", place.input("ln1")),
  "blocks.{i}.attn.hook_v": (place) =>
    place.spec.attention.latent
      ? place.linear("attn.W_UV", place.at("attn.hook_kv_latent"))
      : place.linear("attn.W_V", place.input("ln1")),
  "blocks.{i}.attn.hook_rot_q": (place) => place.rotated("q"),
  "blocks.{i}.attn.hook_rot_k": (place) => place.rotated("k"),
  "blocks.{i}.attn.hook_attn_scores": (place) =>
    place.pairs(Number.NEGATIVE_INFINITY, (head, key) => place.score(head, key)),
  "blocks.{i}.attn.hook_pattern": (place) => place.pattern(),
  "blocks.{i}.attn.hook_z": (place) => place.mixed(),
  "blocks.{i}.attn.hook_result": (place) => place.results(),
  "blocks.{i}.attn.hook_out": (place) => place.summedResults(),
  "blocks.{i}.ln1_post.hook_scale": (place) => scaleOf(place.postInput("ln1"), place.spec.norm),
  "blocks.{i}.ln1_post.hook_normalized": (place) =>
    over(place.postInput("ln1"), place.at("ln1_post.hook_scale"), place.spec.norm),
  "blocks.{i}.hook_attn_out": (place) => place.term("ln1", place.summedResults()),
  "blocks.{i}.hook_resid_mid": (place) => place.after("ln1"),
  "blocks.{i}.hook_mlp_in": (place) => beforeMlp(place),
  "blocks.{i}.ln2.hook_scale": (place) => scaleOf(beforeMlp(place), place.spec.norm),
  "blocks.{i}.ln2.hook_normalized": (place) => over(beforeMlp(place), place.at("ln2.hook_scale"), place.spec.norm),
  "blocks.{i}.mlp.hook_in": (place) => place.input("ln2"),
  "blocks.{i}.mlp.hook_pre": (place) =>
    place.linear(place.spec.mlp.kind === "gated" ? "mlp.W_gate" : "mlp.W_in", place.input("ln2")),
  "blocks.{i}.mlp.hook_pre_linear": (place) => place.linear("mlp.W_in", place.input("ln2")),
  "blocks.{i}.mlp.hook_post": (place) => {
    const linear = place.find("mlp.hook_pre_linear");
    const act = ACTIVATIONS[place.spec.mlp.activation as Activation];
    return Float64Array.from(place.at("mlp.hook_pre"), (value, i) => act(value) * (linear?.[i] ?? 1));
  },
  "blocks.{i}.mlp.hook_router_logits": (place) => place.linear("mlp.W_router", place.input("ln2")),
  "blocks.{i}.mlp.hook_expert_indices": (place) => place.routed().indices,
  "blocks.{i}.mlp.hook_expert_weights": (place) => place.routed().weights,
  "blocks.{i}.mlp.hook_expert_pre": (place) =>
    place.ofExperts(place.spec.mlp.kind === "gated" ? "gate" : "in", (slot) => place.expertInput(slot)),
  "blocks.{i}.mlp.hook_expert_pre_linear": (place) => place.ofExperts("in", (slot) => place.expertInput(slot)),
  "blocks.{i}.mlp.hook_expert_post": (place) =>
    place.hidden(place.at("mlp.hook_expert_pre"), place.find("mlp.hook_expert_pre_linear"), place.experts.clamp),
  "blocks.{i}.mlp.hook_expert_out": (place) =>
    place.ofExperts("out", (slot) => part(place.at("mlp.hook_expert_post"), slot, place.experts.dExpert)),
  "blocks.{i}.mlp.hook_shared_pre": (place) =>
    place.linear(place.spec.mlp.kind === "gated" ? "mlp.shared.W_gate" : "mlp.shared.W_in", place.input("ln2")),
  "blocks.{i}.mlp.hook_shared_pre_linear": (place) => place.linear("mlp.shared.W_in", place.input("ln2")),
  "blocks.{i}.mlp.hook_shared_post": (place) =>
    place.hidden(place.at("mlp.hook_shared_pre"), place.find("mlp.hook_shared_pre_linear")),
  "blocks.{i}.mlp.hook_shared_out": (place) => place.sharedOut(),
  "blocks.{i}.mlp.hook_out": (place) =>
    place.find("mlp.hook_expert_out") ? place.addedByExperts() : place.linear("mlp.W_out", place.at("mlp.hook_post")),
  "blocks.{i}.ln2_post.hook_scale": (place) => scaleOf(place.postInput("ln2"), place.spec.norm),
  "blocks.{i}.ln2_post.hook_normalized": (place) =>
    over(place.postInput("ln2"), place.at("ln2_post.hook_scale"), place.spec.norm),
  "blocks.{i}.hook_mlp_out": (place) => place.term("ln2", place.at("mlp.hook_out")),
  "blocks.{i}.hook_per_layer_in": (place) => place.ofToken(),
  "blocks.{i}.hook_per_layer_out": (place) => place.addedOfToken(),
  "blocks.{i}.hook_resid_post": (place) => {
    const ofToken = place.find("hook_per_layer_out");
    const sum = ofToken ? plus(place.after("ln2"), ofToken) : place.after("ln2");
    return times(sum, place.flat("block.scalar")?.[0] ?? 1);
  },
  "ln_final.hook_scale": (place) => scaleOf(place.finalResidual(), place.spec.norm),
  "ln_final.hook_normalized": (place) =>
    over(place.finalResidual(), place.outside("ln_final.hook_scale") as Float32Array, place.spec.norm),
  "unembed.hook_in": (place) => {
    const act = ACTIVATIONS[place.spec.unembed.transform?.activation as Activation];
    return place.norm("unembed.ln", place.linear("unembed.W_transform", place.finalInput()).map(act), place.spec.norm);
  },
  logits: (place) => place.logits(),
};

/** What a point should be at a position of a run. */
export function expectedRow(seen: Seen, kind: string, layer: number | undefined, position: number): Row {
  const ofLatent = seen.spec.attention.latent ? LATENT_FORMULAS[kind] : undefined;
  const formula = ofLatent ?? FORMULAS[kind];
  if (!formula) throw new Error(`no formula for ${kind}`);
  return formula(new Place(seen, layer ?? 0, position));
}
