/**
 * A decoder in float64, written from the description of `ModelSpec` alone and without regard for speed: one token after
 * another, every sum in order. The fixtures of transformers vouch for it, and it vouches for specs they do not cover.
 */
import type { TensorEntry } from "../../src/checkpoint/index.ts";
import { resolveWeight } from "../../src/model/families/resolve.ts";
import { dependsOnLength, ropeTable } from "../../src/model/rope.ts";
import type {
  Activation,
  ExpertsSpec,
  LatentSpec,
  LayerSpec,
  ModelSpec,
  NormSpec,
  PerLayerSpec,
  TensorSource,
  WeightName,
} from "../../src/model/spec.ts";
import { expertsIn, isSparse, WEIGHTS } from "../../src/model/weights/table.ts";
import { ACTIVATIONS, softCapped } from "../../src/ops/activations.ts";
import { rotated } from "../../src/ops/attention-reference.ts";
import { normReference } from "../../src/ops/norm-reference.ts";
import { routed } from "../../src/ops/route-reference.ts";
import { sinusoid } from "../../src/ops/sinusoids.ts";
import { xieluOf } from "../../src/ops/xielu.ts";
import { attentionReference } from "../kernels/attention.reference.ts";
import { valuesOf } from "../support/fixtures.ts";

type Vector = Float32Array | Float64Array;

/** Weights by name and layer: rows of a matrix [out][in], or one row for a vector. Undefined when absent. */
type Lookup = (name: WeightName, layer?: number) => Vector[] | undefined;

/** Cuts weights out of checkpoint tensors as `TensorSource` describes it. */
export function lookupIn(spec: ModelSpec, tensors: readonly TensorEntry[]): Lookup {
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const has = (name: string) => byName.has(name);
  return (name, layer = 0) => {
    const source = spec.weights[name];
    if (source && expertsIn(spec, name) > 0) return ofExperts(spec, byName, name, layer);
    if (source?.tensor.includes("{h}")) {
      const heads = Array.from({ length: name.includes("qNorm") ? spec.nHeads : spec.nKvHeads }, (_, head) =>
        byName.get(resolveWeight(spec, name, layer, has, head) ?? ""),
      );
      return heads.flatMap((tensor) => (tensor ? rowsOf(tensor, { tensor: tensor.name }) : []));
    }
    const tensor = byName.get(resolveWeight(spec, name, layer, has) ?? "");
    return tensor && rowsOf(tensor, source ?? { tensor: tensor.name });
  };
}

/** The rows of all experts, whether they have a tensor each or share one. */
function ofExperts(
  spec: ModelSpec,
  tensors: ReadonlyMap<string, TensorEntry>,
  name: WeightName,
  layer: number,
): Vector[] | undefined {
  const source = spec.weights[name] as TensorSource;
  const count = expertsIn(spec, name);
  if (!isSparse(spec, layer)) return undefined;
  const parts = Array.from({ length: count }, (_, expert): Vector[] => {
    const tensor = resolveWeight(spec, name, layer, (each) => tensors.has(each), expert) ?? "";
    const found = tensors.get(tensor) as TensorEntry;
    if (source.tensor.includes("{e}")) return rowsOf(found, source);
    const values = valuesOf(found);
    const size = values.length / count;
    const data = values.slice(expert * size, (expert + 1) * size);
    return rowsOf({ ...found, dtype: "F32", shape: found.shape.slice(1), data }, source);
  });
  return WEIGHTS[name].form === "vector"
    ? [Float32Array.from(parts.flatMap(([row]) => [...(row as Vector)]))]
    : parts.flat();
}

