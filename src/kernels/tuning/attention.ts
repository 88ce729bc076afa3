/** Contests of attention: random queries, keys and values, about as wide in all as GPT-2's, in heads of the class's width. */
import type { Gpu } from "../../gpu/gpu.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import {
  type Attention,
  type AttentionCall,
  type AttentionClass,
  attentionKey,
  defaultAttention,
  fittingAttentions,
  PASSES,
  REFERENCE_ATTENTION,
} from "../attention.ts";
import { type Candidate, type Contest, largestError, randomWords, resultOf } from "./contest.ts";

/** Of all heads together, unless one head is wider. */
const WIDTH = 768;
const WIDEST_HEAD = 1024;
const MOST_ROWS = Math.max(...Object.values(PASSES).map(({ rows }) => rows));
const SLOTS = Math.max(...Object.values(PASSES).map(({ keys }) => keys));

/** What is computed: rows of two sequences, of which the second has its keys in slots from the end. */
interface Task {
  readonly rows: readonly { readonly sequence: 0 | 1; readonly position: number }[];
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly dHead: number;
  /** 0: unlimited. */
  readonly window: number;
}

/** The last `count` rows of a sequence that has `keys` positions. */
const lastRows = (sequence: 0 | 1, count: number, keys: number): Task["rows"] =>
  Array.from({ length: count }, (_, row) => ({ sequence, position: keys - count + row }));

/** What is timed. */
function timedTask({ pass, dHead }: AttentionClass): Task {
  const nHeads = Math.max(1, Math.floor(WIDTH / dHead));
  const { rows, keys } = PASSES[pass];
  return { rows: lastRows(0, rows, keys), nHeads, nKvHeads: nHeads, dHead, window: 0 };
}

/** The same kind of pass where nothing is even: two sequences, a window, and one head of keys for all queries. */
function oddTask(wanted: AttentionClass): Task {
  const { rows: count, keys } = PASSES[wanted.pass];
  const rows =
    count === 1
      ? [...lastRows(0, 1, keys - 9), ...lastRows(1, 1, keys / 2 + 3)]
      : [...lastRows(0, 13, 13), ...lastRows(1, 11, 30)];
  return { ...timedTask(wanted), rows, nKvHeads: 1, window: Math.ceil(keys / 5) };
}

/** The attentions that the device can run on such a pass. */
export function attentionContest(
  operands: AttentionOperands,
  wanted: AttentionClass,
  attentions?: readonly Attention[],
): Contest {
  const { gpu } = operands;
  const task = timedTask(wanted);
  const tasks = [task, oddTask(wanted)];
  const shape = { ...task, rowCount: task.rows.length };
  const candidate = (attention: Attention): Candidate => ({
    name: attention.name,
    record: (recorder) => attention.record(recorder, operands.call(task), operands.z),
    error: () => largestError(attention, REFERENCE_ATTENTION, tasks, (each, one) => operands.attention(each, one)),
  });
  const first = defaultAttention(gpu, wanted.pass, shape);
  const others = fittingAttentions(gpu, wanted.pass, shape, attentions).filter((attention) => attention !== first);
  const width = task.nHeads * task.dHead;
  return {
    key: attentionKey(wanted),
    candidates: [candidate(first), ...others.map(candidate)],
    reference: REFERENCE_ATTENTION.name,
    operations: 4 * width * task.rows.reduce((sum, { position }) => sum + position + 1, 0),
    bytes: 2 * 4 * width * PASSES[wanted.pass].keys,
  };
}

/** One buffer each of queries, keys, values and what comes of them. */
function makeTensors(gpu: Gpu) {
  const filled = (rows: number, label: string, seed: number) =>
    gpu.tensorFrom(randomWords(rows * WIDEST_HEAD, "f32", seed), [rows, WIDEST_HEAD], `${label} for timing`);
  const slots = Uint32Array.from({ length: 2 * SLOTS }, (_, i) => (i < SLOTS ? i : 2 * SLOTS - 1 - i));
  return {
    queries: filled(MOST_ROWS, "queries", 3),
    keys: filled(SLOTS, "keys", 4),
    values: filled(SLOTS, "values", 5),
    slots: gpu.tensorFrom(slots, [2, SLOTS], "slots for timing"),
    z: gpu.tensor([MOST_ROWS, WIDEST_HEAD], "result for timing"),
  };
}

/** What is attended to. It serves every task, and is made with the first (0.08 s). */
export class AttentionOperands {
  #made: ReturnType<typeof makeTensors> | undefined;
  readonly #rowTables = new Map<Task, Tensor>();

  constructor(
    readonly gpu: Gpu,
    private readonly signal?: AbortSignal | undefined,
  ) {}

  get #tensors() {
    this.#made ??= makeTensors(this.gpu);
    return this.#made;
  }

  /** [row, head, dHead] */
  get z(): Tensor {
    return this.#tensors.z;
  }

  call(task: Task): AttentionCall {
    const { rows, nHeads, nKvHeads, dHead, window } = task;
    const width = nHeads * dHead;
    const keyCount = Math.max(...rows.map(({ position }) => position)) + 1;
    const shape = { rowCount: rows.length, nHeads, nKvHeads, dHead, queryStride: width, slotStride: SLOTS, keyCount };
    const { slots, queries, keys, values } = this.#tensors;
    return {
      params: { ...shape, window, scale: 1 / Math.sqrt(dHead), softCap: 0, splitKeys: 0 },
      buffers: [this.#rowTable(task), slots, this.gpu.zeros, queries, keys, values],
    };
  }

  #rowTable(task: Task): Tensor {
    let table = this.#rowTables.get(task);
    if (!table) {
      const entries = Uint32Array.from(task.rows.flatMap(({ sequence, position }) => [sequence, position, 0, 0]));
      table = this.gpu.tensorFrom(entries, [task.rows.length, 4], "rows for timing");
      this.#rowTables.set(task, table);
    }
    return table;
  }

  /** What an attention computes, [row, head, dHead]. */
  attention(attention: Attention, task: Task): Promise<Float32Array> {
    const shape = [task.rows.length, task.nHeads, task.dHead];
    const record = (recorder: Recorder, z: Tensor) => attention.record(recorder, this.call(task), z);
    return resultOf(this.gpu, attention.name, shape, record, this.signal);
  }

  [Symbol.dispose](): void {
    for (const tensor of [...Object.values(this.#made ?? {}), ...this.#rowTables.values()]) tensor.destroy();
  }
}
