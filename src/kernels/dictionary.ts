/** What a dictionary's features need beyond matmuls: which of them are active. */
import bitsSource from "../../shaders/active_bits.wgsl";
import wordsSource from "../../shaders/active_words.wgsl";
import columnSource from "../../shaders/column_counts.wgsl";
import compactSource from "../../shaders/compact_active.wgsl";
import decodeSource from "../../shaders/decode_active.wgsl";
import keepSource from "../../shaders/keep.wgsl";
import keepLargestSource from "../../shaders/keep_largest.wgsl";
import { defineKernel, u32 } from "../gpu/kernel.ts";
import { type BufferSlice, foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { elementGrid } from "./launch.ts";
import type { Matrix } from "./matrix.ts";
import { byStorage, STORAGE_SOURCE, type StorageType } from "./storage.ts";
import type { View } from "./view.ts";

const KEEP = defineKernel({
  name: "keep",
  sources: keepSource,
  bindings: { other: "read", x: "write" },
  params: u32("count", "width"),
});

const KEEP_LARGEST = defineKernel({
  name: "keep largest",
  sources: keepLargestSource,
  bindings: { x: "write" },
  params: u32("rowCount", "width", "keep"),
});

const KIND = { jumprelu: 0, gated: 1, gradient: 2 } as const;

/**
 * In place, x [rows, width]: `jumprelu` keeps what is above `other` [width], `gated` what has a positive number in `other`
 * [rows, width], both not below 0; `gradient` keeps what has a positive number there.
 */
export function keep(recorder: Recorder, kind: keyof typeof KIND, x: View, other: BufferSlice, rows: number): void {
  const count = rows * x.width;
  recorder.dispatch(KEEP, {
    params: { count, width: x.width },
    buffers: { other, x: x.buffer },
    workgroups: elementGrid(recorder, count),
    constants: { KIND: KIND[kind] },
  });
}

/** In place, x [rows, width]: the `count` largest of each row that are above 0, of equal ones the first; 0 elsewhere. */
export function keepLargest(recorder: Recorder, x: View, rows: number, count: number): void {
  recorder.dispatch(KEEP_LARGEST, {
    params: { rowCount: rows, width: x.width, keep: count },
    buffers: { x: x.buffer },
    workgroups: foldGrid(recorder.gpu, rows),
    constants: { THREADS: recorder.gpu.host.adapterInfo.isSoftware ? 16 : 256 },
  });
}

const activeBitsOf = (size: 1 | 4, element: string, bits: string) =>
  defineKernel({
    name: `active bits ${size}`,
    sources: [
      `alias Element = ${element};\nconst SIZE = ${size}u;\nfn bitsOf(x: Element) -> u32 {\n${bits}\n}`,
      bitsSource,
    ],
    bindings: { x: "read", out: "write" },
    params: u32("rowCount", "width", "words", "xStart", "xStride"),
  });

const ACTIVE_BITS = {
  one: activeBitsOf(1, "f32", "  return select(0u, 1u, x != 0.0);"),
  four: activeBitsOf(
    4,
    "vec4<f32>",
    "  let bits = select(vec4<u32>(), vec4<u32>(1u, 2u, 4u, 8u), x != vec4<f32>());\n  return bits.x | bits.y | bits.z | bits.w;",
  ),
};

const ACTIVE_WORDS = defineKernel({
  name: "active words",
  sources: wordsSource,
  bindings: { activeBits: "read", out: "write" },
  params: u32("rowCount", "words"),
});

const decodeKernel = (storage: StorageType) =>
  defineKernel({
    name: `decode active ${storage}`,
    sources: [STORAGE_SOURCE[storage], decodeSource],
    bindings: { x: "read", weights: "read", activeWords: "read", out: "write" },
    params: u32("rowCount", "width", "words", "xStart", "xStride", "weightStride"),
  });

const DECODE_ACTIVE = byStorage(decodeKernel);

/**
 * out[row] = sum over features of x[row, feature] W[feature], of those that are not 0; x [rows, features], W [features, width] in linear
 * layout, out packed [rows, width].
 */
export function decodeActive(recorder: Recorder, x: View, rows: number, W: Matrix, out: View): void {
  W.parts.forEach((part, index) => {
    const words = Math.ceil(part.rows / 32);
    const place = { xStart: x.start + part.firstRow, xStride: x.rowStride };
    const activeBits = recorder.temp(rows, words);
    const step = [part.rows, place.xStart, place.xStride].every((length) => length % 4 === 0) ? 4 : 1;
    recorder.dispatch(step === 4 ? ACTIVE_BITS.four : ACTIVE_BITS.one, {
      params: {
        rowCount: rows,
        words,
        width: part.rows / step,
        xStart: place.xStart / step,
        xStride: place.xStride / step,
      },
      buffers: { x: x.buffer, out: activeBits },
      workgroups: elementGrid(recorder, rows * words),
    });
    const activeWords = recorder.temp(rows, 1 + 2 * words);
    recorder.dispatch(ACTIVE_WORDS, {
      params: { rowCount: rows, words },
      buffers: { activeBits, out: activeWords },
      workgroups: elementGrid(recorder, rows),
    });
    recorder.dispatch(DECODE_ACTIVE[part.storage ?? W.storage], {
      params: { ...place, rowCount: rows, words, width: W.width, weightStride: W.stride },
      buffers: { x: x.buffer, weights: part, activeWords, out: out.buffer },
      workgroups: elementGrid(recorder, rows * Math.ceil(W.width / 16)),
      constants: index > 0 ? { ACCUMULATE: 1 } : {},
    });
    recorder.release(activeBits);
    recorder.release(activeWords);
  });
}

const COMPACT = defineKernel({
  name: "compact active",
  sources: compactSource,
  bindings: { x: "read", starts: "read", out: "write" },
  params: u32("rowCount", "width"),
});

/** counts [rows]: how many numbers of each row of x [rows, width] are above 0. */
export function countActive(recorder: Recorder, x: Tensor, rows: number, width: number, counts: Tensor): void {
  recorder.dispatch(COMPACT, {
    params: { rowCount: rows, width },
    buffers: { x, starts: recorder.gpu.zeros, out: counts },
    workgroups: foldGrid(recorder.gpu, rows),
  });
}

/** pairs [all, 2]: (index, bits) of the numbers above 0, in order; `starts` [rows]: pairs of the rows before. */
export function compactActive(
  recorder: Recorder,
  x: Tensor,
  rows: number,
  width: number,
  starts: Tensor,
  pairs: Tensor,
): void {
  recorder.dispatch(COMPACT, {
    params: { rowCount: rows, width },
    buffers: { x, starts, out: pairs },
    workgroups: foldGrid(recorder.gpu, rows),
    constants: { WRITE: 1 },
  });
}

const COLUMN_COUNTS = defineKernel({
  name: "column counts",
  sources: columnSource,
  bindings: { x: "read", out: "write" },
  params: u32("rowCount", "width"),
});

/** counts [width] += the rows of x [rows, width] in which a number is above 0. */
export function countColumns(recorder: Recorder, x: Tensor, rows: number, width: number, counts: Tensor): void {
  recorder.dispatch(COLUMN_COUNTS, {
    params: { rowCount: rows, width },
    buffers: { x, out: counts },
    workgroups: elementGrid(recorder, width),
  });
}
