/**
 * The number formats of safetensors, and the way from each of them to f32.
 *
 * Every format narrower than f32 is a subset of it, so widening is exact: bf16 is the upper half of an f32, f16 has
 * 65,536 values and f8 has 256, which makes a lookup table the simplest correct decoder. Going the other way rounds
 * to the nearest value, ties to even, as IEEE 754 and PyTorch do.
 *
 * safetensors is little-endian, and so is every machine that runs WebGPU: bytes are reinterpreted, never swapped.
 */
import { CheckpointError } from "../errors.ts";
import * as s from "../schema/schema.ts";

/** Element type of a safetensors tensor, as spelled in the file's header. */
export type Dtype =
  | "F64"
  | "F32"
  | "F16"
  | "BF16"
  | "I64"
  | "I32"
  | "I16"
  | "I8"
  | "U8"
  | "U16"
  | "U32"
  | "U64"
  | "BOOL"
  | "F8_E4M3"
  | "F8_E5M2";

/** A float of one byte. `F8_E4M3` is the "fn" kind: no infinities, only 0x7f and 0xff are NaN, the largest value is 448. */
export type F8Dtype = "F8_E4M3" | "F8_E5M2";

interface DtypeFacts {
  bytes: number;
  float: boolean;
}

const FACTS: Readonly<Record<Dtype, DtypeFacts>> = {
  F64: { bytes: 8, float: true },
  F32: { bytes: 4, float: true },
  F16: { bytes: 2, float: true },
  BF16: { bytes: 2, float: true },
  I64: { bytes: 8, float: false },
  I32: { bytes: 4, float: false },
  I16: { bytes: 2, float: false },
  I8: { bytes: 1, float: false },
  U8: { bytes: 1, float: false },
  U16: { bytes: 2, float: false },
  U32: { bytes: 4, float: false },
  U64: { bytes: 8, float: false },
  BOOL: { bytes: 1, float: false },
  F8_E4M3: { bytes: 1, float: true },
  F8_E5M2: { bytes: 1, float: true },
};

/** Every dtype this reader knows, in the order of the format's specification. */
export const DTYPES = Object.keys(FACTS) as readonly Dtype[];

/** Whether `text` is a dtype this reader knows. */
export function isDtype(text: unknown): text is Dtype {
  return typeof text === "string" && Object.hasOwn(FACTS, text);
}

/** Bytes of one element. */
export function bytesPerElement(dtype: Dtype): number {
  return factsOf(dtype).bytes;
}

/** Whether the dtype is a floating-point format that can be read. Only these can hold weights to compute with. */
export function isFloat(dtype: string): dtype is Dtype {
  return isDtype(dtype) && FACTS[dtype].float;
}

const DTYPE = s.simple<Dtype>("one of DTYPES", isDtype);
const F8_DTYPE = s.oneOf("F8_E4M3", "F8_E5M2");
const BYTES = s.instance("a Uint8Array", Uint8Array);
const FLOATS = s.instance("a Float32Array", Float32Array);

function factsOf(dtype: Dtype): (typeof FACTS)[Dtype] {
  return FACTS[s.readArgument(DTYPE, dtype, "dtype", "dtype")];
}

/** Sign, `exponentBits` and `mantissaBits` of a small float to its value; the caller deals with NaN and infinity. */
function decodeSmallFloat(bits: number, exponentBits: number, mantissaBits: number): number {
  const bias = 2 ** (exponentBits - 1) - 1;
  const sign = bits >> (exponentBits + mantissaBits) ? -1 : 1;
  const exponent = (bits >> mantissaBits) & (2 ** exponentBits - 1);
  const fraction = (bits & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias);
}

