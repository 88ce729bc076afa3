/**
 * Each fixture model's config against its checkpoint: the spec's weights use every tensor of the file, whole and once,
 * with the shapes the spec implies. (That the numbers mean the right computation is for the forward pass to show.)
 */
import { describe, expect, it } from "vitest";
import { FAMILIES, specFromConfig } from "../../src/model/families/index.ts";
import { FAMILY_NOTES } from "../../src/model/families/notes.ts";
import { resolveEmbedding, resolveTensorName, resolveWeight } from "../../src/model/families/resolve.ts";
import type { ModelSpec, TensorSource, WeightName } from "../../src/model/spec.ts";
import { tensorShape } from "../../src/model/weights/find.ts";
import { isPerBlock, weightUses } from "../../src/model/weights/table.ts";
import { FIXTURES, fixtureConfig, fixtureShapes, typeConfigs } from "./fixtures.ts";

interface Use {
  name: WeightName;
  source: TensorSource;
}

/** Each tensor name of the spec, with the layers filled in, and the weights cut from it. */
function tensorUses(spec: ModelSpec): Map<string, Use[]> {
  const uses = new Map<string, Use[]>();
  for (const [name, source] of Object.entries(spec.weights) as [WeightName, TensorSource][]) {
    const layers = isPerBlock(name) ? spec.nLayers : 1;
    for (let layer = 0; layer < layers; layer++) {
      const tensor = source.tensor.replace("{i}", String(layer));
      uses.set(tensor, [...(uses.get(tensor) ?? []), { name, source }]);
    }
  }
  return uses;
}

/** How often each output row of a tensor is taken by the weights cut from it. */
function rowCounts(rows: number, uses: Use[]): number[] {
  const taken = new Array<number>(rows).fill(0);
  for (const { source } of uses) {
    const cut = source.rows ?? { groups: 1, groupSize: rows, start: 0, count: rows };
    for (let group = 0; group < cut.groups; group++) {
      for (let k = 0; k < cut.count; k++) {
        const row = group * cut.groupSize + cut.start + k;
        taken[row] = (taken[row] ?? 0) + 1;
      }
    }
  }
  return taken;
}

describe.each(FIXTURES)("fixture %s", (fixture) => {
  const spec = specFromConfig(fixtureConfig(fixture), `${fixture}/config.json`);
  const shapes = fixtureShapes(fixture);

  it("names every tensor of the file, and none besides", () => {
    expect([...tensorUses(spec).keys()].sort()).toEqual([...shapes.keys()].sort());
  });

  it("implies the file's shapes", () => {
    for (const [tensor, uses] of tensorUses(spec)) {
      for (const { name } of uses)
        expect(tensorShape(spec, name), `${name} from ${tensor}`).toEqual(shapes.get(tensor));
    }
  });

  it("takes every row of every tensor exactly once", () => {
    for (const [tensor, uses] of tensorUses(spec)) {
      const shape = shapes.get(tensor) as number[];
      const isTransposed = uses[0]?.source.transpose === true && shape.length === 2;
      const rows = (isTransposed ? shape[1] : shape[0]) as number;
      expect(rowCounts(rows, uses), tensor).toEqual(new Array(rows).fill(1));
    }
  });

  it("is found without its prefix, and with the head under its other name", () => {
    const bare = new Set([...shapes.keys()].map((tensor) => tensor.replace(/^(transformer|model|gpt_neox)\./, "")));
    for (const tensor of tensorUses(spec).keys()) {
      expect(bare, tensor).toContain(resolveTensorName(tensor, (name) => bare.has(name)));
    }
    const own = spec.weights["embed.W_E"]?.tensor as string;
    const renamed = new Set([...shapes.keys()].filter((tensor) => !spec.unembed.tied || tensor !== own));
    renamed.add("lm_head.weight");
    const has = (name: string) => renamed.has(name);
    expect(resolveEmbedding(spec, has)).toBe(spec.unembed.tied ? "lm_head.weight" : own);
    expect(renamed).toContain(resolveWeight(spec, "unembed.W_U", 0, has));
  });
});

describe("the fixtures", () => {
  it("cover every family but custom, the multimodal wrapper of gemma3, and those that are made of others' weights", () => {
    const covered = new Set([...FIXTURES.map(fixtureConfig), ...typeConfigs()].map(({ model_type }) => model_type));
    const others = ["custom", "gemma3", "internlm2", "xglm"];
    expect([...FAMILIES.keys()].filter((family) => !covered.has(family)).sort()).toEqual(others);
  });

  it("are of types that say what is special of them", () => {
    expect(Object.keys(FAMILY_NOTES).sort()).toEqual([...FAMILIES.keys()].sort());
  });

  it("need the weights that are not optional", () => {
    for (const fixture of FIXTURES) {
      const spec = specFromConfig(fixtureConfig(fixture), fixture);
      for (const [name, use] of weightUses(spec)) {
        if (use === "required") expect(spec.weights[name]?.tensor, `${fixture}: ${name}`).toBeTruthy();
      }
    }
  });
});
