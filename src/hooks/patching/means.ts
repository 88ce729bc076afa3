/** Mean activations over a set of prompts, summed in float64 on the host, one prompt at a time. */
import { captureAlone } from "../capture.ts";
import type { HookedModel } from "../hooked-model.ts";
import type { ResolvedSite } from "./sites.ts";

export class Means {
  constructor(
    /** For each point [positions, heads, width]; one position when the mean is over all. */
    private readonly values: ReadonlyMap<string, Float64Array>,
    private readonly positions: number,
    private readonly heads: number,
  ) {}

  /** The mean of one head, or of a point without heads: [positions, width]. */
  valueOf(name: string, head = 0): Float32Array {
    const all = this.values.get(name) as Float64Array;
    const width = all.length / this.positions / this.heads;
    const part = new Float32Array(this.positions * width);
    for (let position = 0; position < this.positions; position++) {
      const start = (position * this.heads + head) * width;
      part.set(all.subarray(start, start + width), position * width);
    }
    return part;
  }
}

/** Means at each of `positions` over the prompts, or over all positions of all prompts when there are none. */
export async function meansOf(
  model: HookedModel,
  prompts: readonly (readonly number[])[],
  site: ResolvedSite,
  positions: readonly number[] | undefined,
  signal: AbortSignal | undefined,
): Promise<Means> {
  const sums = new Map<string, Float64Array>();
  for (const prompt of prompts) {
    using run = await captureAlone(model, [prompt], site.names, { positions, signal });
    for (const name of site.names) {
      const values = await run.cache.read(name);
      const rows = positions ? 1 : prompt.length;
      addRows(sums, name, values, rows);
    }
  }
  const count = positions ? prompts.length : prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  for (const sum of sums.values()) for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) / count;
  return new Means(sums, positions?.length ?? 1, Math.max(1, site.heads));
}

/** Adds `values`, [rows, size], to the sum [size] of a point. */
function addRows(sums: Map<string, Float64Array>, name: string, values: Float32Array, rows: number): void {
  const size = values.length / rows;
  const sum = sums.get(name) ?? new Float64Array(size);
  sums.set(name, sum);
  values.forEach((value, index) => {
    sum[index % size] = (sum[index % size] as number) + value;
  });
}
