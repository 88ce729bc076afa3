/**
 * A small interpreter of constructed models, in float64 or with every operation rounded to float32.
 *
 * It checks the construction itself, apart from any engine: float64 shows that the weights are right, float32 that they
 * survive rounding. It runs learned positions, no norm, full causal attention and ReLU, and skips the zeros of the
 * weights. Only the verifier and the tests use it.
 */
import { ConfigError } from "../errors.ts";
import type { ModelSpec, WeightName } from "../model/spec.ts";
import { dMlpOf } from "../model/weights/table.ts";
import { type Compressed, compress, type SparseMatrix } from "./sparse.ts";

export interface OracleOptions {
  /** `float32` rounds weights and every sum and product; default `float64`. */
  precision?: "float64" | "float32";
}

/** Sees, and may change, `[positions, width]` values at TransformerLens's hook names. */
export type OracleHook = (name: string, values: Float64Array, width: number) => void;

interface OracleLayer {
  query: Compressed;
  key: Compressed;
  value: Compressed;
  /** Head dimensions that carry a value, for each head. */
  liveValues: number[][];
  output: Compressed;
  /** Neurons with an output weight. */
  liveUnits: number[];
  mlpIn: Compressed;
  mlpInBias: Float64Array;
  /** By neuron. */
  mlpOut: Compressed;
  mlpOutBias: Float64Array;
}

/** A constructed model ready to run. */
export class Oracle {
  private readonly round: (value: number) => number;
  private readonly embed: Compressed;
  private readonly positions: Compressed;
  private readonly unembed: Compressed;
  private readonly unembedBias: Float64Array;
  private readonly layers: OracleLayer[];

  constructor(
    private readonly spec: ModelSpec,
    private readonly weights: Map<string, SparseMatrix>,
    { precision = "float64" }: OracleOptions = {},
  ) {
    checkSupported(spec);
    this.round = precision === "float32" ? Math.fround : (value) => value;
    this.embed = this.rows("embed.W_E");
    this.positions = this.rows("embed.W_pos");
    this.unembed = this.rows("unembed.W_U");
    this.unembedBias = this.vector("unembed.b_U");
    this.layers = spec.layers.map((_, layer) => this.prepareLayer(layer));
  }

  /**
   * Logits `[vocabSize]` at the last position.
   * @param input token ids, or embeddings `[positions, dModel]` that stand in for the token embedding.
   * @param hook called at resid_pre, z, resid_mid and resid_post. In the last layer only the last position is computed.
   */
  run(input: readonly number[] | Float64Array, hook: OracleHook = () => {}): Float64Array {
    const { dModel } = this.spec;
    const residual = input instanceof Float64Array ? input.slice() : this.embedTokens(input);
    const length = residual.length / dModel;
    for (let p = 0; p < length; p++) this.addScaled(this.positions, p, 1, residual, p * dModel);
    this.layers.forEach((layer, l) => {
      const first = l === this.layers.length - 1 ? length - 1 : 0;
      hook(`blocks.${l}.hook_resid_pre`, residual, dModel);
      this.attend(layer, residual, first, (z) => hook(`blocks.${l}.attn.hook_z`, z, this.headsWidth));
      hook(`blocks.${l}.hook_resid_mid`, residual, dModel);
      this.applyMlp(layer, residual, first);
      hook(`blocks.${l}.hook_resid_post`, residual, dModel);
    });
    const logits = this.product(this.unembed, residual.subarray((length - 1) * dModel), 1, dModel);
    return logits.map((value, id) => this.round(value + (this.unembedBias[id] as number)));
  }

  private get headsWidth(): number {
    return this.spec.nHeads * this.spec.dHead;
  }

  private embedTokens(tokens: readonly number[]): Float64Array {
    const residual = new Float64Array(tokens.length * this.spec.dModel);
    tokens.forEach((token, p) => {
      this.addScaled(this.embed, token, 1, residual, p * this.spec.dModel);
    });
    return residual;
  }

