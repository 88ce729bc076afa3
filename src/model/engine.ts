/**
 * The engine: spec, weights and device together, able to record passes over rows. `Model` is its public face; sweeps and
 * generation build their own passes on it.
 */
import { InputError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { STORAGE_USAGE } from "../gpu/usage.ts";
import { ELEMENT_BYTES, type MatrixPart } from "../kernels/matrix.ts";
import { RowTable } from "../ops/rows.ts";
import { isCausal } from "./causality.ts";
import type { PassContext } from "./context.ts";
import { type Head, type Pass, type PassOutput, recordBlocks, recordLogits } from "./forward.ts";
import { indexOfNoId } from "./input.ts";
import { assertFits, KvCache } from "./kv-cache.ts";
import { ropeTable } from "./rope.ts";
import type { ModelSpec, RopeSpec } from "./spec.ts";
import { NO_TAPS, type Taps } from "./taps.ts";
import { widestMlp } from "./weights/table.ts";
import { type Weights, weightBuffers } from "./weights/weights.ts";

/** What of a pass the caller decides; the engine supplies tables and buffers. */
export interface PassRequest {
  rows: RowTable;
  cache: KvCache;
  taps?: Taps | undefined;
  inputsEmbeds?: Pass["inputsEmbeds"];
  activeRows?: readonly number[];
  join?: Pass["join"];
  outputRows?: readonly number[] | undefined;
  stopAtLayer?: number | undefined;
  /** Token ids [rows] on the GPU, in place of those in `rows`. */
  tokens?: Tensor | undefined;
  /** Tables on the GPU that the caller keeps up, in place of those made of `rows` and `cache`. */
  tables?: { rowTable: Tensor; slotTable: Tensor; slotStride: number } | undefined;
  /** Width of a row of scores; default: the longest sequence that has rows in the pass. */
  keyCount?: number | undefined;
}

export class Engine {
  /** Rows of one pass at most, whatever fits; it bounds the memory of a pass. A lower number takes less, and longer. */
  maxRowsPerPass = 2048;
  /** By index of `spec.ropes`; none for those whose table belongs to the pass. */
  #ropeTables: ({ positions: number; tensor: Tensor } | undefined)[] = [];
  /** Tables that were outgrown. A pass that is recorded but not yet submitted may still read them. */
  #outgrown: Tensor[] = [];
  #alibi: Tensor | undefined;
  #destroyed = false;

  constructor(
    readonly gpu: Gpu,
    readonly spec: ModelSpec,
    readonly weights: Weights,
  ) {
    if (spec.positions.kind === "alibi") {
      const { slopes } = spec.positions;
      this.#alibi = gpu.constant(new Float32Array(slopes), [slopes.length], "alibi slopes");
    }
  }

  createCache(sequences: number, capacity: number): KvCache {
    return KvCache.create(this.gpu, this.spec, sequences, capacity);
  }

  /** Rows of one pass, as many as fit and at most `maxRowsPerPass`; `widest`: elements of a row that somebody looks at. */
  rowsPerPass(widest = 0): number {
    return Math.min(this.maxRowsPerPass, this.rowsThatFit(widest));
  }

  /** Rows whose largest activation fits into one binding. */
  rowsThatFit(widest = 0): number {
    const { spec, gpu } = this;
    const widths = [
      (spec.nHeads + 2 * spec.nKvHeads) * spec.dHead,
      (spec.mlp.kind === "gated" ? 2 : 1) * widestMlp(spec),
      spec.dModel,
      widest,
    ];
    return Math.max(1, Math.floor(gpu.limits.maxStorageBufferBindingSize / 4 / Math.max(...widths)));
  }

  /**
   * Rows for new tokens of each sequence of the cache, in order; the cache grows by them, before anything is computed. To be
   * called in `cache.adding`.
   * @throws InputError for ids out of range and sequences longer than the model's positions.
   */
  appendRows(cache: KvCache, tokens: readonly (readonly number[])[]): RowTable {
    for (const [sequence, ids] of tokens.entries()) this.checkIds(ids, sequence);
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

  /** @throws InputError `input/token-range` */
  checkIds(ids: readonly number[], sequence: number): void {
    assertIds(this.spec, sequence, ids);
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

  /** Records embedding and blocks for the rows of `request`. */
  recordPass(recorder: Recorder, request: PassRequest): PassOutput & { context: PassContext } {
    this.assertAlive();
    recorder.needs(this);
    recorder.needs(request.cache);
    const { rows, cache, tables, taps = NO_TAPS, ...rest } = request;
    const longest = tables?.slotStride ?? longestPresent(cache, rows);
    const keyCount = request.keyCount ?? longest;
    const pass: Pass = {
      ...rest,
      rows,
      rowTable: tables?.rowTable ?? recorder.upload(rows.data),
      store: cache.store,
      slotTable: tables?.slotTable ?? recorder.upload(slotTableOf(cache, keyCount, isCausal(this.spec))),
      slotStride: keyCount + (isCausal(this.spec) ? 0 : 1),
      keyCount,
      ropeTables: this.#tablesFor(recorder, longest),
      alibi: this.#alibi,
    };
    const output = recordBlocks(recorder, this.spec, this.weights, pass, taps);
    return {
      ...output,
      context: { recorder, spec: this.spec, pass, taps, rows: output.rows, rowTable: output.rowTable },
    };
  }

  /** Records final norm and unembedding into rows `firstRow`.. of logits [.., tokens]; frees the residual. */
  recordLogits(
    output: PassOutput & { context: PassContext },
    pick: readonly number[] | undefined,
    logits: Tensor,
    firstRow = 0,
    head: Head = this.weights,
  ): void {
    const { taps } = output.context;
    // The final norm shows every row, also where no logit is wanted.
    const looked = taps.wants("ln_final.hook_scale") || taps.wants("ln_final.hook_normalized");
    const count = pick && !looked ? pick.length : output.rows.count;
    if (count > 0) recordLogits(output.context, this.weights, output.residual, pick, logits, firstRow, head);
    output.context.recorder.release(output.residual);
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
   * RoPE tables long enough for `positions`, on the GPU. Tables double and are kept; dynamic scaling depends on the
   * length, so its table belongs to the pass.
   */
  #tablesFor(recorder: Recorder, positions: number): Tensor[] {
    return this.spec.ropes.map((rope, index) => {
      if (rope.scaling.kind === "dynamic") return recorder.upload(ropePairs(rope, positions));
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
    this.gpu.check();
  }

  /** Frees weights and tables. Caches of the model free their own memory. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    for (const buffer of weightBuffers(this.weights)) this.gpu.destroyBuffer(buffer);
    for (const known of this.#ropeTables) known?.tensor.destroy();
    for (const tensor of this.#outgrown) tensor.destroy();
    this.#alibi?.destroy();
    this.gpu.trim();
  }
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
