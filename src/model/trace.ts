/**
 * Tracing: a `ModelSpec` becomes a graph of ops.
 *
 * Read top to bottom it is a decoder: embed, then for each block attention and MLP around the residual stream, then norm
 * and unembedding. It names every point, and knows neither buffers nor kernels: the graph decides what is fused, and where
 * values lie.
 */
import { InputError } from "../errors.ts";
import { type Graph, GraphBuilder } from "../graph/graph.ts";
import { ADD } from "../ops/add.ts";
import { MIX, SCORES, SOFTMAX } from "../ops/attention.ts";
import type { AttentionAttributes } from "../ops/attention-call.ts";
import { CLAMP } from "../ops/clamp.ts";
import { COPY } from "../ops/copy.ts";
import { RESHAPE } from "../ops/dictionary.ts";
import { ACTIVATION, SCALE, SOFT_CAP } from "../ops/elementwise.ts";
import { EMBED } from "../ops/embed.ts";
import { EMBEDS } from "../ops/embeds.ts";
import { EXPERT_MATMUL } from "../ops/experts.ts";
import { HEAD_PROJECTION } from "../ops/head-inputs.ts";
import { JOIN_HEADS, SPLIT_HEADS } from "../ops/head-parts.ts";
import { JOIN } from "../ops/join.ts";
import { HEAD_RESULTS, MATMUL } from "../ops/matmul.ts";
import { MULTIPLY } from "../ops/multiply.ts";
import { AFFINE, NORM_SCALE, NORMALIZE } from "../ops/norm.ts";
import type { Shape, Value, WeightRef } from "../ops/op.ts";
import { PICK_HEAD } from "../ops/pick-head.ts";
import { POSITION_SCALE } from "../ops/position-scale.ts";
import { QK_NORM } from "../ops/qk-norm.ts";
import { ROPE } from "../ops/rope.ts";
import { ROUTE } from "../ops/route.ts";
import { SCALE_BY } from "../ops/scale-by.ts";
import { SELECT } from "../ops/select.ts";
import { SINUSOIDS } from "../ops/sinusoids.ts";
import { STORE } from "../ops/store.ts";
import { REPEAT_HEADS, SUM_HEADS } from "../ops/sum-heads.ts";
import { WEIGH } from "../ops/weigh.ts";
import { XIELU } from "../ops/xielu.ts";
import { isCausal } from "./causality.ts";
import { spliceModules, writtenBy } from "./modules.ts";
import type {
  Activation,
  ExpertsSpec,
  LatentSpec,
  LayerSpec,
  ModelSpec,
  NormSpec,
  PerLayerSpec,
  RopeSpec,
  UnembedSpec,
} from "./spec.ts";
import {
  attentionWidth,
  dHeadOf,
  dMlpOf,
  dValueOf,
  isSparse,
  nKvHeadsOf,
  normsAttention,
  normsQkIn,
  ownsKeys,
  projectsValues,
} from "./weights/table.ts";

/** What the graph of a pass depends on, besides the spec. */
export interface PassForm {
  /** Embeddings that the caller supplies, in place of the tokens'. */
  readonly embeds?: boolean;
  /** Rows join at later layers than the first. */
  readonly joins?: boolean;
  /** Some rows end once their keys and values in the last block are stored; the others give the logits. */
  readonly narrow?: boolean;
  /** Begins with this block, whose residual the caller supplies. */
  readonly startAtLayer?: number | undefined;
  /** Ends before this block; there are no logits then. */
  readonly stopAtLayer?: number | undefined;
  /**
   * The points that hooks change, or whose gradients are wanted. Where heads or the MLP read a copy of the residual of their own, as those
   * at `hook_q_input` do, they read it only if it is among these.
   */
  readonly changed?: { has(point: string): boolean };
  /** Of every row, of some that are picked after the final norm, or of none. */
  readonly logits?: "all" | "picked" | "none";
}

