/**
 * The runner: a loaded model, and passes over token ids with their hooks. Generation, answers and `Model`, which adds the
 * methods that users call, are built on it.
 */
import { InputError } from "../errors.ts";
import { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { PassHooks } from "../ops/bindings.ts";
import type { RowTable } from "../ops/rows.ts";
import * as s from "../schema/schema.ts";
import { assertWhole, passesOf } from "./causality.ts";
import { type BackwardRequest, Engine } from "./engine.ts";
import { ENCODE_FIELDS, type EncodeInputOptions } from "./input.ts";
import { KvCache } from "./kv-cache.ts";
import type { ModelParts } from "./load.ts";
import { LoadedModel } from "./loaded-model.ts";
import { Logits } from "./logits.ts";
import type { ModelSpec } from "./spec.ts";

/** Positions whose logits are wanted: every one, each sequence's last, none, or a list (negative: from the end). */
export type LogitsSelection = "all" | "last" | "none" | s.NumberList;

/** Options of a forward pass. */
export interface ForwardOptions extends EncodeInputOptions {
  /** Default "all". Positions of a list come ascending, each once. */
  logits?: LogitsSelection;
  /** Continue these sequences and remember the new tokens. Without it keys and values are dropped after the pass. */
  kv?: KvCache;
  /**
   * `reference`: compute matmuls, attention and norms by their definitions instead of by the fastest kernels. Slow; shows
   * whether an adapter is to be trusted.
   */
  kernels?: "reference";
  /** Ends the call with `signal.reason`, also while kernels compile; what the GPU has begun, it finishes. */
  signal?: AbortSignal;
}

export const FORWARD_FIELDS = {
  ...ENCODE_FIELDS,
  logits: s.byForm<LogitsSelection>('"all", "last", "none" or a list of positions', (value) =>
    s.isListLike(value)
      ? s.list("positions", s.whole)
      : typeof value === "string"
        ? s.oneOf("all", "last", "none")
        : undefined,
  ),
  kv: s.instance("a KvCache, made by createKvCache()", KvCache),
  kernels: s.oneOf("reference"),
  signal: s.signal,
} as const satisfies s.Fields<ForwardOptions>;

/** What passes need beyond the public options: who looks, and where to stop. */
export interface RunOptions extends Omit<ForwardOptions, "kv" | "logits"> {
  kv: KvCache;
  /** Also a list of positions for each sequence, ascending and each once. */
  logits?: LogitsSelection | readonly (readonly number[])[];
  hooks?: PassHooks | undefined;
  /** Elements of one row of the widest point where something happens; scores have one for every head and key. */
  widest?: number;
  /** Keep every row through the last block, because something there is looked at. */
  everyRow?: boolean;
  /** End before this block; there are no logits then. */
  stopAtLayer?: number | undefined;
  inputsEmbeds?: Tensor | undefined;
  /** `inputsEmbeds` are the residual before this block, where the pass begins. */
  startAtLayer?: number | undefined;
  /** Where the logits go, one row after the other; the caller's, and at least that long. Without it: a tensor of their own. */
  into?: Tensor;
  /**
   * Goes on backwards in each pass, from the logits, which the next pass overwrites, or where the hooks say; sequences are not
   * cut.
   */
  backward?: BackwardRequest | undefined;
  /** Records what follows the logits, in the same submission as the last of them. */
  afterLogits?: (recorder: Recorder, logits: Tensor) => void;
}

export class Runner extends LoadedModel {
  /** `owners`: whose the weights are, where they are not the model's own; see `Engine`. */
  constructor(parts: ModelParts, owners?: readonly { assertAlive(): void }[]) {
    super({ ...parts, engine: new Engine(parts.gpu, parts.spec, parts.weights, owners) });
  }

  /** @throws InputError unless the cache is alive, not in use, this model's, and of the input's batch. */
  checkCache(kv: KvCache, ids: readonly (readonly number[])[]): void {
    kv.assertIdle();
    if (kv.store.gpu !== this.gpu || kv.store.shape !== this.spec) {
      throw new InputError(
        "input/cache-model",
        "This cache was made by another model. Make one with this model's createKvCache().",
      );
    }
    if (kv.sequences.length !== ids.length) {
      throw new InputError(
        "input/cache-batch",
        `The cache has ${kv.sequences.length} sequences, the input ${ids.length}. Fork the cache to the input's batch.`,
      );
    }
  }

  /**
   * Runs all rows, in as many passes as they need. On failure the cache is as it was.
   * @throws InputError `input/cache-busy` while another pass or a generation adds to the cache.
   */
  async run(ids: readonly (readonly number[])[], options: RunOptions): Promise<Logits> {
    return options.kv.adding(() => this.#runAdding(ids, options));
  }

  async #runAdding(ids: readonly (readonly number[])[], options: RunOptions): Promise<Logits> {
    const { kv } = options;
    const before = kv.lengths;
    const selected = selectPositions(
      options.stopAtLayer === undefined ? (options.logits ?? "all") : "none",
      before,
      ids,
    );
    assertOneRope(this.spec, before, ids);
    assertWhole(this.spec, before, ids);
    const rows = this.engine.appendRows(kv, ids);
    let logits: Tensor | undefined;
    try {
      const passes = this.#passesOf(rows, options);
      const largest = Math.max(...passes.map(([first, end]) => end - first));
      const held = options.backward ? Math.min(largest, sum(selected)) : sum(selected);
      logits = options.into ?? this.gpu.result([held, this.spec.vocabSize], "logits");
      await this.#runPasses(passes, rows, selected, logits, options);
      return new Logits(logits, selected, this.spec.vocabSize);
    } catch (error) {
      if (!options.into) logits?.destroy();
      throw error;
    }
  }

  /** The first and the end of each pass's rows. Gradients of weights are computed of rows as columns, four by four. */
  #passesOf(rows: RowTable, { widest, backward }: RunOptions): [number, number][] {
    const { engine, spec } = this;
    const fits = engine.rowsThatFit(widest);
    const fitting = backward ? Math.max(1, fits - (fits % 4)) : fits;
    return passesOf(spec, rows, Math.min(engine.maxRowsPerPass, fitting), fitting, backward !== undefined);
  }

  async #runPasses(
    passes: readonly [number, number][],
    rows: RowTable,
    selected: readonly (readonly number[])[],
    logits: Tensor,
    options: RunOptions,
  ): Promise<void> {
    const { kv, hooks, startAtLayer, stopAtLayer, everyRow = false, backward } = options;
    const wanted = selected.map((positions) => new Set(positions));
    const longest = Math.max(...kv.lengths);
    // Who looks at scores expects rows of one width, whichever sequences a chunk holds.
    const keyCount = hooks ? longest : undefined;
    let logitRow = 0;
    for (const [first, end] of passes) {
      options.signal?.throwIfAborted();
      const chunk = rows.slice(first, end);
      const pick = rowsWhere(chunk, (row) => wanted[chunk.sequence(row)]?.has(chunk.position(row)) ?? false);
      const all = pick.length === chunk.count;
      const inputsEmbeds = options.inputsEmbeds && { tensor: options.inputsEmbeds, firstRow: first };
      const outputRows = all || everyRow ? undefined : pick;
      const record = (recorder: Recorder) => {
        const picked = all || outputRows ? undefined : pick;
        this.engine.recordPass(recorder, {
          rows: chunk,
          cache: kv,
          hooks,
          startAtLayer,
          stopAtLayer,
          inputsEmbeds,
          outputRows,
          keyCount,
          backward,
          ...(stopAtLayer === undefined && { logits: { tensor: logits, firstRow: logitRow, picked } }),
        });
        if (first + chunk.count === rows.count) options.afterLogits?.(recorder, logits);
      };
      await Recorder.run(this.gpu, "forward", record, { kernels: options.kernels, signal: options.signal });
      if (!backward) logitRow += pick.length;
    }
  }
}

