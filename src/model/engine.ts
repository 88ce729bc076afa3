/**
 * The engine: spec, weights and device together. It records passes over rows. Users see `Model`; sweeps and generation build
 * their own passes on the engine.
 */
import { InputError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { STORAGE_USAGE } from "../gpu/usage.ts";
import { lower } from "../graph/lower.ts";
import type { Matrix, MatrixPart, NormWeights } from "../kernels/matrix.ts";
import { ELEMENT_BYTES } from "../kernels/storage.ts";
import type { Bindings, Joining, PassHooks, WeightGradients } from "../ops/bindings.ts";
import type { WeightLookup, WeightRef } from "../ops/op.ts";
import { RowTable } from "../ops/rows.ts";
import { sinusoid } from "../ops/sinusoids.ts";
import { isCausal } from "./causality.ts";
import { indexOfNoId } from "./input.ts";
import { assertFits, type KvCache } from "./kv-cache.ts";
import { type GradientForm, Plans } from "./plans.ts";
import { dependsOnLength, ropeTable } from "./rope.ts";
import type { ModelSpec, RopeSpec } from "./spec.ts";
import { widestMlp, widestProjection } from "./weights/table.ts";
import { type Weights, weightBuffers } from "./weights/weights.ts";

/** An unembedding: the model's own, or the rows of some tokens alone. */
export interface Head {
  /** [tokens, dModel]. */
  W_U: Matrix;
  b_U?: Tensor | undefined;
}

/** What of a pass the caller decides; the engine supplies tables and buffers. */
export interface PassRequest {
  rows: RowTable;
  cache: KvCache;
  hooks?: PassHooks | undefined;
  /** In place of token embeddings: rows `firstRow`.. of [.., dModel]. */
  inputsEmbeds?: Bindings["embeds"];
  /** Rows present from each layer on, and where those that join later take their residual from. */
  activeRows?: readonly number[];
  joining?: Joining;
  /** Rows that go through the last block's attention, its MLP and the unembedding. Undefined: all. */
  outputRows?: readonly number[] | undefined;
  /** Begins with this block, whose residual is given in place of embeddings. */
  startAtLayer?: number | undefined;
  /** Ends before this block. */
  stopAtLayer?: number | undefined;
  /** Where logits go, if there are to be any. */
  logits?: LogitsRequest | undefined;
  /** Token ids [rows] on the GPU, in place of those in `rows`. */
  tokens?: Tensor | undefined;
  /** Tables on the GPU that the caller keeps up, in place of those made of `rows` and `cache`. */
  tables?: { rowTable: Tensor; slotTable: Tensor; slotStride: number } | undefined;
  /** Goes on backwards, from the logits or where the hooks say. */
  backward?: BackwardRequest | undefined;
  /** Width of a row of scores; default: the longest sequence that has rows in the pass. */
  keyCount?: number | undefined;
}

/** Where a backward pass begins, and what it is made for besides the gradients that the hooks capture. */
export interface BackwardRequest {
  readonly seed: NonNullable<Bindings["seed"]>;
  readonly weights?: (GradientForm & WeightGradients) | undefined;
  readonly recompute?: boolean | undefined;
}

function gradientForm({ weights, recompute }: BackwardRequest): GradientForm {
  return { weights: weights?.weights ?? "", wantsWeight: weights?.wantsWeight ?? (() => false), recompute };
}

export interface LogitsRequest {
  /** [.., tokens]; the logits go to rows `firstRow`.. (default 0). */
  tensor: Tensor;
  firstRow?: number;
  /** The rows that are unembedded, where all run to the end: after the final norm, whose points show all. Undefined: all. */
  picked?: readonly number[] | undefined;
  /** Default: the model's own. */
  head?: Head | undefined;
}

export class Engine {
  /**
   * Rows of one pass at most, whatever fits; it bounds the memory of a pass. A lower number takes less, and longer. Of a narrow
   * model more than 2048, whose widest activation then takes 8 MB.
   */
  maxRowsPerPass: number;
  /** By index of `spec.ropes`; none for those whose table belongs to the pass. */
  #ropeTables: ({ positions: number; tensor: Tensor } | undefined)[] = [];
  /** Tables that were outgrown. A pass that is recorded but not yet submitted may still read them. */
  #outgrown: Tensor[] = [];
  #alibi: Tensor | undefined;
  #sinusoids: Tensor | undefined;
  #destroyed = false;
  readonly #weightLookup: WeightLookup;
  /** What passes of a form run, kept for the next of that form. */
  plans: Plans;

  constructor(
    readonly gpu: Gpu,
    readonly spec: ModelSpec,
    readonly weights: Weights,
    /** Those whose weights these are; they free them, and passes end with any of them. Without any they are the engine's own. */
    private readonly owners: readonly { assertAlive(): void }[] = [],
  ) {
    this.maxRowsPerPass = Math.max(2048, Math.floor((2 << 20) / widestRow(spec)));
    this.plans = new Plans(spec);
    this.#weightLookup = this.#lookup(weights);
    if (spec.positions.kind === "alibi") {
      const { slopes } = spec.positions;
      this.#alibi = gpu.constant(new Float32Array(slopes), [slopes.length], "alibi slopes");
    }
    if (spec.positions.kind === "sinusoidal") {
      const { offset } = spec.positions;
      const { maxPositions, dModel } = spec;
      const table = new Float32Array(maxPositions * dModel);
      for (let p = 0; p < maxPositions; p++) table.set(sinusoid(p + offset, dModel), p * dModel);
      this.#sinusoids = gpu.constant(table, [maxPositions, dModel], "sinusoidal positions");
    }
  }

  /** Whether a pass reads weights from the checkpoint. */
  get isStreamed(): boolean {
    return this.weights.stream !== undefined;
  }

  /** Rows of one pass, as many as fit and at most `maxRowsPerPass`; `widest`: elements of a row that somebody looks at. */
  rowsPerPass(widest = 0): number {
    return Math.min(this.maxRowsPerPass, this.rowsThatFit(widest));
  }

  /** Rows whose largest activation fits into one binding. */
  rowsThatFit(widest = 0): number {
    const width = Math.max(widestRow(this.spec), widest);
    return Math.max(1, Math.floor(this.gpu.limits.maxStorageBufferBindingSize / 4 / width));
  }

  /**
   * Rows for new tokens of each sequence of the cache, in order; the cache grows by them, before anything is computed. To be
   * called in `cache.adding`.
   * @throws InputError for ids out of range and sequences longer than the model's positions.
   */
  appendRows(cache: KvCache, tokens: readonly (readonly number[])[]): RowTable {
    for (const [sequence, ids] of tokens.entries()) assertIds(this.spec, sequence, ids);
    const table = new RowTable(tokens.reduce((sum, ids) => sum + ids.length, 0));
    const before = cache.lengths;
    let row = 0;
    tokens.forEach((ids, sequence) => {
      const slots = cache.extend(sequence, ids.length);
      ids.forEach((id, index) => {
        table.set(row++, sequence, (before[sequence] as number) + index, slots[index] as number, id);
      });
    });
    return table;
  }

  /** Records with `body` what reads the weights, and submits it, as `Recorder.run`. @throws InputError `input/model-destroyed` */
  async record<T>(label: string, body: (recorder: Recorder) => T): Promise<T> {
    this.assertAlive();
    return Recorder.run(this.gpu, label, (recorder) => {
      recorder.needs(this);
      return body(recorder);
    });
  }

  /** The numbers of a vector of the weights, where the model has it. @throws InputError `input/model-destroyed` */
  async readVector(vector: Tensor | undefined, start?: number, end?: number): Promise<Float32Array | undefined> {
    this.assertAlive();
    return vector?.read(start, end);
  }

  /** Records the pass over the rows of `request`. */
  recordPass(recorder: Recorder, request: PassRequest): void {
    this.assertAlive();
    recorder.needs(this);
    recorder.needs(request.cache);
    const { rows, cache, tables, hooks, logits, joining, outputRows, startAtLayer, stopAtLayer, backward } = request;
    const longest = tables?.slotStride ?? longestPresent(cache, rows);
    const keyCount = request.keyCount ?? longest;
    const causal = isCausal(this.spec);
    const picked = logits?.picked;
    // Where no row is unembedded, the final norm is computed for those who look at it alone.
    const wanted = !logits || picked?.length === 0 ? "none" : picked ? "picked" : "all";
    const plan = this.plans.of(
      {
        embeds: request.inputsEmbeds !== undefined,
        joins: joining !== undefined,
        narrow: outputRows !== undefined,
        startAtLayer,
        stopAtLayer,
        logits: wanted,
      },
      hooks,
      backward && gradientForm(backward),
    );
    lower(recorder, plan, logits?.head ? this.#lookup(logits.head) : this.#weightLookup, {
      rows,
      rowTable: tables?.rowTable ?? recorder.upload(rows.data),
      activeRows: request.activeRows,
      joining,
      outputRows,
      picked,
      store: cache.store,
      slotTable: tables?.slotTable ?? recorder.upload(slotTableOf(cache, keyCount, causal)),
      slotStride: keyCount + (causal ? 0 : 1),
      keyCount,
      ropeTables: this.#tablesFor(recorder, longest),
      alibi: this.#alibi,
      sinusoids: this.#sinusoids,
      tokens: request.tokens,
      embeds: request.inputsEmbeds,
      logits: logits && { tensor: logits.tensor, firstRow: logits.firstRow ?? 0 },
      hooks,
      seed: backward?.seed,
      gradients: backward?.weights,
    });
  }

  #lookup(head: Head): WeightLookup {
    const { weights } = this;
    const outside = { ...weights, ...head };
    const holder = ({ block, module }: WeightRef): object => {
      if (module !== undefined) return weights.modules?.[module] as object;
      return block === undefined ? outside : (weights.blocks[block] as object);
    };
    const find = (ref: WeightRef) => holder(ref)[ref.name as never] as unknown;
    return {
      matrix: (ref) => find(ref) as Matrix,
      vector: (ref) => ref && (find(ref) as Tensor | undefined),
      norm: (ref) => (find(ref) ?? {}) as NormWeights,
    };
  }

  /** The unembedding's rows for some tokens, for passes that read no other logit. The caller destroys it. */
  headOf(tokens: readonly number[]): Head & { destroy(): void } {
    const { gpu } = this;
    const { W_U, b_U } = this.weights;
    const rowBytes = W_U.stride * ELEMENT_BYTES[W_U.storage];
    const buffer = gpu.createBuffer(tokens.length * rowBytes, STORAGE_USAGE, "unembedding of some tokens");
    const bias = b_U && gpu.tensor([tokens.length], "unembedding bias of some tokens");
    const encoder = gpu.device.createCommandEncoder({ label: "unembedding of some tokens" });
    tokens.forEach((token, row) => {
      const part = W_U.parts.find(({ firstRow, rows }) => token >= firstRow && token < firstRow + rows) as MatrixPart;
      encoder.copyBufferToBuffer(part.buffer, (token - part.firstRow) * rowBytes, buffer, row * rowBytes, rowBytes);
      if (b_U && bias) encoder.copyBufferToBuffer(b_U.buffer, 4 * token, bias.buffer, 4 * row, 4);
    });
    gpu.device.queue.submit([encoder.finish()]);
    const parts = [{ buffer, firstRow: 0, rows: tokens.length }];
    const destroy = () => {
      gpu.destroyBuffer(buffer);
      bias?.destroy();
    };
    return { W_U: { ...W_U, outWidth: tokens.length, parts }, b_U: bias, destroy };
  }

  /**
   * RoPE tables long enough for `positions`, on the GPU. Tables double and are kept; those that depend on the length
   * belong to the pass.
   */
  #tablesFor(recorder: Recorder, positions: number): Tensor[] {
    return this.spec.ropes.map((rope, index) => {
      if (dependsOnLength(rope)) return recorder.upload(ropePairs(rope, positions));
      const known = this.#ropeTables[index];
      if (known && known.positions >= positions) return known.tensor;
      if (known) this.#outgrown.push(known.tensor);
      const doubled = Math.min(this.spec.maxPositions, 2 ** Math.ceil(Math.log2(Math.max(64, positions))));
      const length = Math.max(doubled, positions);
      const tensor = this.gpu.constant(ropePairs(rope, length), [length, rope.rotaryDim / 2, 2], "rope table");
      this.#ropeTables[index] = { positions: length, tensor };
      return tensor;
    });
  }

  assertAlive(): void {
    if (this.#destroyed) throw new InputError("input/model-destroyed", "The model was destroyed. Load it again.");
    for (const owner of this.owners) owner.assertAlive();
    this.gpu.check();
  }

  /** Frees its own weights, and tables. Caches of the model free their own memory. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    if (this.owners.length === 0) {
      this.weights.stream?.close();
      for (const buffer of weightBuffers(this.weights)) this.gpu.destroyBuffer(buffer);
    }
    for (const known of this.#ropeTables) known?.tensor.destroy();
    for (const tensor of this.#outgrown) tensor.destroy();
    this.#alibi?.destroy();
    this.#sinusoids?.destroy();
    this.gpu.trim();
  }
}

/** Elements of a row of the widest activation that a pass needs. */
function widestRow(spec: ModelSpec): number {
  const perLayer = spec.nLayers * (spec.embed.perLayer?.width ?? 0);
  const features = (spec.modules ?? []).map(({ dSae }) => dSae);
  return Math.max(
    widestProjection(spec),
    perLayer,
    (spec.mlp.kind === "gated" ? 2 : 1) * widestMlp(spec),
    spec.dModel,
    ...features,
  );
}

/** @throws InputError `input/token-range` */
export function assertIds({ vocabSize }: Pick<ModelSpec, "vocabSize">, sequence: number, ids: readonly number[]): void {
  const bad = indexOfNoId(ids, vocabSize);
  if (bad < 0) return;
  throw new InputError(
    "input/token-range",
    `Sequence ${sequence} has token id ${String(ids[bad])} (entry ${bad}); ids of this model go from 0 to ${vocabSize - 1}.`,
  );
}

/**
 * What every sequence that begins must be, whatever runs it.
 * @throws InputError `input/token-range`, `input/too-long`
 */
export function assertRunnable(
  spec: Pick<ModelSpec, "vocabSize" | "maxPositions">,
  sequences: readonly (readonly number[])[],
): void {
  for (const [sequence, ids] of sequences.entries()) {
    assertIds(spec, sequence, ids);
    assertFits(spec, sequence, ids.length);
  }
}

/** Length of the longest sequence that has rows in the pass. The others' keys are not read. */
function longestPresent(cache: KvCache, rows: RowTable): number {
  let longest = 1;
  for (let row = 0; row < rows.count; row++) {
    longest = Math.max(longest, (cache.sequences[rows.sequence(row)] as number[]).length);
  }
  return longest;
}

/** The table [position, rotaryDim / 2, (cos, sin)] as the kernels read it. */
function ropePairs(rope: RopeSpec, positions: number): Float32Array {
  const { cos, sin } = ropeTable(rope, positions);
  const pairs = new Float32Array(2 * cos.length);
  cos.forEach((value, index) => {
    pairs[2 * index] = value;
    pairs[2 * index + 1] = sin[index] as number;
  });
  return pairs;
}

/** The slots of each sequence's first `keys` positions; without causality followed by its length, see attention_shared.wgsl. */
function slotTableOf(cache: KvCache, keys: number, causal: boolean): Uint32Array {
  const stride = keys + (causal ? 0 : 1);
  const table = new Uint32Array(cache.sequences.length * stride);
  for (const [sequence, slots] of cache.sequences.entries()) {
    table.set(slots.slice(0, keys), sequence * stride);
    if (!causal) table[sequence * stride + keys] = slots.length;
  }
  return table;
}