/** The graph of a pass: its ops, with a point's name on each value that has one. */
export function trace(spec: ModelSpec, form: PassForm = {}): Graph {
  const { modules = [] } = spec;
  if (modules.length === 0) return new Tracer(spec, form).run();
  const isWritten = (point: string) => modules.some((module) => writtenBy(module, point));
  const changed = { has: (point: string) => isWritten(point) || (form.changed?.has(point) ?? false) };
  return spliceModules(new Tracer(spec, { ...form, changed }).run(), modules, form.changed);
}

/** Of norms without weights: weights that are absent are read as zeros, and with an offset of 1 they change nothing. */
const withoutWeights = (spec: NormSpec): NormSpec => (spec.affine === false ? { ...spec, weightOffset: 1 } : spec);

const needsTokens = ({ family }: ModelSpec) =>
  new InputError(
    "input/needs-tokens",
    `Every block of this ${family} model has embeddings of its own, which it looks up by token. Give text or token ids, and start at the first block.`,
  );

class Tracer extends GraphBuilder {
  /** Keys and values in the cache, by the block that made them. */
  readonly #stored: { keys: Value; values: Value }[] = [];
  /** What each block has of the token for itself. */
  #ofLayers: Value | undefined;

  constructor(
    private readonly spec: ModelSpec,
    private readonly form: PassForm,
  ) {
    super();
  }

  run(): Graph {
    const { spec, form } = this;
    const end = Math.min(form.stopAtLayer ?? spec.nLayers, spec.nLayers);
    const start = form.startAtLayer ?? 0;
    this.layer = start;
    let residual = form.startAtLayer === undefined ? this.#embedding() : this.#given();
    for (let layer = start; layer < end; layer++) {
      this.layer = layer;
      residual = this.#block(residual);
    }
    const hasLogits = form.stopAtLayer === undefined;
    const logits = hasLogits ? this.#unembedding(residual) : undefined;
    return { ops: this.ops, output: form.logits === "none" ? undefined : logits };
  }