  private matrix(name: WeightName, layer: number): SparseMatrix {
    const source = this.spec.weights[name];
    const matrix = source && this.weights.get(source.tensor.replace("{i}", String(layer)));
    if (matrix !== undefined) return matrix;
    throw new ConfigError("theory/oracle", `the model has no tensor for ${name} of layer ${layer}`);
  }

  private rows(name: WeightName, layer = 0): Compressed {
    return compress(this.matrix(name, layer), "rows", this.round);
  }

  private vector(name: WeightName, layer = 0): Float64Array {
    const matrix = this.matrix(name, layer);
    const dense = new Float64Array(matrix.shape[0] ?? 0);
    matrix.rows.forEach((row, e) => {
      dense[row] = this.round((dense[row] as number) + (matrix.values[e] as number));
    });
    return dense;
  }

  private prepareLayer(layer: number): OracleLayer {
    const value = this.rows("attn.W_V", layer);
    const mlpOut = compress(this.matrix("mlp.W_out", layer), "cols", this.round);
    return {
      query: this.rows("attn.W_Q", layer),
      key: this.rows("attn.W_K", layer),
      value,
      liveValues: Array.from({ length: this.spec.nHeads }, (_, h) =>
        liveRows(value, h * this.spec.dHead, this.spec.dHead),
      ),
      output: this.rows("attn.W_O", layer),
      mlpIn: this.rows("mlp.W_in", layer),
      mlpInBias: this.vector("mlp.b_in", layer),
      mlpOut,
      liveUnits: liveRows(mlpOut, 0, dMlpOf(this.spec, layer)),
      mlpOutBias: this.vector("mlp.b_out", layer),
    };
  }

  /** Adds `scale` times line `row` of a matrix to the numbers of `target` from `start` on. */
  private addScaled(matrix: Compressed, row: number, scale: number, target: Float64Array, start: number): void {
    const { round } = this;
    for (let e = matrix.starts[row] as number; e < (matrix.starts[row + 1] as number); e++) {
      const place = start + (matrix.others[e] as number);
      target[place] = round((target[place] as number) + round((matrix.values[e] as number) * scale));
    }
  }

  /** Line `row` of a matrix times the numbers of `vector` from `start` on. */
  private inner({ starts, others, values }: Compressed, row: number, vector: Float64Array, start: number): number {
    const { round } = this;
    let sum = 0;
    for (let e = starts[row] as number; e < (starts[row + 1] as number); e++) {
      sum = round(sum + round((values[e] as number) * (vector[start + (others[e] as number)] as number)));
    }
    return sum;
  }

  /** `matrix` times each of `count` vectors of `width` numbers. */
  private product(matrix: Compressed, vectors: Float64Array, count: number, width: number): Float64Array {
    const rows = matrix.starts.length - 1;
    const live = liveRows(matrix, 0, rows);
    const result = new Float64Array(count * rows);
    for (let p = 0; p < count; p++) {
      for (const r of live) result[p * rows + r] = this.inner(matrix, r, vectors, p * width);
    }
    return result;
  }

  private attend(layer: OracleLayer, residual: Float64Array, first: number, hook: (z: Float64Array) => void): void {
    const { dModel, nHeads } = this.spec;
    const length = residual.length / dModel;
    const queries = this.product(layer.query, residual, length, dModel);
    const keys = this.product(layer.key, residual, length, dModel);
    const values = this.product(layer.value, residual, length, dModel);
    const z = new Float64Array(length * this.headsWidth);
    for (let h = 0; h < nHeads; h++) {
      const live = layer.liveValues[h] as number[];
      if (live.length === 0) continue;
      for (let t = first; t < length; t++) this.attendFrom(t, h, queries, keys, values, live, z);
    }
    hook(z);
    this.addToResidual(this.product(layer.output, z, length, this.headsWidth), residual, first);
  }

