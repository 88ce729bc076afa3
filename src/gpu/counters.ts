/** Counts the work that is dispatched to the GPU. Benchmarks divide it by the time. */

/** The work of one dispatch that benchmarks count. */
export interface Work {
  /** Floating-point operations of matmuls and attention; a multiply-add is two. */
  operations: number;
  /** Bytes of weight matrices that it reads, each once. */
  weightBytes: number;
}

/** Totals since the device was made. */
export interface Counters extends Work {
  dispatches: number;
  submits: number;
}

export function newCounters(): Counters {
  return { dispatches: 0, submits: 0, operations: 0, weightBytes: 0 };
}

export function countDispatch(counters: Counters, work: Partial<Work> | undefined): void {
  counters.dispatches += 1;
  counters.operations += work?.operations ?? 0;
  counters.weightBytes += work?.weightBytes ?? 0;
}
