/** Gaussian noise from a seed, and the standard deviation of a model's embeddings, which is its unit. */
import { RandomStream } from "../../model/random.ts";
import { captureAlone } from "../capture.ts";
import type { HookedModel } from "../hooked-model.ts";

/** `count` numbers of mean 0 from stream `stream` of `seed` (Box and Muller 1958). */
export function gaussianNoise(seed: number, stream: number, count: number, deviation: number): Float32Array {
  const random = RandomStream.fromSeed(seed, stream);
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random.next()));
    return deviation * radius * Math.cos(2 * Math.PI * random.next());
  });
}

/** The standard deviation of every entry of `hook_embed` over the prompts. */
export async function embeddingStd(
  model: HookedModel,
  prompts: readonly (readonly number[])[],
  signal?: AbortSignal,
): Promise<number> {
  let [count, sum, squares] = [0, 0, 0];
  for (const prompt of prompts) {
    using run = await captureAlone(model, [prompt], ["hook_embed"], { signal });
    for (const value of await run.cache.read("hook_embed")) {
      sum += value;
      squares += value * value;
      count += 1;
    }
  }
  return Math.sqrt(squares / count - (sum / count) ** 2);
}
