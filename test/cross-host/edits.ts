/** Interventions against PyTorch hooks on the Hugging Face models: the logits after each edit. */
import { type Edit, loadModel } from "../../src/index.ts";
import { checkClose, FAMILIES, fixtureTensors, IN_CHROMIUM } from "./families.ts";
import { byDayIn, type Check } from "./harness.ts";

interface EditCase {
  name: string;
  model: string;
  ids: number[][];
  /** As `Edit`, with values that may name a tensor of values.safetensors. */
  edits: (Omit<Edit, "value"> & { value?: number | { tensor: string } })[];
  logits: string;
}

/** Deno: LayerNorm and RMSNorm, each kind of positions, blocks side by side, soft caps with windows, norms of heads. */
const byDay = byDayIn({
  browser: IN_CHROMIUM,
  deno: ["bloom", "cohere", "gemma2", "gpt2", "gptj", "olmo2", "qwen3"],
});

export const editChecks: Check[] = FAMILIES.map((family) => ({
  name: `${family} changes under edits as the PyTorch model does`,
  ...byDay(family),
  async run(context) {
    const cases = JSON.parse(new TextDecoder().decode(await context.loadFixture("edits/cases.json"))) as EditCase[];
    const values = await fixtureTensors(context, "edits/values.safetensors");
    const expected = await fixtureTensors(context, "edits/logits.safetensors");
    const model = await loadModel(`${context.fixtureUrl}families/${family}`, { gpu: await context.gpu() });
    const mine = cases.filter((candidate) => candidate.model === family);
    let worst = 0;
    for (const { name, ids, edits, logits } of mine) {
      const resolved = edits.map(({ value, ...edit }) =>
        value === undefined ? edit : { ...edit, value: resolveValue(value, values) },
      );
      const result = await model.forward(ids, { edits: resolved });
      worst = Math.max(worst, checkClose(await result.logits.read(), expected.get(logits) as Float32Array, name));
      result.destroy();
    }
    model.destroy();
    if (mine.length === 0) throw new Error(`no case for ${family}`);
    return `${mine.length} cases, worst ${worst.toExponential(1)}`;
  },
}));

function resolveValue(
  value: number | { tensor: string },
  values: ReadonlyMap<string, Float32Array>,
): number | Float32Array {
  return typeof value === "number" ? value : (values.get(value.tensor) as Float32Array);
}
