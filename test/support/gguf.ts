/** Writes GGUF files for tests, right ones and damaged ones. */
import { BLOCK_TYPES, type BlockTypeName } from "../../src/checkpoint/gguf/blocks.ts";

/** A value of metadata with its type, where a plain one would not tell it: a number is a u32 or, with a fraction, an f32. */
export type Typed = { type: number; value: unknown };
export type Pairs = Readonly<Record<string, unknown>>;

/** A tensor to write, its sizes in PyTorch's order. */
export interface Written {
  name: string;
  type: BlockTypeName;
  shape: readonly number[];
  data: Uint8Array;
}

/** What a damaged file has otherwise than a right one. */
export interface Damage {
  magic?: string;
  version?: number;
  tensorCount?: bigint;
  pairCount?: bigint;
  alignment?: number;
  /** Of each tensor in turn. */
  offsets?: readonly (number | undefined)[];
  typeIds?: readonly number[];
}

const NUMBER_BYTES = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

class Writer {
  readonly bytes: number[] = [];

  number(type: number, value: number | bigint): void {
    const view = new DataView(new ArrayBuffer(8));
    const set = [
      () => view.setUint8(0, Number(value)),
      () => view.setInt8(0, Number(value)),
      () => view.setUint16(0, Number(value), true),
      () => view.setInt16(0, Number(value), true),
      () => view.setUint32(0, Number(value), true),
      () => view.setInt32(0, Number(value), true),
      () => view.setFloat32(0, Number(value), true),
      () => view.setUint8(0, Number(value)),
      undefined,
      undefined,
      () => view.setBigUint64(0, BigInt(value), true),
      () => view.setBigInt64(0, BigInt(value), true),
      () => view.setFloat64(0, Number(value), true),
    ][type];
    set?.();
    this.bytes.push(...new Uint8Array(view.buffer, 0, NUMBER_BYTES[type]));
  }

  u32 = (value: number) => this.number(4, value);
  u64 = (value: number | bigint) => this.number(10, value);

  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.u64(bytes.length);
    this.raw(bytes);
  }

  raw(bytes: Uint8Array): void {
    for (const byte of bytes) this.bytes.push(byte);
  }

  pad(alignment: number): void {
    while (this.bytes.length % alignment !== 0) this.bytes.push(0);
  }

  value(type: number, value: unknown): void {
    if (type === 8) this.text(value as string);
    else if (type === 9) this.list(value as unknown[]);
    else this.number(type, Number(value));
  }

  list(list: readonly unknown[]): void {
    const inner = typeOf(list[0] ?? 0);
    this.u32(inner);
    this.u64(list.length);
    for (const each of list) this.value(inner, each);
  }
}

function typeOf(value: unknown): number {
  if (typeof value === "string") return 8;
  if (typeof value === "boolean") return 7;
  if (Array.isArray(value)) return 9;
  return Number.isInteger(value) && (value as number) >= 0 ? 4 : 6;
}

const isTyped = (value: unknown): value is Typed => typeof value === "object" && value !== null && "type" in value;

/** A file of metadata and tensors. */
export function writeGguf(pairs: Pairs, tensors: readonly Written[] = [], damage: Damage = {}): Uint8Array {
  const { magic = "GGUF", version = 3, alignment = 32 } = damage;
  const out = new Writer();
  out.raw(new TextEncoder().encode(magic));
  out.u32(version);
  out.u64(damage.tensorCount ?? tensors.length);
  const entries = Object.entries(pairs);
  out.u64(damage.pairCount ?? entries.length);
  for (const [key, given] of entries) {
    const { type, value } = isTyped(given) ? given : { type: typeOf(given), value: given };
    out.text(key);
    out.u32(type);
    out.value(type, value);
  }
  let offset = 0;
  for (const [i, { name, type, shape, data }] of tensors.entries()) {
    out.text(name);
    out.u32(shape.length);
    for (const size of shape.toReversed()) out.u64(size);
    out.u32(damage.typeIds?.[i] ?? BLOCK_TYPES[type].id);
    out.u64(damage.offsets?.[i] ?? offset);
    offset += Math.ceil(data.length / alignment) * alignment;
  }
  const parts = [];
  out.pad(alignment);
  parts.push(Uint8Array.from(out.bytes));
  for (const { data } of tensors) {
    const padded = new Uint8Array(Math.ceil(data.length / alignment) * alignment);
    padded.set(data);
    parts.push(padded);
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** An f32 tensor. */
export function floats(name: string, shape: readonly number[], values: ArrayLike<number>): Written {
  const data = Float32Array.from(values);
  return { name, type: "F32", shape, data: new Uint8Array(data.buffer) };
}
