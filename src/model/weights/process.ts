/**
 * Weights rewritten so that each part of the model is easier to read, while the logits stay the same: what TransformerLens does
 * to a model when it loads it. Matrices are [out, in] here, so they read a vector x as W x.
 *
 *   fold a norm        W (w * n + b) + c = (W diag(w)) n + (W b + c): the norm's w and b go into every matrix that reads it.
 *                      The n of a LayerNorm has mean 0, so the mean of each row of W has no effect and is taken out, too.
 *   centre writing     A LayerNorm subtracts the mean of what it reads. If nothing else reads the residual, whatever writes to
 *                      it may write vectors of mean 0.
 *   centre unembedding Adding the same number to all logits of a position leaves their softmax as it is.
 *   fold value biases  Attention patterns sum to 1, so each head adds W_O b_V whatever it looks at: a part of b_O.
 *
 * Numbers come from the GPU one weight at a time. Sums are in float64, results in float32.
 */
import type { ModelSpec } from "../spec.ts";
import { type Found, type Loaded, readFound, weightTable } from "./read.ts";
import { dValueOf, nKvHeadsOf, WEIGHTS, type WeightName, weightShape } from "./table.ts";

/** What is done to the weights. */
export interface Processing {
  foldNorm: boolean;
  centerWriting: boolean;
  centerUnembed: boolean;
  foldValueBiases: boolean;
}

type NormName = "ln1" | "ln2" | "lnFinal";

/** What writes to the residual, and along which side of [out, in] its vectors lie. */
const WRITES: Partial<Record<WeightName, "rows" | "columns">> = {
  "embed.W_E": "rows",
  "embed.W_pos": "rows",
  "attn.W_O": "columns",
  "attn.b_O": "columns",
  "mlp.W_out": "columns",
  "mlp.b_out": "columns",
};

/** The norm whose output a matrix or its bias reads; undefined where it reads something else. */
export function normBefore({ block }: ModelSpec, name: WeightName): NormName | undefined {
  if (/^unembed\.[Wb]_U$/.test(name)) return "lnFinal";
  if (block.norms === "post") return undefined;
  if (/^attn\.[Wb]_(Q|K|V|DQ|DKV|KR)$/.test(name)) return "ln1";
  if (/^mlp\.[Wb]_(in|gate)$/.test(name)) return block.parallelSharedNorm ? "ln1" : "ln2";
  return undefined;
}

/** The weights of a model, processed. */
export class ProcessedWeights {
  readonly #table: ReadonlyMap<string, Found>;

  constructor(
    private readonly model: Loaded,
    private readonly how: Processing,
  ) {
    this.#table = weightTable(model);
  }