function rowsOf(tensor: TensorEntry, { transpose, rows }: TensorSource): Vector[] {
  // Tests that take differences give numbers in float64.
  const values: Vector = tensor.data instanceof Float64Array ? tensor.data : valuesOf(tensor);
  const [outer = 1, inner = 1] = tensor.shape;
  const isVector = tensor.shape.length === 1;
  const all = isVector
    ? [...values].map((value) => Float64Array.of(value))
    : transpose
      ? Array.from({ length: inner }, (_, i) =>
          Float64Array.from({ length: outer }, (_, o) => values[o * inner + i] as number),
        )
      : Array.from({ length: outer }, (_, o) => values.slice(o * inner, (o + 1) * inner));
  const taken = rows
    ? all.filter((_, index) => {
        const within = index % rows.groupSize;
        return within >= rows.start && within < rows.start + rows.count;
      })
    : all;
  return isVector ? [Float64Array.from(taken, ([value]) => value as number)] : taken;
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((sum, value, i) => sum + value * (b[i] as number), 0);

const plus = (a: Vector, b: Vector, scale = 1) => Float64Array.from(a, (value, i) => value + scale * (b[i] as number));

export class ReferenceDecoder {
  /** Of the sequence. */
  #length = 0;
  /** Embeddings for each block, [pos][layer]. */
  #ofLayers: Vector[][] = [];
  /** Keys and values by layer, for those that read an earlier one's. */
  readonly #stored: { keys: Float32Array; values: Float32Array }[] = [];

  constructor(
    readonly spec: ModelSpec,
    readonly weights: Lookup,
  ) {}

  /** Logits [pos][vocab] of one sequence. */
  run(ids: readonly number[]): Float64Array[] {
    const { spec } = this;
    this.#length = ids.length;
    if (spec.embed.perLayer) this.#ofLayers = ids.map((id) => this.#layerEmbeddings(id));
    let residuals = ids.map((id, position) => this.#embed(id, position));
    for (let layer = 0; layer < spec.nLayers; layer++) residuals = this.#block(residuals, layer);
    const W_U = (spec.unembed.tied ? this.weights("embed.W_E") : this.weights("unembed.W_U")) as Vector[];
    const b_U = this.weights("unembed.b_U")?.[0];
    return residuals.map((residual) => {
      const final = spec.unembed.norm === false ? residual : this.#norm("lnFinal", residual);
      const ready = spec.unembed.transform ? this.#transformed(final, spec.unembed.transform.activation) : final;
      const normed = spec.embed.width ? this.#linear("unembed.W_proj", ready, 0) : ready;
      return Float64Array.from(W_U, (row, token) =>
        softCapped((dot(row, normed) + (b_U?.[token] ?? 0)) * spec.unembed.scale, spec.unembed.softCap),
      );
    });
  }

  #transformed(x: Vector, activation: Activation): Vector {
    return this.#norm("unembed.ln", this.#linear("unembed.W_transform", x, 0).map(ACTIVATIONS[activation]));
  }

  #token(id: number): Vector {
    const { embed } = this.spec;
    const x = Float64Array.from(this.weights("embed.W_E")?.[id] as Vector, (value) => value * embed.scale);
    return embed.width ? this.#linear("embed.W_proj", x, 0) : x;
  }

  #layerEmbeddings(id: number): Vector[] {
    const { embed, nLayers } = this.spec;
    const { width, tableScale, projectionScale, scale } = embed.perLayer as PerLayerSpec;
    const context = this.#linear("embed.perLayer.W_proj", this.#token(id), 0).map((value) => value * projectionScale);
    const identity = this.weights("embed.perLayer.W_E")?.[id] as Vector;
    return Array.from({ length: nLayers }, (_, layer) => {
      const part = (x: Vector) => x.slice(layer * width, (layer + 1) * width);
      const normed = this.#norm("embed.perLayer.norm", part(context));
      return plus(normed, part(identity), tableScale).map((value) => value * scale);
    });
  }

  #addOfLayer(x: Vector, position: number, layer: number): Vector {
    const { perLayer } = this.spec.embed;
    if (!perLayer) return x;
    const own = this.#ofLayers[position]?.[layer] as Vector;
    const act = ACTIVATIONS[perLayer.activation];
    const gate = this.#linear("perLayer.W_gate", x, layer).map((value, i) => act(value) * (own[i] as number));
    return plus(x, this.#norm("perLayer.norm", this.#linear("perLayer.W_out", gate, layer), layer));
  }

  #embed(id: number, position: number): Vector {
    const { spec } = this;
    let x = this.#token(id);
    if (spec.positions.kind === "learned") {
      x = plus(x, this.weights("embed.W_pos")?.[position + spec.positions.offset] as Vector);
    }
    if (spec.positions.kind === "sinusoidal") x = plus(x, sinusoid(position + spec.positions.offset, spec.dModel));
    return spec.embed.norm ? this.#norm("embed.norm", x) : x;
  }

  #block(residuals: Vector[], layer: number): Vector[] {
    const { norms, residual, parallelSharedNorm, residualScale, normedResidual } = this.spec.block;
    const before = norms === "pre" || norms === "sandwich";
    const after = norms === "post" || norms === "sandwich";
    const last = (name: "ln1Post" | "ln2Post", x: Vector) => (norms === "added" ? this.#norm(name, x, layer) : x);
    const isUnnormed = this.spec.layers[layer]?.attentionNorm === false;
    const pre = (name: "ln1" | "ln2", x: Vector) =>
      before && !(name === "ln1" && isUnnormed) ? this.#norm(name, x, layer) : x;
    const post = (name: "ln1Post" | "ln2Post", x: Vector) => (after ? this.#norm(name, x, layer) : x);
    const attended = this.#attention(
      residuals.map((x) => pre("ln1", x)),
      layer,
    );
    const scalar = this.spec.block.scalar ? (this.weights("block.scalar", layer)?.[0]?.[0] as number) : 1;
    const done = (x: Vector, position: number) => this.#addOfLayer(x, position, layer).map((value) => value * scalar);
    return residuals.map((x, position) => {
      const start = normedResidual ? pre("ln1", x) : x;
      const middle = last("ln1Post", plus(start, post("ln1Post", attended[position] as Vector), residualScale));
      if (this.spec.mlp.absent) return done(middle, position);
      const input = residual === "sequential" ? middle : x;
      const hidden = this.#mlpOrExperts(
        pre(residual === "parallel" && parallelSharedNorm ? "ln1" : "ln2", input),
        layer,
      );
      const base = normedResidual ? pre("ln2", middle) : middle;
      return done(last("ln2Post", plus(base, post("ln2Post", hidden), residualScale)), position);
    });
  }

  #norm(name: string, x: Vector, layer = 0): Vector {
    return this.#normWith(this.spec.norm, name, x, layer);
  }

  #normWith(norm: NormSpec, name: string, x: Vector, layer: number, part: (w: Vector) => Vector = (w) => w): Vector {
    if (norm.kind === "none") return x;
    if (norm.affine === false) return normReference(x, { ...norm, kind: norm.kind, w: undefined, b: undefined });
    const [w, b] = [this.weights(`${name}.w` as WeightName, layer), this.weights(`${name}.b` as WeightName, layer)];
    const flat = (rows: Vector[] | undefined) => rows && part(Float64Array.from(rows.flatMap((row) => [...row])));
    return normReference(x as Float32Array, { ...norm, kind: norm.kind, w: flat(w), b: flat(b) });
  }

  /** W x + b; zero where there is no bias. */
  #linear(name: string, x: Vector, layer: number): Float64Array {
    const b = this.weights(name.replace("W_", "b_") as WeightName, layer)?.[0];
    return Float64Array.from(
      this.weights(name as WeightName, layer) as Vector[],
      (row, i) => dot(row, x) + (b?.[i] ?? 0),
    );
  }

  #mlpOrExperts(x: Vector, layer: number): Vector {
    const { spec } = this;
    const { experts } = spec.mlp;
    if (!experts || !isSparse(spec, layer)) return this.#mlp(x, layer, "mlp");
    const { routing, perToken, weighsInput, shared } = experts;
    const logits = this.#linear("mlp.W_router", x, layer);
    const { indices, weights } = routed(routing, [...logits], perToken, this.weights("mlp.b_choice", layer)?.[0]);
    let sum: Vector = new Float64Array(spec.dModel);
    indices.forEach((expert, slot) => {
      const weight = weights[slot] as number;
      const own = weighsInput ? Float64Array.from(x, (value) => value * weight) : x;
      sum = plus(sum, this.#expert(own, layer, expert), weighsInput ? 1 : weight);
    });
    if (!shared) return sum;
    const gate = shared.gate ? dot(this.weights("mlp.shared.W_weight", layer)?.[0] as Vector, x) : undefined;
    return plus(sum, this.#mlp(x, layer, "mlp.shared"), gate === undefined ? 1 : ACTIVATIONS.sigmoid(gate));
  }

  #expert(x: Vector, layer: number, expert: number): Vector {
    const { mlp, dModel } = this.spec;
    const { dExpert, clamp } = mlp.experts as ExpertsSpec;
    const project = (name: "gate" | "in" | "out", input: Vector, width: number) => {
      const rows = this.weights(`mlp.experts.W_${name}`, layer) as Vector[];
      const bias = this.weights(`mlp.experts.b_${name}`, layer)?.[0];
      return Float64Array.from({ length: width }, (_, n) => {
        const at = expert * width + n;
        return dot(rows[at] as Vector, input) + (bias?.[at] ?? 0);
      });
    };
    const act = ACTIVATIONS[mlp.activation as Activation];
    const { limit = Number.POSITIVE_INFINITY, plus: offset = 0 } = clamp ?? {};
    const linear = project("in", x, dExpert);
    const gate = mlp.kind === "gated" ? project("gate", x, dExpert) : undefined;
    const hidden = linear.map((value, i) =>
      gate ? act(Math.min(gate[i] as number, limit)) * (Math.min(Math.max(value, -limit), limit) + offset) : act(value),
    );
    return project("out", hidden, dModel);
  }

  #mlp(x: Vector, layer: number, room: "mlp" | "mlp.shared"): Vector {
    const { kind, activation } = this.spec.mlp;
    const linear = this.#linear(`${room}.W_in`, x, layer);
    const act = activation === "xielu" ? this.#xielu(layer) : ACTIVATIONS[activation];
    const gate = kind === "gated" ? this.#linear(`${room}.W_gate`, x, layer) : undefined;
    return this.#linear(
      `${room}.W_out`,
      gate ? gate.map((value, i) => act(value) * (linear[i] as number)) : linear.map(act),
      layer,
    );
  }

  #xielu(layer: number): (x: number) => number {
    const number = (name: "alphaP" | "alphaN" | "beta" | "eps") =>
      this.weights(`mlp.xielu.${name}`, layer)?.[0]?.[0] as number;
    return xieluOf([number("alphaP"), number("alphaN")], [number("beta"), number("eps")]).value;
  }

  #attention(inputs: Vector[], layer: number): Vector[] {
    const { spec } = this;
    const { nHeads, attention } = spec;
    const settings = spec.layers[layer] as LayerSpec;
    const { dHead: dOwn = spec.dHead, nKvHeads = spec.nKvHeads, keysFrom = layer } = settings;
    const { dValue = dOwn } = spec;
    const projected = inputs.map((x, position) => this.#queriesKeysValues(x, position, layer));
    // Attention takes queries, keys and values of one width; zeros change neither scores nor the values before them.
    const dHead = Math.max(dOwn, dValue);
    const flat = (which: "q" | "k" | "v") =>
      Float64Array.from(
        projected.flatMap((each) =>
          each[which].flatMap((vector) => Array.from({ length: dHead }, (_, d) => vector[d] ?? 0)),
        ),
      ) as unknown as Float32Array;
    if (keysFrom === layer) this.#stored[layer] = { keys: flat("k"), values: flat("v") };
    const { z } = attentionReference({
      ...{ nHeads, nKvHeads, dHead },
      rowTable: Uint32Array.from(inputs.flatMap((_, position) => [0, position, 0, 0])),
      slotTable: Uint32Array.from(inputs, (_, position) => position),
      slotStride: inputs.length,
      queries: flat("q"),
      queryStride: nHeads * dHead,
      ...(this.#stored[keysFrom] as { keys: Float32Array; values: Float32Array }),
      window: settings.window,
      chunk: settings.chunk,
      lengths: attention.causal === false ? [inputs.length] : undefined,
      scale: settings.attentionScale ?? attention.scale,
      softCap: attention.softCap,
      sinks: attention.sinks ? (this.weights("attn.sinks", layer)?.[0] as unknown as number[]) : null,
      alibiScale: "roundedScale" in spec.positions ? spec.positions.roundedScale : undefined,
      slopes: spec.positions.kind === "alibi" ? spec.positions.slopes : null,
    });
    return inputs.map((_, position) => {
      const own = Float64Array.from({ length: nHeads * dValue }, (_, i) => {
        const head = position * nHeads + Math.floor(i / dValue);
        return z[head * dHead + (i % dValue)] as number;
      });
      return this.#linear("attn.W_O", own, layer);
    });
  }

  /** The heads of one token. */
  #queriesKeysValues(x: Vector, position: number, layer: number): Record<"q" | "k" | "v", Vector[]> {
    const { nHeads, attention } = this.spec;
    const { nKvHeads = this.spec.nKvHeads, valuesFromKeys, keysFrom } = this.spec.layers[layer] as LayerSpec;
    if (attention.latent) return this.#fromLatent(x, position, layer, attention.latent);
    const { clamp = Number.POSITIVE_INFINITY } = attention;
    const project = (name: string, heads: number, norm?: string) => {
      const kept = this.#linear(name, x, layer).map((value) => Math.min(Math.max(value, -clamp), clamp));
      return this.#heads(kept, heads, norm, position, layer);
    };
    return {
      q: project("attn.W_Q", nHeads, "attn.qNorm"),
      k: keysFrom === undefined ? project("attn.W_K", nKvHeads, "attn.kNorm") : [],
      v:
        keysFrom === undefined
          ? project(valuesFromKeys ? "attn.W_K" : "attn.W_V", nKvHeads, attention.vNorm && "attn.vNorm")
          : [],
    };
  }

  /** By the formulas of `LatentSpec`. */
  #fromLatent(x: Vector, position: number, layer: number, { dQ, dRope, norm }: LatentSpec) {
    const { nHeads, dHead } = this.spec;
    const down = (which: "q" | "kv") =>
      this.#normWith(norm, `attn.${which}LatentNorm`, this.#linear(`attn.W_D${which.toUpperCase()}`, x, layer), layer);
    const raw = dQ === undefined ? this.#linear("attn.W_Q", x, layer) : this.#linear("attn.W_UQ", down("q"), layer);
    const c = down("kv");
    const [keys, values] = [this.#linear("attn.W_UK", c, layer), this.#linear("attn.W_UV", c, layer)];
    const turned = this.#turned(this.#linear("attn.W_KR", x, layer), position, layer);
    const each = (of: (head: number) => Vector) => Array.from({ length: nHeads }, (_, head) => of(head));
    const part = (from: Vector, head: number) => {
      const width = from.length / nHeads;
      return from.slice(head * width, (head + 1) * width);
    };
    const scaled = (q: Vector) => this.#scaledByPosition(q, position, layer);
    return {
      q: each((head) => {
        const own = part(raw, head);
        return scaled(
          Float64Array.of(...own.slice(0, dHead - dRope), ...this.#turned(own.slice(dHead - dRope), position, layer)),
        );
      }),
      k: each((head) => Float64Array.of(...part(keys, head), ...turned)),
      v: each((head) => part(values, head)),
    };
  }

  #scaledByPosition(q: Vector, position: number, layer: number): Vector {
    const { queryScale } = this.spec.layers[layer] as LayerSpec;
    if (!queryScale) return q;
    const { factor, span, shift } = queryScale;
    return q.map((value) => value * (1 + factor * Math.log(1 + Math.floor((position + shift) / span))));
  }

  /** The heads of one projected token, normed and rotated where they are queries or keys (`norm` is given). */
  #heads(vector: Float64Array, heads: number, norm: string | undefined, position: number, layer: number): Vector[] {
    const { attention, layers } = this.spec;
    const { qkNormSpec, qkNormAfterRope, vNorm } = attention;
    const qkNorm = layers[layer]?.qkNorm === false ? "none" : attention.qkNorm;
    const isValue = norm === "attn.vNorm";
    const dOwn = vector.length / heads;
    const whole = norm && !isValue && qkNorm === "full" ? this.#normWith(qkNormSpec, norm, vector, layer) : vector;
    return Array.from({ length: heads }, (_, head) => {
      const part: Vector = whole.slice(head * dOwn, (head + 1) * dOwn);
      if (!norm) return part;
      if (isValue) return this.#normWith(vNorm as NormSpec, norm, part, layer);
      const own = (w: Vector) => (qkNorm === "perHead" ? w.slice(head * dOwn, (head + 1) * dOwn) : w);
      const normed = (x: Vector) =>
        qkNorm === "head" || qkNorm === "perHead" ? this.#normWith(qkNormSpec, norm, x, layer, own) : x;
      const turned = (x: Vector) => this.#turned(x, position, layer);
      const result = qkNormAfterRope ? normed(turned(part)) : turned(normed(part));
      return norm === "attn.qNorm" ? this.#scaledByPosition(result, position, layer) : result;
    });
  }

  /** A head turned by the layer's RoPE, if it has one. */
  #turned(x: Vector, position: number, layer: number): Vector {
    const index = this.spec.layers[layer]?.rope ?? null;
    const rope = index === null ? undefined : this.spec.ropes[index];
    if (!rope) return x;
    const { cos, sin } = ropeTable(rope, dependsOnLength(rope) ? this.#length : position + 1);
    const table = Float32Array.from({ length: 2 * cos.length }, (_, i) => (i % 2 ? sin : cos)[i >> 1] as number);
    return rotated(x as Float32Array, table, position, rope.rotaryDim / 2, rope.style);
  }
}
