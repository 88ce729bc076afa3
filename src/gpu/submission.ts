/**
 * Submitting what was recorded, stretch by stretch. Most recordings are one stretch. One is cut where a step runs on the host,
 * and where a kernel needs weights that are not on the GPU all the time: these are brought there, then the stretch that reads
 * them is submitted, and the next ones are brought while it runs.
 *
 * Several recordings may run together. Those that need the same weights then run one after another, before the weights of the next
 * stretch take their place: each is brought once for all of them.
 */
import { abortable } from "../abort.ts";
import { GpuError } from "../errors.ts";

/** Weights that are in GPU memory for a while only, where others were before. */
export interface Streamed {
  /** Among what is streamed: recordings that run together take the lowest first. */
  readonly order: number;
  /** Brings them there, and calls `submit` at once, before others can take their place. */
  use<T>(submit: () => T): Promise<T>;
  /** Begins to bring them. A failure is that of the `use` after it. */
  prefetch(): void;
}

/** Reads and computes; the function that it gives writes what came of it, at once. */
export type HostStep = () => Promise<() => void>;

/** A part of a recording that is submitted at once. */
export interface Stretch {
  /** What its kernels read. */
  readonly streamed: Streamed | undefined;
  /** What runs on the host after it. */
  readonly host: HostStep | undefined;
  /** Submits it before the first wait; resolves with the GPU's verdict. */
  submit(): Promise<void>;
}

/** Where a recording is cut: before the op of that index. */
export interface Cut {
  readonly before: number;
  /** A step on the host there. */
  readonly host?: HostStep;
  /** What the ops from there on read. */
  readonly streamed?: Streamed;
}

/**
 * The streamed weights among a kernel's buffers.
 * @throws GpuError `gpu/streamed-together` for those of two places: both need not be there at once
 */
export function streamedIn(buffers: Readonly<Record<string, { streamed?: Streamed }>>): Streamed | undefined {
  let found: Streamed | undefined;
  for (const name in buffers) {
    const streamed = buffers[name]?.streamed;
    if (streamed === undefined || streamed === found) continue;
    if (found !== undefined)
      throw new GpuError(
        "gpu/streamed-together",
        "One kernel reads streamed weights of two blocks, which need not be on the GPU together. Read them with model.weight(name), or load the model without residency.",
      );
    found = streamed;
  }
  return found;
}

/** Index of the first op and of the end of each stretch, by the cuts in the order in which they were made. */
export function stretchesOf(
  cuts: readonly Cut[],
  ops: number,
): (Pick<Stretch, "streamed" | "host"> & { first: number; end: number; isLast: boolean })[] {
  let first = 0;
  let streamed: Streamed | undefined;
  const stretches = [...cuts, { before: ops }].map((cut: Cut, index) => {
    const stretch = { streamed, host: cut.host, first, end: cut.before, isLast: index === cuts.length };
    first = cut.before;
    streamed = cut.streamed ?? streamed;
    return stretch;
  });
  // A host step after another, or before any op, has nothing to submit; one that begins with weights cuts off nothing.
  return stretches.filter(({ first, end, host, isLast }) => first < end || host !== undefined || isLast);
}

/** Runs recordings, each a queue of stretches. `signal` as in `Recorder.submit`. */
export async function runStretches(queues: readonly Stretch[][], signal: AbortSignal | undefined): Promise<void> {
  for (let now = takeNext(queues); now.length > 0; now = takeNext(queues)) {
    await submitAll(now, upcoming(queues, now[0]?.streamed), signal);
    for (const { host } of now) {
      if (!host) continue;
      const write = await abortable(host(), signal);
      write();
    }
  }
}

async function submitAll(
  now: readonly Stretch[],
  next: Streamed | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  let isWaitedFor = true;
  const submitted = now.map((stretch) => {
    const submit = async () => {
      if (isWaitedFor) await stretch.submit();
    };
    return stretch.streamed ? stretch.streamed.use(submit) : submit();
  });
  next?.prefetch();
  try {
    await abortable(Promise.all(submitted), signal);
  } finally {
    // What was recorded gives its buffers back then: nothing of it may be submitted later.
    isWaitedFor = false;
  }
}

/** The next stretch of each recording that needs nothing streamed; where all do, of those that need the first. */
function takeNext(queues: readonly Stretch[][]): Stretch[] {
  const waiting = queues.filter(({ length }) => length > 0);
  const needed = waiting.map(([next]) => next?.streamed);
  const first = needed.includes(undefined) ? undefined : lowest(needed as Streamed[]);
  return waiting.filter(([next]) => next?.streamed === first).map((queue) => queue.shift() as Stretch);
}

/** What is needed after `current`. */
function upcoming(queues: readonly Stretch[][], current: Streamed | undefined): Streamed | undefined {
  const isOther = ({ streamed }: Stretch) => streamed !== undefined && streamed !== current;
  return lowest(queues.flatMap((queue) => queue.find(isOther)?.streamed ?? []));
}

function lowest(streamed: readonly Streamed[]): Streamed | undefined {
  return streamed.reduce<Streamed | undefined>(
    (least, each) => (least === undefined || each.order < least.order ? each : least),
    undefined,
  );
}