  /** Whether the processed model has the weight. */
  has(name: WeightName, layer: number): boolean {
    const { how } = this;
    if (this.#isFolded(name)) return name.endsWith(".w") && this.#had(name, layer);
    if (name === "attn.b_V" && how.foldValueBiases) return false;
    if (name === "attn.b_O" && how.foldValueBiases && this.#hasBias("attn.b_V", layer)) return true;
    return this.#hasBias(name, layer);
  }

  /** Its numbers, [out, in]. */
  async values(name: WeightName, layer: number): Promise<Float32Array> {
    const { spec } = this.model;
    if (this.#isFolded(name)) return this.#zeros(name, layer).fill(1 - spec.norm.weightOffset);
    const values = name.includes(".b_") ? await this.#bias(name, layer) : await this.#matrix(name, layer);
    const width = name.includes(".b_") ? 1 : spec.dModel;
    if (name === "attn.b_O" && this.how.foldValueBiases) await this.#addValueBiases(values, layer);
    const side = this.how.centerWriting ? WRITES[name] : undefined;
    if (side === "rows") centreRows(values, width);
    if (side === "columns") centreColumns(values, values.length / spec.dModel);
    if (this.how.centerUnembed && /^unembed\.[Wb]_U$/.test(name)) centreColumns(values, width);
    return values;
  }

  /** A matrix, with the norm before it folded in; or the weight of another norm, as it is. */
  async #matrix(name: WeightName, layer: number): Promise<Float32Array> {
    const { spec } = this.model;
    const values = await this.#stored(name, layer);
    const norm = this.#foldedBefore(name);
    if (norm === undefined) return values;
    const scales = await this.#stored(`${norm}.w`, layer);
    const { kind, weightOffset } = spec.norm;
    for (let at = 0; at < values.length; at++)
      values[at] = (values[at] as number) * ((scales[at % spec.dModel] as number) + weightOffset);
    if (kind === "layer") centreRows(values, spec.dModel);
    return values;
  }

  /** The bias of a matrix, with what the norm's bias adds. Zeros where neither has one. */
  async #bias(name: WeightName, layer: number): Promise<Float32Array> {
    const bias = this.#had(name, layer) ? await this.#stored(name, layer) : this.#zeros(name, layer);
    const norm = this.#foldedBefore(name);
    if (norm !== undefined && this.#had(`${norm}.b`, layer))
      addProduct(bias, await this.#stored(matrixOf(name), layer), await this.#stored(`${norm}.b`, layer));
    return bias;
  }

  /** b_O += W_O b_V, where query heads that share a value head share its bias. */
  async #addValueBiases(bias: Float32Array, layer: number): Promise<void> {
    if (!this.#hasBias("attn.b_V", layer)) return;
    const { spec } = this.model;
    const { nHeads } = spec;
    const [nKvHeads, dValue] = [nKvHeadsOf(spec, layer), dValueOf(spec, layer)];
    const ofHeads = await this.#bias("attn.b_V", layer);
    const shared = nHeads / nKvHeads;
    const each = Float32Array.from({ length: nHeads * dValue }, (_, at) => {
      const valueHead = Math.floor(Math.floor(at / dValue) / shared);
      return ofHeads[valueHead * dValue + (at % dValue)] as number;
    });
    addProduct(bias, await this.#stored("attn.W_O", layer), each);
  }

  /** Whether a norm's weight or bias goes into the matrices behind it. */
  #isFolded(name: WeightName): boolean {
    const { foldNorm } = this.how;
    if (/^lnFinal\./.test(name)) return foldNorm;
    return foldNorm && this.model.spec.block.norms !== "post" && /^ln[12]\./.test(name);
  }

  #foldedBefore(name: WeightName): NormName | undefined {
    return this.how.foldNorm ? normBefore(this.model.spec, name) : undefined;
  }

  /** Whether there is such a weight, or one comes of the norm before it. */
  #hasBias(name: WeightName, layer: number): boolean {
    if (this.#had(name, layer)) return true;
    const norm = name.includes(".b_") ? this.#foldedBefore(name) : undefined;
    return norm !== undefined && this.#had(matrixOf(name), layer) && this.#had(`${norm}.b`, layer);
  }

  #had(name: WeightName, layer: number): boolean {
    return this.#table.has(lensName(name, layer));
  }

  async #stored(name: WeightName, layer: number): Promise<Float32Array> {
    const found = this.#table.get(lensName(name, layer)) as Found;
    return (await readFound(this.model, found, "stored")).data;
  }

  #zeros(name: WeightName, layer: number): Float32Array {
    return new Float32Array(weightShape(this.model.spec, name, layer)[0] as number);
  }
}

const lensName = (name: WeightName, layer: number) => WEIGHTS[name].lens.replace("{i}", `${layer}`);
const matrixOf = (bias: WeightName) => bias.replace(".b_", ".W_") as WeightName;

/** Takes the mean of each row out of it. */
function centreRows(values: Float32Array, width: number): void {
  for (let start = 0; start < values.length; start += width) {
    const row = values.subarray(start, start + width);
    let sum = 0;
    for (const value of row) sum += value;
    for (let at = 0; at < width; at++) row[at] = (row[at] as number) - sum / width;
  }
}

/** Takes the mean of each column out of it. */
function centreColumns(values: Float32Array, width: number): void {
  const sums = new Float64Array(width);
  const rows = values.length / width;
  for (let at = 0; at < values.length; at++) sums[at % width] = (sums[at % width] as number) + (values[at] as number);
  for (let at = 0; at < values.length; at++) values[at] = (values[at] as number) - (sums[at % width] as number) / rows;
}

/** out += W x, with W [out, in]. */
function addProduct(out: Float32Array, matrix: Float32Array, x: Float32Array): void {
  for (let row = 0; row < out.length; row++) {
    let sum = 0;
    for (let at = 0; at < x.length; at++) sum += (matrix[row * x.length + at] as number) * (x[at] as number);
    out[row] = (out[row] as number) + sum;
  }
}
