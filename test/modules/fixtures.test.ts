/** Dictionaries of SAELens, spliced into the models of the families: its own numbers, and a pass that stays as it was. */
import { describe, expect, it } from "vitest";
import { type Dictionary, type HookedModel, loadDictionary } from "../../src/hooks/index.ts";
import { relativeError } from "../support/numbers.ts";
import { CASES, familyOf, goldenOf, hooked, MODULES } from "./support.ts";

/** Seen: up to 2e-6. */
const TOLERANCE = 1e-5;

async function withCase(
  name: string,
  body: (model: HookedModel, dictionary: Dictionary) => Promise<void>,
): Promise<void> {
  using model = await hooked(await familyOf(name));
  using dictionary = await loadDictionary(model, MODULES + name);
  await body(model, dictionary);
}

describe.each(CASES)("%s", (name) => {
  it("has SAELens's activations, reconstruction and logits", () =>
    withCase(name, async (model, dictionary) => {
      const { ids, values } = await goldenOf(name);
      using spliced = model.withModules(dictionary, { error: false });
      const at = (point: string) => `${dictionary.hook}.${point}`;
      const { hookOut } = dictionary.modules[0]!;
      using result = await spliced.forward(ids, { capture: [at("hook_sae_acts_post"), hookOut] });
      expect(relativeError(await result.cache.read(at("hook_sae_acts_post")), values.get("acts")!)).toBeLessThan(
        TOLERANCE,
      );
      expect(relativeError(await result.cache.read(hookOut), values.get("out")!)).toBeLessThan(TOLERANCE);
      expect(relativeError(await result.logits.read(), values.get("logits.spliced")!)).toBeLessThan(TOLERANCE);
    }));

  it("leaves the pass as it was with its error, but for the feature that is edited", () =>
    withCase(name, async (model, dictionary) => {
      const { ids, values } = await goldenOf(name);
      const [zeroed] = [...values.keys()].filter((key) => key.startsWith("logits.zero"));
      const feature = Number(zeroed!.slice("logits.zero".length));
      using spliced = model.withModules([dictionary], { error: true });
      using before = await model.forward(ids);
      using same = await spliced.forward(ids);
      const plain = await before.logits.read();
      expect(relativeError(await same.logits.read(), plain)).toBeLessThan(1e-6);
      const edits = { at: `${dictionary.hook}.hook_sae_acts_post`, op: "zero", dims: [feature] } as const;
      using edited = await spliced.forward(ids, { edits });
      const logits = await edited.logits.read();
      expect(relativeError(logits, values.get(zeroed!)!)).toBeLessThan(TOLERANCE);
      expect(relativeError(logits, plain)).toBeGreaterThan(1e-4);
    }));
});