function decodeF16(bits: number): number {
  if ((bits & 0x7c00) !== 0x7c00) return decodeSmallFloat(bits, 5, 10);
  if (bits & 0x03ff) return Number.NaN;
  return bits & 0x8000 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

function decodeE4M3(bits: number): number {
  return (bits & 0x7f) === 0x7f ? Number.NaN : decodeSmallFloat(bits, 4, 3);
}

/** E5M2 is the upper byte of an f16, as bf16 is the upper half of an f32. */
function decodeE5M2(bits: number): number {
  return decodeF16(bits << 8);
}

/** Builds a table once, at its first use: 256 KB for f16 is not worth paying when no tensor is f16. */
function lazyTable(size: number, decode: (bits: number) => number): () => Float32Array {
  let table: Float32Array | undefined;
  return () => {
    table ??= Float32Array.from({ length: size }, (_, bits) => decode(bits));
    return table;
  };
}

const f16Table = lazyTable(65536, decodeF16);
const f8Tables: Readonly<Record<F8Dtype, () => Float32Array>> = {
  F8_E4M3: lazyTable(256, decodeE4M3),
  F8_E5M2: lazyTable(256, decodeE5M2),
};

/** The value of an f16 bit pattern. */
export function f16ToNumber(bits: number): number {
  return f16Table()[bits] as number;
}

function lookUp(codes: Uint8Array | Uint16Array, table: Float32Array): Float32Array {
  const out = new Float32Array(codes.length);
  for (let i = 0; i < codes.length; i++) out[i] = table[codes[i] as number] as number;
  return out;
}

function widenBf16(codes: Uint16Array): Float32Array {
  const bits = new Uint32Array(codes.length);
  for (let i = 0; i < codes.length; i++) bits[i] = (codes[i] as number) << 16;
  return new Float32Array(bits.buffer);
}

/** f64 rounds to the nearest f32; a finite value that would become infinite is refused. */
function narrowF64(values: Float64Array): Float32Array {
  const out = Float32Array.from(values);
  const lost = out.findIndex((value, i) => !Number.isFinite(value) && Number.isFinite(values[i]));
  if (lost >= 0) throw notRepresentable("F64", lost, values[lost] as number);
  return out;
}

function exactIntegers(values: ArrayLike<number> | ArrayLike<bigint>, dtype: Dtype): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number | bigint;
    const rounded = Math.fround(Number(value));
    if ((typeof value === "bigint" ? BigInt(rounded) : rounded) !== value) throw notRepresentable(dtype, i, value);
    out[i] = rounded;
  }
  return out;
}

function notRepresentable(dtype: Dtype, index: number, value: number | bigint): CheckpointError {
  return new CheckpointError(
    "checkpoint/not-representable",
    `Element ${index} of a ${dtype} tensor is ${value}, which f32 cannot hold` +
      `${isFloat(dtype) ? " (largest: 3.4028e38)" : " exactly (integers up to 16777216 always fit)"}. ` +
      "Convert the tensor to F32 in the checkpoint, or read its bytes as they are.",
  );
}

/** Typed arrays want aligned offsets; a range read rarely cares. Copies only when it has to. */
function aligned(bytes: Uint8Array, alignment: number): Uint8Array {
  return bytes.byteOffset % alignment === 0 ? bytes : new Uint8Array(bytes);
}

type ViewConstructor<View> = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => View;

function viewOf<View>(bytes: Uint8Array, dtype: Dtype, View: ViewConstructor<View>): View {
  const size = bytesPerElement(dtype);
  const source = aligned(bytes, size);
  return new View(source.buffer, source.byteOffset, source.byteLength / size);
}

const TO_FLOAT32: Readonly<Record<Dtype, (bytes: Uint8Array) => Float32Array>> = {
  F64: (bytes) => narrowF64(viewOf(bytes, "F64", Float64Array)),
  F32: (bytes) => viewOf(bytes, "F32", Float32Array),
  F16: (bytes) => lookUp(viewOf(bytes, "F16", Uint16Array), f16Table()),
  BF16: (bytes) => widenBf16(viewOf(bytes, "BF16", Uint16Array)),
  F8_E4M3: (bytes) => lookUp(bytes, f8Tables.F8_E4M3()),
  F8_E5M2: (bytes) => lookUp(bytes, f8Tables.F8_E5M2()),
  I64: (bytes) => exactIntegers(viewOf(bytes, "I64", BigInt64Array), "I64"),
  U64: (bytes) => exactIntegers(viewOf(bytes, "U64", BigUint64Array), "U64"),
  I32: (bytes) => exactIntegers(viewOf(bytes, "I32", Int32Array), "I32"),
  U32: (bytes) => exactIntegers(viewOf(bytes, "U32", Uint32Array), "U32"),
  I16: (bytes) => Float32Array.from(viewOf(bytes, "I16", Int16Array)),
  U16: (bytes) => Float32Array.from(viewOf(bytes, "U16", Uint16Array)),
  I8: (bytes) => Float32Array.from(viewOf(bytes, "I8", Int8Array)),
  U8: (bytes) => Float32Array.from(bytes),
  BOOL: (bytes) => Float32Array.from(bytes, (value) => (value === 0 ? 0 : 1)),
};

