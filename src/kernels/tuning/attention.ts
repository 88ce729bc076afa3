/** Workloads of attention: random queries, keys and values in heads of the class's width, in all about as wide as GPT-2's. */
import type { Gpu } from "../../gpu/gpu.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { ATTENTION_FAMILY, type AttentionKernel, type AttentionShape, PASSES, type PassKind } from "../attention.ts";
import type { AttentionCall } from "../attention-steps.ts";
import { largestError, randomWords, resultOf, type Workload } from "./workload.ts";

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

/** The shape that stands for passes of a kind on heads of a width. */
export function typicalAttention(pass: PassKind, dHead: number): AttentionShape {
  const { rows, keys } = PASSES[pass];
  return { rowCount: rows, keyCount: keys, runs: 1, nHeads: Math.max(1, Math.floor(WIDTH / dHead)), dHead };
}

/** What is timed. */
function timedTask({ rowCount, keyCount, nHeads, dHead }: AttentionShape): Task {
  return { rows: lastRows(0, rowCount, keyCount), nHeads, nKvHeads: nHeads, dHead, window: 0 };
}

/** The same kind of pass where nothing is even: two sequences, a window, and one head of keys for all queries. */
function oddTask(shape: AttentionShape): Task {
  const { rowCount, keyCount: keys } = shape;
  const rows =
    rowCount === 1
      ? [...lastRows(0, 1, keys - 9), ...lastRows(1, 1, keys / 2 + 3)]
      : [...lastRows(0, 13, 13), ...lastRows(1, 11, 30)];
  return { ...timedTask(shape), rows, nKvHeads: 1, window: Math.ceil(keys / 5) };
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
    private readonly gpu: Gpu,
    private readonly signal?: AbortSignal | undefined,
  ) {}

  get #tensors() {
    this.#made ??= makeTensors(this.gpu);
    return this.#made;
  }

  workload(shape: AttentionShape): Workload<AttentionKernel> {
    const task = timedTask(shape);
    const tasks = [task, oddTask(shape)];
    const width = task.nHeads * task.dHead;
    return {
      operations: 4 * width * task.rows.reduce((sum, { position }) => sum + position + 1, 0),
      bytes: 2 * 4 * width * shape.keyCount,
      record: (recorder, kernel) => kernel.record(recorder, this.#call(task), this.#tensors.z),
      error: (kernel) =>
        largestError(kernel, ATTENTION_FAMILY.reference, tasks, (each, one) => this.#result(each, one)),
    };
  }

  #call(task: Task): AttentionCall {
    const { rows, nHeads, nKvHeads, dHead, window } = task;
    const width = nHeads * dHead;
    const keyCount = Math.max(...rows.map(({ position }) => position)) + 1;
    const shape = { rowCount: rows.length, nHeads, nKvHeads, dHead, queryStride: width, slotStride: SLOTS, keyCount };
    const { slots, queries, keys, values } = this.#tensors;
    return {
      params: { ...shape, window, scale: 1 / Math.sqrt(dHead), softCap: 0, splitKeys: 0, gradStart: 0, gradStride: 0 },
      buffers: {
        ...{ rowTable: this.#rowTable(task), slotTable: slots, headNumbers: this.gpu.zeros },
        ...{ queries, keys, values },
      },
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

  /** What a kernel computes, [row, head, dHead]. */
  #result(kernel: AttentionKernel, task: Task): Promise<Float32Array> {
    const shape = [task.rows.length, task.nHeads, task.dHead];
    const record = (recorder: Recorder, z: Tensor) => kernel.record(recorder, this.#call(task), z);
    return resultOf(this.gpu, kernel.name, shape, record, this.signal);
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    for (const tensor of [...Object.values(this.#made ?? {}), ...this.#rowTables.values()]) tensor.destroy();
  }
}
