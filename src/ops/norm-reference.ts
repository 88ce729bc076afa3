/** LayerNorm (Ba et al. 2016, arXiv 1607.06450) and RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467) in float64. */
export interface NormCase {
  kind: "layer" | "rms";
  eps: number;
  weightOffset: number;
  w: ArrayLike<number> | undefined;
  b: ArrayLike<number> | undefined;
}

/** sqrt(variance + eps) of one row and the row over it, centred for LayerNorm. */
export function normalized(row: ArrayLike<number>, { kind, eps }: { kind: string; eps: number }) {
  const values = Float64Array.from(row);
  const mean = kind === "layer" ? values.reduce((sum, value) => sum + value, 0) / values.length : 0;
  const centred = values.map((value) => value - mean);
  const scale = Math.sqrt(centred.reduce((sum, value) => sum + value * value, 0) / values.length + eps);
  return { scale, values: centred.map((value) => value / scale) };
}

/** Weight and bias of a norm, where it has them. */
export function affine(
  row: Float64Array,
  { weightOffset }: { weightOffset: number },
  w: ArrayLike<number> | undefined,
  b: ArrayLike<number> | undefined,
): Float64Array {
  return row.map((value, d) => value * (w ? (w[d] as number) + weightOffset : 1) + (b ? (b[d] as number) : 0));
}

/** The norm of one row. */
export function normReference(row: ArrayLike<number>, options: NormCase): Float64Array {
  return affine(normalized(row, options).values, options, options.w, options.b);
}
