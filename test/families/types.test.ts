/**
 * Every fixture of test/fixtures/types, a model type or a setting each, against what transformers computed: logits, and residuals and
 * patterns where the fixture has them. The float64 decoder that other tests compare with computes them as well.
 */
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { lookupIn, ReferenceDecoder } from "../engine/forward.reference.ts";
import { goldenIn, readLogits, tensorsOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
import { relativeError } from "../support/numbers.ts";

const ROOT = fileURLToPath(new URL("../fixtures/types/", import.meta.url));
const TYPES = readdirSync(ROOT);

describe.each(TYPES)("%s", (name) => {
  it("gives transformers' logits, residuals and patterns", async () => {
    const { ids, values } = await goldenIn(ROOT + name);
    using model = new HookedModel(new Model(await loadParts(ROOT + name, { gpu: await testGpu() })));
    const should = (tensor: string) => values.get(tensor) as Float32Array;
    // Seen: 1e-7 to 2e-6; transformers computed in float32, too.
    expect(relativeError(await readLogits(model.base.forward(ids)), should("logits"))).toBeLessThan(5e-6);
    const points = pointsOf(values, model.spec.nLayers);
    const { cache, logits, destroy } = await model.forward(ids, { capture: [...points.keys()] });
    expect(relativeError(await logits.read(), should("logits"))).toBeLessThan(5e-6);
    for (const [point, tensor] of points)
      expect(relativeError(await cache.read(point), should(tensor)), `${point} against ${tensor}`).toBeLessThan(1e-5);
    destroy();
  });
});

/** By day one in three: what the GPU gives is compared with transformers itself. */
describe.each(byDay(TYPES, (_, index) => index % 3 === 0))("%s", (name) => {
  it("is the same to the reference in float64", async () => {
    const { ids, values } = await goldenIn(ROOT + name);
    const spec = specFromConfig(JSON.parse(await readFile(`${ROOT}${name}/config.json`, "utf8")), name);
    const tensors = tensorsOf(await readFile(`${ROOT}${name}/model.safetensors`));
    const reference = new ReferenceDecoder(spec, lookupIn(spec, tensors));
    const logits = ids.flatMap((sequence) => reference.run(sequence).flatMap((row) => [...row]));
    expect(relativeError(logits, values.get("logits") as Float32Array)).toBeLessThan(5e-6);
  });
});

/** What the fixture has of the inside, by the points that show it. */
function pointsOf(values: ReadonlyMap<string, Float32Array>, nLayers: number): Map<string, string> {
  const points = new Map<string, string>();
  for (let layer = 0; layer < nLayers; layer++) {
    points.set(`blocks.${layer}.hook_resid_pre`, `hidden.${layer}`);
    points.set(`blocks.${layer}.hook_resid_post`, `hidden.${layer + 1}`);
    points.set(`blocks.${layer}.attn.hook_pattern`, `pattern.${layer}`);
  }
  return new Map([...points].filter(([, tensor]) => values.has(tensor)));
}
