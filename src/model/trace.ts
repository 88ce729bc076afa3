/**
 * Tracing: a `ModelSpec` becomes a graph of ops.
 *
 * Read top to bottom it is a decoder: embed, then for each block attention and MLP around the residual stream, then norm
 * and unembedding. It names every point, and knows neither buffers nor kernels: the graph decides what is fused, and where
 * values lie.
 */
import { InputError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import { ADD } from "../ops/add.ts";
import { RESHAPE } from "../ops/dictionary.ts";
import { ACTIVATION, SCALE, SOFT_CAP } from "../ops/elementwise.ts";
import { EMBED } from "../ops/embed.ts";
import { EMBEDS } from "../ops/embeds.ts";
import { JOIN } from "../ops/join.ts";
import { MATMUL } from "../ops/matmul.ts";
import { MULTIPLY } from "../ops/multiply.ts";
import type { Value } from "../ops/op.ts";
import { PICK_HEAD } from "../ops/pick-head.ts";
import { QK_NORM } from "../ops/qk-norm.ts";
import { SCALE_BY } from "../ops/scale-by.ts";
import { SINUSOIDS } from "../ops/sinusoids.ts";
import { spliceModules, writtenBy } from "./modules.ts";
import type { ModelSpec, PerLayerSpec, UnembedSpec } from "./spec.ts";
import { attention, projections } from "./trace-attention.ts";
import { BlockBuilder, type PassForm, withoutWeights } from "./trace-builder.ts";
import { mlpOrExperts } from "./trace-mlp.ts";

export type { PassForm } from "./trace-builder.ts";

/** The graph of a pass: its ops, with a point's name on each value that has one. */
export function trace(spec: ModelSpec, form: PassForm = {}): Graph {
  const { modules = [] } = spec;
  if (modules.length === 0) return new Tracer(spec, form).run();
  const isWritten = (point: string) => modules.some((module) => writtenBy(module, point));
  const changed = { has: (point: string) => isWritten(point) || (form.changed?.has(point) ?? false) };
  return spliceModules(new Tracer(spec, { ...form, changed }).run(), modules, form.changed);
}

const needsTokens = ({ family }: ModelSpec) =>
  new InputError(
    "input/needs-tokens",
    `Every block of this ${family} model has embeddings of its own, which it looks up by token. Give text or token ids, and start at the first block.`,
  );

class Tracer extends BlockBuilder {
  /** What each block has of the token for itself. */
  #ofLayers: Value | undefined;

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
    return spec.embed.norm ? this.norm(residual, { name: "embedNorm" }, "embed.ln") : residual;
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

  /** One block: residual [row, dModel] to residual. */
  #block(before: Value): Value {
    const { spec, layer } = this;
    const { residual: order, parallelSharedNorm, normedResidual } = spec.block;
    let residual = this.form.joins && layer > 0 ? this.one(JOIN, [before], { layer }, undefined, layer) : before;
    this.name(residual, this.at("hook_resid_pre"));
    const isParallel = order === "parallel";
    const hasMlp = !spec.mlp.absent;
    const normed = this.inputNorm(residual, "ln1");
    // Others read it too: the MLP, or the residual itself.
    const shared = parallelSharedNorm || normedResidual ? normed : undefined;
    const attentionInput = this.readAt("attn.hook_in", normed, residual, shared);
    let mlpInput =
      isParallel && hasMlp ? this.#mlpInput(residual, shared, parallelSharedNorm ? "ln1" : "ln2") : attentionInput;
    let { q, keys, values } = projections(this, residual, attentionInput);
    if (normedResidual) residual = normed;
    if (this.form.narrow && layer === spec.nLayers - 1) {
      const narrowed = new Map(
        [residual, q, ...(isParallel && hasMlp ? [mlpInput] : [])].map((value) => [
          value,
          this.select(value, "output"),
        ]),
      );
      q = narrowed.get(q) as Value;
      mlpInput = narrowed.get(mlpInput) ?? mlpInput;
      residual = narrowed.get(residual) as Value;
    }
    residual = this.#addBranch(residual, attention(this, q, keys, values), "ln1", "hook_attn_out");
    if (!isParallel) {
      this.name(residual, this.at("hook_resid_mid"));
      const own = normedResidual && hasMlp ? this.inputNorm(residual, "ln2") : undefined;
      mlpInput = hasMlp ? this.#mlpInput(residual, own) : residual;
      residual = own ?? residual;
    }
    if (hasMlp) residual = this.#addBranch(residual, mlpOrExperts(this, mlpInput), "ln2", "hook_mlp_out");
    residual = this.#addOfLayer(residual);
    if (spec.block.scalar) residual = this.one(SCALE_BY, [residual], { weight: this.weight("scalar") });
    this.name(residual, this.at("hook_resid_post"));
    return residual;
  }

  /** The residual and what the block makes of its own embedding of the token, where it has one. */
  #addOfLayer(residual: Value): Value {
    const { perLayer } = this.spec.embed;
    if (!perLayer) return residual;
    const { layer } = this;
    const picked = this.one(PICK_HEAD, [this.#ofLayers as Value], { head: layer }, this.at("hook_per_layer_in"));
    const isNarrowed = this.form.narrow && layer === this.spec.nLayers - 1;
    const own = isNarrowed ? this.select(picked, "output") : picked;
    const project = (name: string, x: Value, width: number) => {
      const weight = this.weight(`W_perLayer_${name}`);
      return this.one(MATMUL, [x], { weight, bias: this.weight(`b_perLayer_${name}`), parts: [{ heads: 1, width }] });
    };
    const { activation, width } = perLayer;
    const gate = this.one(ACTIVATION, [project("gate", residual, width)], { activation });
    const out = project("out", this.one(MULTIPLY, [gate, own], {}), this.spec.dModel);
    const term = this.norm(out, this.weight("perLayerNorm"));
    this.name(term, this.at("hook_per_layer_out"));
    return this.one(ADD, [residual, term], { scale: 1 });
  }

  /** What the MLP reads, through a norm of its own or one that is there since others read it: attention, or the residual. */
  #mlpInput(residual: Value, shared?: Value, name: "ln1" | "ln2" = "ln2"): Value {
    const input = this.copied(residual, "hook_mlp_in", 1);
    const isOwn = !shared || input !== residual;
    const normed = isOwn ? this.inputNorm(input, name, shared !== undefined) : shared;
    return this.readAt("mlp.hook_in", normed, input, shared);
  }

  /** The residual and what attention or the MLP adds to it, through the block's post-norm and multiplier. */
  #addBranch(residual: Value, branch: Value, norm: "ln1" | "ln2", point: string): Value {
    const { norms, residualScale: scale } = this.spec.block;
    const after = (x: Value) => this.norm(x, this.weight(`${norm}Post`), this.at(`${norm}_post`));
    let term = norms === "post" || norms === "sandwich" ? after(branch) : branch;
    if (scale !== 1) term = this.one(SCALE, [term], { scale });
    this.name(term, this.at(point));
    const sum = this.one(ADD, [residual, term], { scale: 1 });
    return norms === "added" ? after(sum) : sum;
  }

  /** The layer before the unembedding: norm(act(W x + b)), under a name. */
  #transformed(x: Value, { activation }: NonNullable<UnembedSpec["transform"]>): Value {
    const hidden = this.#project(x, "unembedTransform", this.spec.dModel);
    const normed = this.norm(this.one(ACTIVATION, [hidden], { activation }), { name: "unembedNorm" });
    this.name(normed, "unembed.hook_in");
    return normed;
  }

  /** Final norm and unembedding: logits [row, vocab] = cap((norm(residual) W_U^T + b_U) * scale). */
  #unembedding(residual: Value): Value {
    const { unembed, vocabSize, embed } = this.spec;
    let x = unembed.norm === false ? residual : this.norm(residual, { name: "lnFinal" }, "ln_final");
    if (unembed.transform) x = this.#transformed(x, unembed.transform);
    if (this.form.logits === "picked") x = this.select(x, "picked");
    if (embed.width !== undefined) x = this.#project(x, "unembedProjection", embed.width);
    const parts = [{ heads: 1, width: vocabSize }];
    let logits = this.one(MATMUL, [x], { weight: { name: "W_U" }, bias: { name: "b_U" }, parts });
    if (unembed.scale !== 1) logits = this.one(SCALE, [logits], { scale: unembed.scale });
    if (unembed.softCap !== null) logits = this.one(SOFT_CAP, [logits], { softCap: unembed.softCap });
    this.name(logits, "logits");
    return logits;
  }
}