/**
 * Values of a tensor's little-endian bytes as f32, `[bytes / bytesPerElement(dtype)]`.
 *
 * Exact for every dtype but F64, which rounds to nearest. For F32 the result shares memory with `bytes` when they are
 * 4-byte aligned.
 * @throws CheckpointError `checkpoint/not-representable` for an integer f32 cannot hold exactly or an F64 out of
 *   range; `checkpoint/wrong-size` when the bytes are not a whole number of elements; `checkpoint/dtype` for a dtype
 *   that is not in `DTYPES`.
 */
export function toFloat32(bytes: Uint8Array, dtype: string): Float32Array {
  s.readArgument(BYTES, bytes, "toFloat32", "bytes");
  if (!isDtype(dtype)) {
    const message = `A tensor has the dtype "${String(dtype)}", which cannot be read. Convert it to one of ${DTYPES.join(", ")}.`;
    throw new CheckpointError("checkpoint/dtype", message);
  }
  if (bytes.byteLength % bytesPerElement(dtype) !== 0) {
    throw new CheckpointError(
      "checkpoint/wrong-size",
      `${bytes.byteLength} bytes are not a whole number of ${dtype} elements of ${bytesPerElement(dtype)} bytes. ` +
        "Read the tensor in ranges that are multiples of its element size.",
    );
  }
  return TO_FLOAT32[dtype](bytes);
}

const f8ToF16Tables: Partial<Record<F8Dtype, Uint16Array>> = {};

/**
 * f8 codes as f16 codes, exactly: both f8 formats lie inside f16, subnormals included.
 * @returns f16 bit patterns, `[bytes.length]`.
 */
export function widenF8ToF16(bytes: Uint8Array, dtype: F8Dtype): Uint16Array {
  s.readArgument(BYTES, bytes, "widenF8ToF16", "bytes");
  s.readArgument(F8_DTYPE, dtype, "widenF8ToF16", "dtype");
  f8ToF16Tables[dtype] ??= f32ToF16(f8Tables[dtype]());
  const table = f8ToF16Tables[dtype];
  const out = new Uint16Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) out[i] = table[bytes[i] as number] as number;
  return out;
}

/** Shifts right by 1..24 bits, rounding to nearest, ties to even. */
function shiftRoundEven(value: number, shift: number): number {
  const half = 2 ** (shift - 1);
  const odd = (value >>> shift) & 1;
  return (value + half - 1 + odd) >>> shift;
}

function encodeF16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65520 = 0x477ff000 is halfway between the largest f16 and the next power of two: it and all above are infinite.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  // From 2^-14 upward: rebias the exponent (127 - 15 = 112) and drop 13 mantissa bits.
  if (magnitude >= 0x38800000) return sign | shiftRoundEven(magnitude - (112 << 23), 13);
  // Subnormal: the mantissa counts in steps of 2^-24. Below 2^-25 everything rounds to zero.
  const exponent = magnitude >>> 23;
  if (exponent < 102) return sign;
  return sign | shiftRoundEven((magnitude & 0x7fffff) | 0x800000, 126 - exponent);
}

/** f32 values as f16 bit patterns, rounded to nearest, ties to even; NaN stays NaN, too large becomes infinity. */
export function f32ToF16(values: Float32Array): Uint16Array {
  s.readArgument(FLOATS, values, "f32ToF16", "values");
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, encodeF16);
}

function encodeBf16(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** f32 values as bf16 bit patterns, rounded to nearest, ties to even; NaN stays NaN, too large becomes infinity. */
export function f32ToBf16(values: Float32Array): Uint16Array {
  s.readArgument(FLOATS, values, "f32ToBf16", "values");
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, encodeBf16);
}
