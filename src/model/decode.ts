/**
 * Decoding: one program for every token. The pass over one row a sequence, the unembedding and the choice of the next token
 * are recorded once and run again and again. A chosen token goes from the end of one run to the embedding of the next
 * without leaving the GPU. So runs are submitted before earlier results are read. The GPU never waits for the host, and a
 * host that is slow to learn of results (Deno takes 12 ms) costs nothing.
 *
 * Slots for later tokens are reserved when the program is made. They become part of the cache as tokens are delivered.
 */
import type { Program } from "../gpu/program.ts";
import { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { RowTable } from "../ops/rows.ts";
import { assertIds } from "./engine.ts";
import type { KvCache } from "./kv-cache.ts";
import type { Runner } from "./runner.ts";
import { chosenTokens, recordChoice, type Sampling } from "./sampling.ts";

/** What a decoder is to do. */
export interface DecodeRequest {
  kv: KvCache;
  /** Sequences of the cache that go on, and the newest token of each, which is not in the cache yet. */
  sequences: readonly number[];
  tokens: readonly number[];
  /** Runs at most. */
  steps: number;
  sampling: Sampling;
  /** [sequences, vocabSize], for the decoder's use. */
  logits: Tensor;
  /** Ends the making of the program. */
  signal?: AbortSignal | undefined;
}

export class Decoder {
  #submitted = 0;
  #delivered = 0;

  private constructor(
    private readonly model: Runner,
    private readonly request: DecodeRequest,
    /** Reserved slots, [sequences][steps]. */
    private readonly slots: readonly number[][],
    private readonly recording: Recording,
    /** Of the store when its buffers became part of the program, or before. */
    private readonly capacity: number,
    /** Lets others add to the cache again. */
    private readonly release: () => void,
  ) {}

  /**
   * The cache is the decoder's to add to until `destroy()`: runs are submitted for the length they will find.
   * @throws InputError for ids out of range and sequences longer than the model's positions.
   */
  static async create(model: Runner, request: DecodeRequest): Promise<Decoder> {
    const { kv, sequences, tokens, steps } = request;
    tokens.forEach((id, row) => {
      assertIds(model.spec, sequences[row] as number, [id]);
    });
    const slots: number[][] = [];
    const release = kv.claim("generation");
    try {
      for (const sequence of sequences) slots.push(kv.reserve(sequence, steps));
      const { capacity } = kv.store;
      return new Decoder(model, request, slots, await recordDecoding(model, request, slots), capacity, release);
    } catch (error) {
      release();
      for (const list of slots) kv.giveBack(list);
      throw error;
    }
  }

  /** Whether another run may be submitted: there are slots, and the store has not moved to larger buffers meanwhile. */
  get canSubmit(): boolean {
    return this.#submitted < this.request.steps && this.request.kv.store.capacity === this.capacity;
  }

  /**
   * Submits the next run; resolves with the token it chose for each sequence. `draws` holds a number in [0, 1) a sequence;
   * greedy needs none.
   * @throws SuperlensError when model, cache or device were destroyed meanwhile.
   */
  async submit(draws: Float32Array): Promise<number[]> {
    this.request.kv.assertAlive();
    this.model.engine.assertAlive();
    const { program, rows, rowTable, tokens, draws: drawsTensor } = this.recording;
    const { queue } = this.model.gpu.device;
    const step = this.#submitted++;
    const lengths = this.request.kv.lengths;
    this.request.sequences.forEach((sequence, row) => {
      const position = (lengths[sequence] as number) + step - this.#delivered;
      rows.set(row, row, position, this.slots[row]?.[step] as number, 0);
    });
    queue.writeBuffer(rowTable.buffer, 0, rows.data as Uint32Array<ArrayBuffer>);
    if (drawsTensor) queue.writeBuffer(drawsTensor.buffer, 0, draws as Float32Array<ArrayBuffer>);
    return chosenTokens(await program.run(tokens), this.request.sequences);
  }

  /** Takes the oldest run that was not delivered into the cache, for the sequences that are still going. */
  deliver(isGoing: (sequence: number) => boolean): void {
    const step = this.#delivered++;
    this.request.sequences.forEach((sequence, row) => {
      const slot = this.slots[row]?.[step] as number;
      if (isGoing(sequence)) this.request.kv.append(sequence, slot);
      else this.request.kv.giveBack([slot]);
    });
  }

  /** Gives back what was reserved and not delivered. Runs in flight still finish, before any that comes later. */
  destroy(): void {
    this.recording.program.destroy();
    for (const list of this.slots) this.request.kv.giveBack(list.slice(this.#delivered));
    this.release();
  }
}

/** The program, and what is written before each run of it. */
interface Recording {
  readonly program: Program;
  readonly rows: RowTable;
  readonly rowTable: Tensor;
  readonly tokens: Tensor;
  readonly draws: Tensor | undefined;
}

/** Records the program, on tables of its own: row r is sequence r, with the slots it has and those reserved for it. */
async function recordDecoding(
  model: Runner,
  { kv, sequences, tokens: first, steps, sampling, logits, signal }: DecodeRequest,
  slots: readonly number[][],
): Promise<Recording> {
  const { gpu, engine } = model;
  const held = sequences.map((sequence) => kv.sequences[sequence] as number[]);
  const longest = Math.max(...held.map((list) => list.length)) + steps;
  const slotTable = new Uint32Array(sequences.length * longest);
  held.forEach((list, row) => {
    slotTable.set(list, row * longest);
    slotTable.set(slots[row] as number[], row * longest + list.length);
  });
  const rows = new RowTable(sequences.length);
  held.forEach((list, row) => {
    rows.set(row, row, list.length, slots[row]?.[0] as number, 0);
  });
  const recorder = new Recorder(gpu, "decoding");
  try {
    const tokens = recorder.upload(Uint32Array.from(first));
    const draws = sampling.temperature === 0 ? undefined : recorder.upload(new Float32Array(sequences.length));
    const rowTable = recorder.upload(rows.data);
    const tables = { rowTable, slotTable: recorder.upload(slotTable), slotStride: longest };
    engine.recordPass(recorder, { rows, cache: kv, tables, tokens, logits: { tensor: logits } });
    recordChoice(recorder, logits, sequences.length, sampling, draws, tokens);
    return { program: await recorder.keep(signal), rows, rowTable, tokens, draws };
  } finally {
    recorder.discard();
  }
}
