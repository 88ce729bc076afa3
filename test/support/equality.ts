/**
 * Numbers of the same bits are equal at once. `toEqual` walks typed arrays key by key: two of 768 x 128 floats took a second.
 * Whatever differs is left to it, which says where.
 */
import { expect } from "vitest";

const isNumbers = (value: unknown): value is ArrayBufferView =>
  ArrayBuffer.isView(value) && !(value instanceof DataView);
const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => Buffer.from(buffer, byteOffset, byteLength);

expect.addEqualityTesters([
  (a, b) =>
    isNumbers(a) && isNumbers(b) && a.constructor === b.constructor && bytesOf(a).equals(bytesOf(b)) ? true : undefined,
]);