/** Dynamic RoPE and LongRoPE depend on the length of the sequence, so sequences of a batch would change each other. @throws InputError `input/dynamic-rope-batch` */
export function assertOneRope(
  spec: Pick<ModelSpec, "ropes">,
  before: readonly number[],
  ids: readonly (readonly number[])[],
): void {
  const lengths = ids.flatMap((list, sequence) => (list.length > 0 ? list.length + (before[sequence] as number) : []));
  const longest = Math.max(...lengths);
  for (const { scaling } of spec.ropes) {
    if (scaling.kind !== "dynamic" && scaling.kind !== "longrope") continue;
    const { originalMaxPositions } = scaling;
    if (longest <= originalMaxPositions || lengths.every((length) => length === longest)) continue;
    if (scaling.kind === "longrope" && lengths.every((length) => length > originalMaxPositions)) continue;
    const [name, must] =
      scaling.kind === "dynamic" ? ["dynamic RoPE scaling", "have one length"] : ["LongRoPE", "all be as long"];
    throw new InputError(
      "input/dynamic-rope-batch",
      `With ${name}, sequences beyond ${originalMaxPositions} tokens must ${must} (here ${lengths.join(", ")}). Run them one by one.`,
    );
  }
}

/** Entries of all lists together. */
export function sum(lists: readonly { length: number }[]): number {
  return lists.reduce((total, list) => total + list.length, 0);
}

function rowsWhere(rows: RowTable, wanted: (row: number) => boolean): number[] {
  return Array.from({ length: rows.count }, (_, row) => row).filter(wanted);
}

/** Positions with logits, for each sequence; only new tokens have any. */
function selectPositions(
  selection: NonNullable<RunOptions["logits"]>,
  before: readonly number[],
  ids: readonly (readonly number[])[],
): number[][] {
  return ids.map((list, sequence) => {
    const start = before[sequence] as number;
    const end = start + list.length;
    if (selection === "none" || list.length === 0) return [];
    if (selection === "last") return [end - 1];
    if (selection === "all") return list.map((_, index) => start + index);
    const own = selection[sequence];
    if (s.isListLike(own)) return [...own];
    const absolute = (selection as s.NumberList).map((position) => (position < 0 ? end + position : position));
    const bad = absolute.findIndex((position) => !Number.isInteger(position) || position < start || position >= end);
    if (bad >= 0) {
      throw new InputError(
        "input/position-range",
        `Logits of position ${selection[bad]} were asked for; sequence ${sequence} has new tokens at ${start} to ${end - 1}.`,
      );
    }
    return [...new Set(absolute)].sort((a, b) => a - b);
  });
}
