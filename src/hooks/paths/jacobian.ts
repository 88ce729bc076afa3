/**
 * The Jacobian of one point of the model by another: how each entry of an activation changes with each entry of an earlier one.
 *
 * A row of it is a backward pass that begins at the later point, with 1 at one entry and 0 elsewhere. A block of rows is one
 * pass over copies of the sequence, each copy with an entry of its own, that stops at the block of the later point.
 */
import { HookError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { gather } from "../../kernels/calls.ts";
import { packedView, type View } from "../../kernels/view.ts";
import type { TokenInput } from "../../model/input.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../../model/long-call.ts";
import type { RowTable } from "../../ops/rows.ts";
import * as s from "../../schema/schema.ts";
import { refuseUnknownGradients } from "../backward.ts";
import { readCall } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import { PROMPT, sequenceOf } from "../patching/experiment.ts";
import { pickPositions } from "../patching/sites.ts";
import { rowWidth } from "../plan.ts";
import { type Point, resolvePoint } from "../points.ts";
import { type CopiesPass, copiesPerPass, oneCopy, runCopies } from "./copies.ts";

/** Options of `jacobian`. */
export interface JacobianOptions extends LongCallOptions {
  /** One sequence. */
  input: TokenInput;
  /** The earlier point: what the columns stand for. */
  from: string;
  /** The later point: what the rows stand for. */
  to: string;
  /** Position of the later point; negative from the end. Default -1. */
  position?: number;
  /** Position of the earlier point, or "all". Default: the same position. */
  fromPosition?: number | "all";
  /** Entries of the later activation, flat over heads and dimensions; all when absent. Each costs a backward pass. */
  rows?: s.Indices;
}

export const JACOBIAN_OPTIONS = s.object<JacobianOptions>("the options of jacobian", {
  input: PROMPT,
  from: s.required(s.text),
  to: s.required(s.text),
  position: s.whole,
  fromPosition: s.byForm<number | "all">('a whole number, or "all"', (value) =>
    typeof value === "number" ? s.whole : typeof value === "string" ? s.oneOf("all") : undefined,
  ),
  rows: s.indices,
  ...LONG_CALL_FIELDS,
});

/** d (activation `to` at one position) / d (activation `from`), for the model with its edits. */
export interface Jacobian {
  /** [rows, columns], or [rows, positions, columns] with `fromPosition: "all"`; columns are flat over heads and dimensions. */
  readonly shape: readonly number[];
  /** Row-major. */
  readonly data: Float32Array;
  /** The entries of the later activation that the rows stand for. */
  readonly rows: readonly number[];
}

/**
 * Computes it row block by row block. Entries without a path between them are zero.
 * @throws HookError `hook/jacobian` for points with an axis of keys or in the wrong order; `hook/dim-range`,
 * `hook/position-range`, `hook/no-such-point`; `hook/no-gradient` for an edit without one.
 */
export async function jacobian(model: HookedModel, given: JacobianOptions): Promise<Jacobian> {
  const options = readCall("jacobian", model, JACOBIAN_OPTIONS, given);
  model.assertOpen();
  refuseUnknownGradients(model.standing);
  const ids = sequenceOf(model, options.input, "input");
  const [from, to] = [options.from, options.to].map((name) => resolvePoint(model.spec, name)) as [Point, Point];
  checkOrder(from, to);
  const [position] = pickPositions([options.position ?? -1], ids.length) as [number];
  const { fromPosition = position } = options;
  const positions = pickPositions(fromPosition === "all" ? undefined : [fromPosition], ids.length);
  const [width, columns] = [to, from].map((point) => rowWidth(point, oneCopy(model, ids))) as [number, number];
  const rows = pickRows(options.rows, width, to);
  const data = new Float32Array(rows.length * positions.length * columns);
  const passFor = (entries: readonly number[]): CopiesPass => ({
    ids,
    points: [from],
    positions,
    signal: options.signal,
    backward: { from: to, seed: oneHot(entries, width, position) },
  });
  const block = copiesPerPass(model, passFor([]));
  for (let done = 0; done < rows.length; ) {
    options.signal?.throwIfAborted();
    const entries = rows.slice(done, done + block);
    const edits = entries.map(() => []);
    using grads = await runCopies(model, edits, passFor(entries));
    data.set(await grads.read(from.name), done * positions.length * columns);
    done += entries.length;
    await reportProgress(options, done, rows.length);
  }
  return { shape: [rows.length, ...(fromPosition === "all" ? [positions.length] : []), columns], data, rows };
}

/** Records 1 at an entry of each copy's activation at one position, and 0 everywhere else. */
function oneHot(entries: readonly number[], width: number, position: number) {
  return (recorder: Recorder, _x: View, rows: RowTable, out: View): void => {
    const vectors = new Float32Array((entries.length + 1) * width); // the last stays zero
    entries.forEach((entry, copy) => {
      vectors[copy * width + entry] = 1;
    });
    const pairs = Uint32Array.from({ length: 2 * rows.count }, (_, index) => {
      const row = index >> 1;
      if (index % 2 === 1) return row;
      return rows.position(row) === position ? rows.sequence(row) : entries.length;
    });
    const source = packedView(recorder.upload(vectors), out.width, out.heads);
    gather(recorder, source, out, recorder.upload(pairs));
  };
}

/** @throws HookError `hook/jacobian` */
function checkOrder(from: Point, to: Point): void {
  const byKeys = [from, to].find(({ kind }) => kind.axes.includes("key"));
  if (byKeys)
    throw new HookError(
      "hook/jacobian",
      `${byKeys.name} has an entry for each key, not a vector for each position. Take the Jacobian of queries, keys, values or z.`,
    );
  if (from.order > to.order)
    throw new HookError(
      "hook/jacobian",
      `${from.name} comes after ${to.name}, which cannot depend on it. Exchange from and to.`,
    );
}

/** @throws HookError `hook/dim-range`, `hook/empty-selection` */
function pickRows(chosen: readonly number[] | undefined, width: number, { name }: Point): number[] {
  if (!chosen) return Array.from({ length: width }, (_, index) => index);
  if (chosen.length === 0) throw new HookError("hook/empty-selection", "rows is empty. Leave it out to select all.");
  const bad = chosen.find((row) => row < 0 || row >= width);
  if (bad === undefined) return [...chosen];
  throw new HookError("hook/dim-range", `${name} has no entry ${bad}; they go from 0 to ${width - 1}.`);
}
