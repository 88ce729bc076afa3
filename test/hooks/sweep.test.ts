/** A sweep gives what one full edited forward pass a cell gives: random edits, points and families. */
import { describe, expect, it } from "vitest";
import { type Edit, type HookedModel, metric } from "../../src/hooks/index.ts";
import { byDay } from "../support/nightly.ts";
import { integer, relativeError, seeded } from "../support/numbers.ts";
import { hooked, randomEdit, randomIds } from "./support.ts";

/** Windows, ALiBi, parallel residual, soft caps, grouped queries, post-norm, several RoPEs, plain LayerNorm. */
const FAMILIES = [
  "gpt2",
  "mistral",
  "bloom",
  "gptj",
  "gpt_neox",
  "gemma2",
  "gemma3",
  "llama",
  "olmo2",
  "gpt_neo",
  "cohere",
  "smollm3",
  "granite",
  "falcon",
  "../types/ernie4_5_moe",
  "../types/gpt_oss",
  "../types/gemma4_text_ple",
];

/** Logits at `position` of one full pass a cell, [cells, vocab]. */
async function oneByOne(
  model: HookedModel,
  ids: number[],
  cells: readonly Edit[][],
  position: number,
): Promise<Float32Array> {
  const rows: number[] = [];
  for (const edits of cells) {
    const result = await model.forward(ids, { edits });
    rows.push(...(await result.logits.at(0, position)));
    result.destroy();
  }
  return Float32Array.from(rows);
}

const ALL_TOKENS = Array.from({ length: 96 }, (_, token) => token);

/** Plain, ALiBi, parallel residual, soft caps with windows, grouped queries, post-norm. */
const DAY = ["gpt2", "bloom", "gptj", "gemma2", "llama", "olmo2", "../types/ernie4_5_moe", "../types/gemma4_text_ple"];

describe.each(byDay(FAMILIES, DAY))("%s", (family) => {
  it("equals full passes for random edits", async () => {
    const random = seeded(FAMILIES.indexOf(family) + 1);
    const model = await hooked(family);
    try {
      for (const position of [-1, 7]) {
        const ids = randomIds(random, 13);
        const cells = Array.from({ length: 40 }, () =>
          Array.from({ length: integer(random, 0, 3) }, () => randomEdit(random, model.spec, ids.length)),
        );
        const { values } = await model.sweep({ input: ids, cells, metric: metric.logits(ALL_TOKENS), position });
        const expected = await oneByOne(model, ids, cells, position < 0 ? ids.length + position : position);
        const worst = cells.map((_, cell) =>
          relativeError(values.slice(96 * cell, 96 * cell + 96), expected.slice(96 * cell, 96 * cell + 96)),
        );
        const at = worst.findIndex((error) => !(error <= 1e-4));
        expect(
          at,
          `cell ${at}: ${worst[at]} ${JSON.stringify(cells[at], (_, value) => (value instanceof Float32Array ? "[…]" : value))}`,
        ).toBe(-1);
      }
    } finally {
      model.destroy();
    }
  });
});