  /** Tokens and positions, or what the caller supplies, to the first residual [row, dModel]. */
  #embedding(): Value {
    const { spec, form } = this;
    const width = spec.dModel;
    const tokens = form.embeds ? this.one(EMBEDS, [], { width }, "hook_embed", 0) : this.#tokenEmbedding();
    if (spec.embed.perLayer) this.#ofLayers = this.#layerEmbeddings(tokens, spec.embed.perLayer);
    const { positions } = spec;
    let residual = tokens;
    if (positions.kind === "learned") {
      const attributes = {
        table: { name: "W_pos" },
        width,
        by: "position",
        offset: positions.offset,
        scale: 1,
      } as const;
      const learned = this.one(EMBED, [], attributes, "hook_pos_embed", 0);
      residual = this.one(ADD, [tokens, learned], { scale: 1 });
    }
    if (positions.kind === "sinusoidal") {
      const fixed = this.one(SINUSOIDS, [], { width, offset: positions.offset }, "hook_pos_embed", 0);
      residual = this.one(ADD, [tokens, fixed], { scale: 1 });
    }
    return spec.embed.norm ? this.#norm(residual, { name: "embedNorm" }) : residual;
  }

  /** What each block has of the token for itself, [row, nLayers, width]. */
  #layerEmbeddings(tokens: Value, perLayer: PerLayerSpec): Value {
    if (this.form.embeds) throw needsTokens(this.spec);
    const { nLayers, norm } = this.spec;
    const { width, tableScale, projectionScale, scale } = perLayer;
    const shape = { heads: nLayers, width };
    const context = this.one(MATMUL, [tokens], { weight: { name: "perLayerProjection" }, parts: [shape] });
    const scaled = this.one(SCALE, [context], { scale: projectionScale });
    const weights = { name: "perLayerNorm" };
    const normed =
      norm.kind === "none"
        ? scaled
        : this.one(QK_NORM, [scaled], { spec: withoutWeights(norm), over: "head", weights });
    const table = { name: "W_E_perLayer" };
    const attributes = { table, width: nLayers * width, by: "token", offset: 0, scale: tableScale } as const;
    const identity = this.one(RESHAPE, [this.one(EMBED, [], attributes, undefined, 0)], shape);
    return this.one(SCALE, [this.one(ADD, [normed, identity], { scale: 1 })], { scale });
  }

  /** Tokens to rows of the embedding, taken to the residual's width where they have another. */
  #tokenEmbedding(): Value {
    const { embed, dModel } = this.spec;
    const { scale, width = dModel } = embed;
    const attributes = { table: { name: "W_E" }, width, by: "token", offset: 0, scale } as const;
    if (embed.width === undefined) return this.one(EMBED, [], attributes, "hook_embed", 0);
    const narrow = this.one(EMBED, [], attributes, undefined, 0);
    return this.#project(narrow, "embedProjection", dModel, "hook_embed");
  }

  /** x through a matrix of the model without a bias. */
  #project(x: Value, name: string, width: number, point?: string): Value {
    return this.one(
      MATMUL,
      [x],
      { weight: { name }, bias: { name: `${name}Bias` }, parts: [{ heads: 1, width }] },
      point,
    );
  }

  /** The residual that the caller supplies. */
  #given(): Value {
    if (this.spec.embed.perLayer) throw needsTokens(this.spec);
    return this.one(EMBEDS, [], { width: this.spec.dModel }, undefined, 0);
  }

  /** The name of a point of the block. */
  #at(name: string): string {
    return `blocks.${this.layer}.${name}`;
  }

  #weight(name: string) {
    return { name, block: this.layer };
  }

  /** One block: residual [row, dModel] to residual. */
  #block(before: Value): Value {
    const { spec, layer } = this;
    const { residual: order, parallelSharedNorm, normedResidual } = spec.block;
    let residual = this.form.joins && layer > 0 ? this.one(JOIN, [before], { layer }, undefined, layer) : before;
    this.name(residual, this.#at("hook_resid_pre"));
    const isParallel = order === "parallel";
    const hasMlp = !spec.mlp.absent;
    const normed = this.#inputNorm(residual, "ln1");
    // Others read it too: the MLP, or the residual itself.
    const shared = parallelSharedNorm || normedResidual ? normed : undefined;
    const attentionInput = this.#readAt("attn.hook_in", normed, residual, shared);
    let mlpInput =
      isParallel && hasMlp ? this.#mlpInput(residual, shared, parallelSharedNorm ? "ln1" : "ln2") : attentionInput;
    let { q, keys, values } = this.#projections(residual, attentionInput);
    if (normedResidual) residual = normed;
    if (this.form.narrow && layer === spec.nLayers - 1) {
      const narrowed = new Map(
        [residual, q, ...(isParallel && hasMlp ? [mlpInput] : [])].map((value) => [
          value,
          this.#select(value, "output"),
        ]),
      );
      q = narrowed.get(q) as Value;
      mlpInput = narrowed.get(mlpInput) ?? mlpInput;
      residual = narrowed.get(residual) as Value;
    }
    residual = this.#addBranch(residual, this.#attention(q, keys, values), "ln1Post", "hook_attn_out");
    if (!isParallel) {
      this.name(residual, this.#at("hook_resid_mid"));
      const own = normedResidual && hasMlp ? this.#inputNorm(residual, "ln2") : undefined;
      mlpInput = hasMlp ? this.#mlpInput(residual, own) : residual;
      residual = own ?? residual;
    }
    if (hasMlp) residual = this.#addBranch(residual, this.#mlpOrExperts(mlpInput), "ln2Post", "hook_mlp_out");
    residual = this.#addOfLayer(residual);
    if (spec.block.scalar) residual = this.one(SCALE_BY, [residual], { weight: this.#weight("scalar") });
    this.name(residual, this.#at("hook_resid_post"));
    return residual;
  }

  /** The residual and what the block makes of its own embedding of the token, where it has one. */
  #addOfLayer(residual: Value): Value {
    const { perLayer } = this.spec.embed;
    if (!perLayer) return residual;
    const { layer } = this;
    const picked = this.one(PICK_HEAD, [this.#ofLayers as Value], { head: layer }, this.#at("hook_per_layer_in"));
    const isNarrowed = this.form.narrow && layer === this.spec.nLayers - 1;
    const own = isNarrowed ? this.#select(picked, "output") : picked;
    const project = (name: string, x: Value, width: number) => {
      const weight = this.#weight(`W_perLayer_${name}`);
      return this.one(MATMUL, [x], { weight, bias: this.#weight(`b_perLayer_${name}`), parts: [{ heads: 1, width }] });
    };
    const { activation, width } = perLayer;
    const gate = this.one(ACTIVATION, [project("gate", residual, width)], { activation });
    const out = project("out", this.one(MULTIPLY, [gate, own], {}), this.spec.dModel);
    const term = this.#norm(out, this.#weight("perLayerNorm"));
    this.name(term, this.#at("hook_per_layer_out"));
    return this.one(ADD, [residual, term], { scale: 1 });
  }

  /**
   * What attention or the MLP reads: the normed residual, or the residual itself in blocks without a norm there. The norm of a copy follows
   * the points of the residual's own.
   */
  #inputNorm(x: Value, name: "ln1" | "ln2", isCopy = false): Value {
    const isAbsent = name === "ln1" && !normsAttention(this.spec, this.layer);
    return isAbsent || ["post", "added"].includes(this.spec.block.norms)
      ? x
      : this.#norm(x, this.#weight(name), this.#at(name), isCopy);
  }

  /** What the MLP reads, through a norm of its own or one that is there since others read it: attention, or the residual. */
  #mlpInput(residual: Value, shared?: Value, name: "ln1" | "ln2" = "ln2"): Value {
    const input = this.#copied(residual, "hook_mlp_in", 1);
    const isOwn = !shared || input !== residual;
    const normed = isOwn ? this.#inputNorm(input, name, shared !== undefined) : shared;
    return this.#readAt("mlp.hook_in", normed, input, shared);
  }

  /** What attention or the MLP reads, under its name; a copy where others read it as well and hooks change it. */
  #readAt(name: string, x: Value, residual: Value, shared?: Value): Value {
    if (x === residual || x === shared) return this.#copied(x, name, 1);
    this.name(x, this.#at(name));
    return x;
  }

  /** A copy of the residual for each head, where hooks change it; else the residual, and what they look at is computed apart. */
  #copied(residual: Value, name: string, heads: number): Value {
    const point = this.#at(name);
    const copy = this.one(REPEAT_HEADS, [residual], { heads }, point);
    return this.form.changed?.has(point) ? copy : residual;
  }

  /** x, normed; with the points `.hook_scale` and `.hook_normalized` where they have a prefix. */
  #norm(x: Value, weights: WeightRef, points?: string, isCopy = false, spec = this.spec.norm): Value {
    if (spec.kind === "none") return x;
    const attributes = { spec, weights };
    const at = (name: string) => {
      if (!points) return {};
      return isCopy ? { follows: [`${points}.${name}`] } : { points: [[`${points}.${name}`]] };
    };
    const [scale] = this.add(NORM_SCALE, [x], attributes, at("hook_scale")) as [Value];
    const [normalized] = this.add(NORMALIZE, [x, scale], attributes, at("hook_normalized")) as [Value];
    return this.one(AFFINE, [normalized], attributes);
  }

  /**
   * Queries, keys and values [row, heads, dHead or dValue] of what attention reads, or of the copies of the residual that heads have: those
   * of them that the block makes.
   */
  #projected(residual: Value, x: Value): readonly [q: Value, k?: Value, v?: Value] {
    const { spec, layer } = this;
    const [dHead, kvHeads] = [dHeadOf(spec, layer), nKvHeadsOf(spec, layer)];
    const names = ["q", ...(ownsKeys(spec, layer) ? ["k"] : []), ...(projectsValues(spec, layer) ? ["v"] : [])];
    const parts = names.map((name) => ({
      heads: name === "q" ? spec.nHeads : kvHeads,
      width: name === "v" ? dValueOf(spec, layer) : dHead,
    }));
    const weights = { weight: this.#weight("qkv"), bias: this.#weight("qkvBias"), parts };
    const readers = names.map((name, part) => ({
      point: this.#at(`attn.hook_${name}`),
      input: this.#copied(residual, `hook_${name}_input`, (parts[part] as { heads: number }).heads),
    }));
    const points = readers.map(({ point, input }) => (input === residual ? [point] : []));
    const together = this.add(MATMUL, [x], weights, { points });
    return readers.map(({ point, input }, part) => {
      if (input === residual) return together[part] as Value;
      const normed = this.#inputNorm(input, "ln1", true);
      this.follow(normed, this.#at("attn.hook_in"));
      return this.one(HEAD_PROJECTION, [normed], { ...weights, part }, point);
    }) as [Value, Value?, Value?];
  }

  /** Queries, and keys and values in the cache, all as wide: projected, normed and rotated. */
  #projections(residual: Value, x: Value): { q: Value; keys: Value; values: Value } {
    const { layer } = this;
    const { queryScale } = this.spec.layers[layer] as LayerSpec;
    const { latent } = this.spec.attention;
    const [turned, k, v] = latent ? this.#latentHeads(x, latent) : this.#heads(residual, x);
    const q = this.#widened(queryScale ? this.one(POSITION_SCALE, [turned], queryScale) : turned);
    if (k && v) {
      const own = [this.#widened(k), this.#widened(v)];
      const [keys, values] = this.add(STORE, own, { layer }, { isCached: true }) as [Value, Value];
      this.#stored[layer] = { keys, values };
    }
    return { q, ...this.#storedOf(this.#cacheLayer) };
  }

  /** Queries, and the keys and values that the block makes, of a projection each: normed and rotated. */
  #heads(residual: Value, x: Value): readonly [q: Value, k?: Value, v?: Value] {
    const { clamp, vNorm } = this.spec.attention;
    const projected = this.#projected(residual, x);
    const [q, k, ownV] = projected.map((each) =>
      each && clamp !== undefined ? this.one(CLAMP, [each], { least: -clamp, most: clamp }) : each,
    ) as [Value, Value?, Value?];
    // A copy of the keys may be looked at and changed as values.
    let v = ownV ?? (k && this.one(COPY, [k], {}, this.#at("attn.hook_v")));
    if (v && vNorm && vNorm.kind !== "none")
      v = this.one(QK_NORM, [v], { spec: withoutWeights(vNorm), over: "head", weights: this.#weight("vNorm") });
    const [turnedQ, turnedK] = this.#turned(q, k);
    return [turnedQ, turnedK, v];
  }

  /** The block whose keys and values attention of this one reads. */
  get #cacheLayer(): number {
    return this.spec.layers[this.layer]?.keysFrom ?? this.layer;
  }

  #storedOf(layer: number): { keys: Value; values: Value } {
    const stored = this.#stored[layer];
    if (stored) return stored;
    throw new InputError(
      "input/start-layer",
      `Block ${this.layer} reads the keys and values of block ${layer}, before which no pass may start. Lower startAtLayer to ${layer}.`,
    );
  }

  /** Queries and keys, if there are some, normed and rotated. */
  #turned(q: Value, k: Value | undefined): [Value, Value | undefined] {
    const { qkNormAfterRope } = this.spec.attention;
    const steps = [this.#normedHeads, this.#rotated];
    return (qkNormAfterRope ? steps.reverse() : steps).reduce(
      ([q, k]: [Value, Value | undefined], step) => step.call(this, q, k),
      [q, k],
    );
  }

  /** Queries and keys through RoPE, in layers that have it. */
  #rotated(q: Value, k: Value | undefined): [Value, Value | undefined] {
    const { rope = null } = this.spec.layers[this.layer] as LayerSpec;
    if (rope === null) return [q, k];
    const { rotaryDim, style } = this.spec.ropes[rope] as RopeSpec;
    const attributes = { layer: this.#cacheLayer, rope, rotaryDim, style };
    return [
      this.one(ROPE, [q], attributes, this.#at("attn.hook_rot_q")),
      k && this.one(ROPE, [k], attributes, this.#at("attn.hook_rot_k")),
    ];
  }

  /** Queries, keys and values by way of latent vectors, as `LatentSpec` describes it. */
  #latentHeads(x: Value, { dKv, dQ, dRope, norm }: LatentSpec): readonly [q: Value, k: Value, v: Value] {
    const { nHeads: heads, dHead } = this.spec;
    const dNope = dHead - dRope;
    const project = (input: Value, name: string, parts: readonly Shape[], bias = name.replace("W_", "b_")) =>
      this.add(MATMUL, [input], { weight: this.#weight(name), bias: this.#weight(bias), parts });
    const latent = (which: "q" | "kv", width: number) => {
      const [down] = project(x, `W_D${which.toUpperCase()}`, [{ heads: 1, width }]) as [Value];
      const normed = this.#norm(down, this.#weight(`${which}LatentNorm`), undefined, false, withoutWeights(norm));
      this.name(normed, this.#at(`attn.hook_${which}_latent`));
      return normed;
    };
    const whole = [{ heads, width: dHead }];
    const [raw] = (
      dQ === undefined ? project(x, "qkv", whole, "qkvBias") : project(latent("q", dQ), "W_UQ", whole)
    ) as [Value];
    const upParts = [dNope, dValueOf(this.spec, this.layer)].map((width) => ({ heads, width }));
    const [keyPart, v] = project(latent("kv", dKv), "kvUp", upParts, "kvUpBias") as [Value, Value];
    const [turning] = project(x, "W_KR", [{ heads: 1, width: dRope }]) as [Value];
    const parts = [dNope, dRope].map((size) => ({ size, isGiven: true }));
    const [queryPart, turningQuery] = this.add(SPLIT_HEADS, [raw], { parts }) as [Value, Value];
    const [turnedQuery, turnedKey] = this.#rotated(turningQuery, turning);
    const joined = (name: string, inputs: readonly Value[]) =>
      this.one(JOIN_HEADS, inputs, { heads, parts }, this.#at(`attn.hook_${name}`));
    const [q, k] = [joined("q", [queryPart, turnedQuery]), joined("k", [keyPart, turnedKey as Value])];
    this.name(v, this.#at("attn.hook_v"));
    return [q, k, v];
  }

  /** Heads as wide as attention computes with, in rows that begin at multiples of four: beside odd values those of a projection do not. */
  #widened(x: Value): Value {
    const own = x.width as number;
    const zeros = attentionWidth(this.spec, this.layer) - own;
    if (zeros === 0 && dValueOf(this.spec, this.layer) % 4 === 0) return x;
    const given = { size: own, isGiven: true };
    const parts = zeros === 0 ? [given] : [given, { size: zeros, isGiven: false }];
    return this.one(JOIN_HEADS, [x], { heads: x.heads, parts });
  }

  /** What heads give, without the zeros that values were widened with. */
  #narrowed(z: Value): Value {
    const own = dValueOf(this.spec, this.layer);
    const zeros = (z.width as number) - own;
    if (zeros === 0) return z;
    const parts = [
      { size: own, isGiven: true },
      { size: zeros, isGiven: false },
    ];
    return this.one(SPLIT_HEADS, [z], { parts });
  }

  /** Queries and keys through their norm, where they have one. */
  #normedHeads(q: Value, k: Value | undefined): [Value, Value | undefined] {
    const { qkNorm: over, qkNormSpec } = this.spec.attention;
    if (!normsQkIn(this.spec, this.layer) || over === "none" || qkNormSpec.kind === "none") return [q, k];
    const norm = { spec: withoutWeights(qkNormSpec), over };
    return [
      this.one(QK_NORM, [q], { ...norm, weights: this.#weight("qNorm") }),
      k && this.one(QK_NORM, [k], { ...norm, weights: this.#weight("kNorm") }),
    ];
  }

  /** Queries to what attention makes of them, [row, dModel], before post-norm and multiplier. */
  #attention(q: Value, keys: Value, values: Value): Value {
    const { spec, layer } = this;
    const settings = spec.layers[layer] as LayerSpec;
    const { nHeads, dModel } = spec;
    const attributes: AttentionAttributes = {
      ...{ layer: this.#cacheLayer, nHeads, nKvHeads: nKvHeadsOf(spec, layer), dHead: attentionWidth(spec, layer) },
      scale: settings.attentionScale ?? spec.attention.scale,
      softCap: spec.attention.softCap,
      window: settings.window,
      ...(settings.chunk !== undefined && { chunk: settings.chunk }),
      causal: isCausal(spec),
      alibi: spec.positions.kind === "alibi",
      ...("roundedScale" in spec.positions && { alibiScale: spec.positions.roundedScale }),
      ...(spec.attention.sinks && { sinks: this.#weight("sinks") }),
    };
    const scores = this.one(SCORES, [q, keys], attributes, this.#at("attn.hook_attn_scores"));
    const pattern = this.one(SOFTMAX, [scores], attributes, this.#at("attn.hook_pattern"));
    const z = this.#narrowed(this.one(MIX, [pattern, values], attributes));
    this.name(z, this.#at("attn.hook_z"));
    const result = this.one(HEAD_RESULTS, [z], { weight: this.#weight("W_O"), dModel }, this.#at("attn.hook_result"));
    return this.one(SUM_HEADS, [result], { bias: this.#weight("b_O") }, this.#at("attn.hook_out"));
  }

  /** What the MLP of a block adds, [row, dModel], before post-norm and multiplier. */
  #mlpOrExperts(x: Value): Value {
    const { spec, layer } = this;
    if (!isSparse(spec, layer)) return this.#mlp(x, "", dMlpOf(spec, layer));
    const experts = spec.mlp.experts as ExpertsSpec;
    const out = this.#besideShared(x, this.#experts(x, experts), experts);
    this.name(out, this.#at("mlp.hook_out"));
    return out;
  }

  /** What experts give, and what the MLP that all rows go through adds. */
  #besideShared(x: Value, routed: Value, { shared }: ExpertsSpec): Value {
    if (!shared) return routed;
    let own = this.#mlp(x, "shared_", shared.dMlp);
    if (shared.gate) {
      const parts = [{ heads: 1, width: 1 }];
      const gate = this.one(MATMUL, [x], { weight: this.#weight("W_shared_weight"), parts });
      own = this.one(WEIGH, [own, this.one(ACTIVATION, [gate], { activation: "sigmoid" })], {});
    }
    this.name(own, this.#at("mlp.hook_shared_out"));
    return this.one(ADD, [routed, own], { scale: 1 });
  }

  /** What the chosen experts of each row give, weighed and summed: [row, dModel]. */
  #experts(x: Value, { count, perToken, dExpert, routing, weighsInput, clamp }: ExpertsSpec): Value {
    const { activation, kind } = this.spec.mlp;
    const router = {
      weight: this.#weight("W_router"),
      bias: this.#weight("b_router"),
      parts: [{ heads: 1, width: count }],
    };
    const logits = this.one(MATMUL, [x], router, this.#at("mlp.hook_router_logits"));
    const bias = routing.choiceBias ? this.#weight("b_choice") : undefined;
    const points = ["indices", "weights"].map((name) => [this.#at(`mlp.hook_expert_${name}`)]);
    const [indices, weights] = this.add(ROUTE, [logits], { routing, chosen: perToken, bias }, { points }) as [
      Value,
      Value,
    ];
    const project = (name: string, input: Value, width: number, point: string) => {
      const weight = this.#weight(`W_experts_${name}`);
      const attributes = { weight, bias: this.#weight(`b_experts_${name}`), experts: count, width };
      return this.one(EXPERT_MATMUL, [input, indices], attributes, this.#at(`mlp.hook_expert_${point}`));
    };
    const input = weighsInput ? this.one(WEIGH, [x, weights], {}) : x;
    const isGated = kind === "gated";
    const pre = project(isGated ? "gate" : "in", input, dExpert, "pre");
    const gate = clamp ? this.one(CLAMP, [pre], { most: clamp.limit, plus: 0 }) : pre;
    let post = this.one(ACTIVATION, [gate], { activation: activation as Activation });
    if (isGated) {
      const linear = project("in", input, dExpert, "pre_linear");
      const { limit = 0, plus = 0 } = clamp ?? {};
      post = this.one(
        MULTIPLY,
        [post, clamp ? this.one(CLAMP, [linear], { least: -limit, most: limit, plus }) : linear],
        {},
      );
    }
    this.name(post, this.#at("mlp.hook_expert_post"));
    const out = project("out", post, this.spec.dModel, "out");
    return this.one(SUM_HEADS, [weighsInput ? out : this.one(WEIGH, [out, weights], {})], {});
  }

  /** One MLP, [row, dModel]: the block's, or the one that all rows go through beside their experts. */
  #mlp(x: Value, own: "" | "shared_", width: number): Value {
    const { spec } = this;
    const { activation, kind } = spec.mlp;
    const hidden = [{ heads: 1, width }];
    const project = (name: string, input: Value, parts: readonly Shape[], point?: string) => {
      const attributes = { weight: this.#weight(`W_${own}${name}`), bias: this.#weight(`b_${own}${name}`), parts };
      return this.one(MATMUL, [input], attributes, point && this.#at(point));
    };
    const at = (name: string) => `mlp.hook_${own}${name}`;
    const isGated = kind === "gated";
    const pre = project(isGated ? "gate" : "in", x, hidden, at("pre"));
    let post =
      activation === "xielu"
        ? this.one(XIELU, [pre], { alphas: this.#weight("xielu"), constants: this.#weight("xieluConstants") })
        : this.one(ACTIVATION, [pre], { activation });
    if (isGated) post = this.one(MULTIPLY, [post, project("in", x, hidden, at("pre_linear"))], {});
    this.name(post, this.#at(at("post")));
    return project("out", post, [{ heads: 1, width: spec.dModel }], own === "" ? "mlp.hook_out" : undefined);
  }

  /** The residual and what attention or the MLP adds to it, through the block's post-norm and multiplier. */
  #addBranch(residual: Value, branch: Value, postNorm: "ln1Post" | "ln2Post", point: string): Value {
    const { norms, residualScale: scale } = this.spec.block;
    const after = (x: Value) => this.#norm(x, this.#weight(postNorm));
    let term = norms === "post" || norms === "sandwich" ? after(branch) : branch;
    if (scale !== 1) term = this.one(SCALE, [term], { scale });
    this.name(term, this.#at(point));
    const sum = this.one(ADD, [residual, term], { scale: 1 });
    return norms === "added" ? after(sum) : sum;
  }

  #select(x: Value, rows: "output" | "picked"): Value {
    return this.one(SELECT, [x], { rows }, undefined, rows);
  }

  /** The layer before the unembedding: norm(act(W x + b)), under a name. */
  #transformed(x: Value, { activation }: NonNullable<UnembedSpec["transform"]>): Value {
    const hidden = this.#project(x, "unembedTransform", this.spec.dModel);
    const normed = this.#norm(this.one(ACTIVATION, [hidden], { activation }), { name: "unembedNorm" });
    this.name(normed, "unembed.hook_in");
    return normed;
  }

  /** Final norm and unembedding: logits [row, vocab] = cap((norm(residual) W_U^T + b_U) * scale). */
  #unembedding(residual: Value): Value {
    const { unembed, vocabSize, embed } = this.spec;
    let x = unembed.norm === false ? residual : this.#norm(residual, { name: "lnFinal" }, "ln_final");
    if (unembed.transform) x = this.#transformed(x, unembed.transform);
    if (this.form.logits === "picked") x = this.#select(x, "picked");
    if (embed.width !== undefined) x = this.#project(x, "unembedProjection", embed.width);
    const parts = [{ heads: 1, width: vocabSize }];
    let logits = this.one(MATMUL, [x], { weight: { name: "W_U" }, bias: { name: "b_U" }, parts });
    if (unembed.scale !== 1) logits = this.one(SCALE, [logits], { scale: unembed.scale });
    if (unembed.softCap !== null) logits = this.one(SOFT_CAP, [logits], { softCap: unembed.softCap });
    this.name(logits, "logits");
    return logits;
  }
}
