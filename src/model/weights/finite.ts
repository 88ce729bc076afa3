/** Finds NaN and infinity in weights by their bits: an exponent of all ones, in every float type. */
import { bytesPerElement, type Dtype } from "../../checkpoint/index.ts";
import { CheckpointError } from "../../errors.ts";

/** Bits of the exponent, within the element's last (most significant) one or two bytes, little-endian. */
const EXPONENT_MASK: Partial<Record<Dtype, number>> = {
  F64: 0x7ff0,
  F32: 0x7f80,
  F16: 0x7c00,
  BF16: 0x7f80,
  F8_E5M2: 0x7c,
};

/** Whether every element is a finite number. */
export function areFinite(bytes: Uint8Array, dtype: Dtype): boolean {
  const size = bytesPerElement(dtype);
  const mask = EXPONENT_MASK[dtype];
  for (let at = 0; at < bytes.length; at += size) {
    const top = bytes[at + size - 1] as number;
    const bits = size === 1 ? top : (top << 8) | (bytes[at + size - 2] as number);
    // F8_E4M3 has no infinity; its NaN is all ones but the sign.
    const broken = mask === undefined ? (bits & 0x7f) === 0x7f : (bits & mask) === mask;
    if (broken) return false;
  }
  return true;
}

/** @throws CheckpointError `checkpoint/not-finite` naming the tensor, where an element is NaN or infinite. */
export function assertFinite(bytes: Uint8Array, info: { name: string; file: string; dtype: Dtype }): void {
  if (areFinite(bytes, info.dtype)) return;
  throw new CheckpointError(
    "checkpoint/not-finite",
    `${info.file}: tensor ${info.name} has a NaN or infinite element. The file is damaged, or training diverged: take another copy; without checkFinite it is loaded as it is.`,
  );
}