  /** One head seen from one position: scores, softmax, weighted values into `z`. */
  private attendFrom(
    t: number,
    head: number,
    queries: Float64Array,
    keys: Float64Array,
    values: Float64Array,
    live: readonly number[],
    z: Float64Array,
  ): void {
    const { round } = this;
    const width = this.headsWidth;
    const pattern = this.scores(t, head, queries, keys);
    let largest = -Infinity;
    for (const score of pattern) largest = Math.max(largest, score);
    let total = 0;
    for (let s = 0; s <= t; s++) {
      const weight = round(Math.exp(round((pattern[s] as number) - largest)));
      pattern[s] = weight;
      total = round(total + weight);
    }
    for (const dimension of live) {
      let sum = 0;
      for (let s = 0; s <= t; s++) {
        const value = values[s * width + dimension] as number;
        if (value !== 0) sum = round(sum + round(round((pattern[s] as number) / total) * value));
      }
      z[t * width + dimension] = sum;
    }
  }

  private scores(t: number, head: number, queries: Float64Array, keys: Float64Array): Float64Array {
    const { round } = this;
    const { dHead } = this.spec;
    const width = this.headsWidth;
    const live: number[] = [];
    for (let c = head * dHead; c < (head + 1) * dHead; c++) if (queries[t * width + c] !== 0) live.push(c);
    const scores = new Float64Array(t + 1);
    for (let s = 0; s <= t; s++) {
      let sum = 0;
      for (const c of live) {
        sum = round(sum + round((queries[t * width + c] as number) * (keys[s * width + c] as number)));
      }
      scores[s] = sum;
    }
    return scores;
  }

  private applyMlp(layer: OracleLayer, residual: Float64Array, first: number): void {
    const { round } = this;
    const { dModel } = this.spec;
    const length = residual.length / dModel;
    const change = new Float64Array(length * dModel);
    for (let p = first; p < length; p++) {
      for (const unit of layer.liveUnits) {
        const input = this.inner(layer.mlpIn, unit, residual, p * dModel);
        const activation = round(input + (layer.mlpInBias[unit] as number));
        if (activation > 0) this.addScaled(layer.mlpOut, unit, activation, change, p * dModel);
      }
      for (let c = 0; c < dModel; c++) {
        change[p * dModel + c] = round((change[p * dModel + c] as number) + (layer.mlpOutBias[c] as number));
      }
    }
    this.addToResidual(change, residual, first);
  }

  private addToResidual(change: Float64Array, residual: Float64Array, first: number): void {
    for (let i = first * this.spec.dModel; i < residual.length; i++) {
      residual[i] = this.round((residual[i] as number) + (change[i] as number));
    }
  }
}

/** Rows `start` .. `start + count` that have an entry. */
function liveRows(matrix: Compressed, start: number, count: number): number[] {
  const rows: number[] = [];
  for (let r = start; r < start + count; r++) if (matrix.starts[r] !== matrix.starts[r + 1]) rows.push(r);
  return rows;
}

function checkSupported(spec: ModelSpec): void {
  const needs: [string, boolean][] = [
    ["no norm", spec.norm.kind === "none" && spec.attention.qkNorm === "none" && !spec.embed.norm],
    ["learned positions from 0", spec.positions.kind === "learned" && spec.positions.offset === 0],
    ["attention scale 1 and no soft cap", spec.attention.scale === 1 && spec.attention.softCap === null],
    ["as many key-value heads as heads", spec.nHeads === spec.nKvHeads],
    ["a plain ReLU MLP", spec.mlp.kind === "plain" && spec.mlp.activation === "relu"],
    ["an untied unembedding", !spec.unembed.tied],
    ["full attention without RoPE", spec.layers.every((layer) => layer.window === null && layer.rope === null)],
  ];
  const missed = needs.find(([, met]) => !met);
  if (missed === undefined) return;
  throw new ConfigError("theory/oracle", `the oracle runs constructed models only, which have ${missed[0]}`);
}
