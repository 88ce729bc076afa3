/** A constructed model as files: the one that ships, byte for byte, and an ordinary model to the engine. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FilesSource, openCheckpoint, toFloat32, writeSafetensors } from "../../src/checkpoint/index.ts";
import { loadModel, metric } from "../../src/hooks/index.ts";
import { buildDefaultModel } from "../../src/theory/default-model.ts";
import {
  buildSuperposition,
  inMemory,
  type LoadedSuperposition,
  loadPreset,
  loadSuperposition,
  modelFiles,
  observe,
  type PromptIds,
  placesOf,
  promptIds,
  readBlueprint,
  setSpace,
} from "../../src/theory/index.ts";
import { largestDifference, runProgram, softmax } from "../../src/theory/mixture.ts";
import { tensorEntries } from "../../src/theory/model-folder.ts";
import { inputIds, pointOf, probabilitiesOf } from "../../src/theory/observe.ts";
import { samplePrompt, unexplainedPrompt } from "../../src/theory/sampling.ts";
import { seeded as seededRandom } from "../../src/theory/verify/random-tasks.ts";
import { testGpu } from "../support/gpu.ts";

const SHIPPED = "weights/superposition";
const BOUND = 2e-5;

describe("the model that ships", () => {
  it("is what the sources build, byte for byte, in at most 8 MB", async () => {
    let total = 0;
    for (const [name, content] of modelFiles(await buildDefaultModel())) {
      const shipped = await readFile(`${SHIPPED}/${name}`);
      expect(Buffer.compare(shipped, content), `${name}: run scripts/build-superposition.ts`).toBe(0);
      total += shipped.length;
    }
    expect(total).toBeLessThanOrEqual(8e6);
  });

  it("says what it was built for", async () => {
    const { program, examples, layout, spec } = await readBlueprint(SHIPPED);
    expect(program.tasks.map(({ name }) => name)).toEqual(["digits", "english", "french", "spanish"]);
    expect({ examples, dModel: layout.dModel }).toEqual({ examples: 12, dModel: spec.dModel });
  });
});

describe("an ordinary model", () => {
  let loaded: LoadedSuperposition;
  let prompts: PromptIds[];
  beforeAll(async () => {
    loaded = await loadSuperposition(SHIPPED, { gpu: await testGpu() });
    const { program, examples } = loaded.blueprint;
    const random = seededRandom(1);
    prompts = Array.from({ length: 4 }, () => promptIds(program, examples, samplePrompt(program, examples, random)));
  });
  afterAll(() => loaded.model.destroy());

  const exact = (prompt: PromptIds) => runProgram(loaded.blueprint.program, prompt).probabilities;

  it("gives the mixture, alone and in a batch", async () => {
    const batch = await probabilitiesOf(loaded, prompts);
    for (const [i, prompt] of prompts.entries()) {
      expect(largestDifference(batch[i] as Float64Array, exact(prompt))).toBeLessThanOrEqual(BOUND);
      const { probabilities, attention } = await observe(loaded, prompt);
      expect(largestDifference(probabilities, exact(prompt))).toBeLessThanOrEqual(BOUND);
      const { weight } = runProgram(loaded.blueprint.program, prompt);
      expect(largestDifference(attention, weight)).toBeLessThanOrEqual(BOUND);
    }
  });

  it("generates the likeliest task's answer", async () => {
    const [prompt] = prompts as [PromptIds];
    const ids = inputIds(loaded.blueprint, prompt);
    const p = exact(prompt);
    for await (const { tokens } of loaded.model.generate(ids, { maxNewTokens: 1 })) {
      expect(p[tokens[0] as number]).toBeCloseTo(Math.max(...p), 5);
    }
  });

  it("captures MLPs as wide as each layer's, and edits them by their own dimensions", async () => {
    const { model, blueprint } = loaded;
    const ids = inputIds(blueprint, prompts[0] as PromptIds);
    const widths = model.spec.layers.map(({ dMlp }) => dMlp as number);
    expect(new Set(widths).size).toBeGreaterThan(1);
    const capture = ["blocks.*.mlp.hook_pre", "blocks.*.mlp.hook_post"];
    const last = widths.length - 1;
    const outside = [{ at: "blocks.0.mlp.hook_post", op: "zero" as const, dims: [(widths[last] as number) - 1] }];
    using result = await model.forward([ids], { capture });
    for (const [layer, width] of widths.entries()) {
      expect(result.cache.shape(`blocks.${layer}.mlp.hook_post`)).toEqual([1, ids.length, width]);
    }
    const edits = [{ at: `blocks.${last}.mlp.hook_post`, op: "zero" as const, dims: [(widths[last] as number) - 1] }];
    using edited = await model.forward([ids], { edits, capture: `blocks.${last}.mlp.hook_post` });
    expect((await edited.cache.read(`blocks.${last}.mlp.hook_post`)).length).toBe(
      ids.length * (widths[last] as number),
    );
    await expect(model.forward([ids], { edits: outside })).rejects.toThrow(/they go from 0 to 15/);
  });

  it("sweeps: each superpose head removed, in one go", async () => {
    const { model, blueprint } = loaded;
    const [prompt] = prompts as [PromptIds];
    const { program, stages, vocabulary } = blueprint;
    const cells = program.tasks.map((_, k) => [
      { at: `blocks.${stages.superpose}.attn.hook_z`, op: "zero" as const, heads: [k], positions: [-1] },
    ]);
    const input = inputIds(blueprint, prompt);
    const { values } = await model.sweep({ input, cells, metric: metric.logits(vocabulary.map((_, id) => id)) });
    const width = vocabulary.length;
    const { weight } = runProgram(program, prompt);
    for (const k of cells.keys()) {
      const without = runProgram(program, prompt, { weight: weight.map((share, i) => (i === k ? 0 : share)) });
      const p = softmax(values.slice(k * width, (k + 1) * width));
      expect(largestDifference(p, without.probabilities)).toBeLessThanOrEqual(BOUND);
    }
  });

  it("moves WEIGHT from one prompt's run into another's", async () => {
    const { model, blueprint } = loaded;
    const [a, b] = prompts as [PromptIds, PromptIds];
    const point = pointOf(blueprint, "WEIGHT");
    using donor = await model.forward([inputIds(blueprint, a)], { logits: "none", capture: point });
    const edit = setSpace(blueprint, "WEIGHT", [placesOf(blueprint).last], donor.cache.at(point));
    const { weight } = runProgram(blueprint.program, a);
    const expected = runProgram(blueprint.program, b, { weight }).probabilities;
    const { probabilities } = await observe(loaded, b, [edit]);
    expect(largestDifference(probabilities, expected)).toBeLessThanOrEqual(BOUND);
    expect(largestDifference(probabilities, exact(b))).toBeGreaterThan(1e-2);
  });

  it("gives everything to <bos> when no task explains the examples", async () => {
    const { program, examples } = loaded.blueprint;
    const strange = promptIds(program, examples, unexplainedPrompt(program, examples, seededRandom(2)));
    const { probabilities, attention } = await observe(loaded, strange);
    expect(probabilities[program.bos]).toBeCloseTo(1, 9);
    expect(Math.max(...attention)).toBeLessThan(1e-9);
  });
});

describe("the files", () => {
  it("may store 16 bits, which the engine keeps", async () => {
    const model = buildSuperposition(await loadPreset("country"), { examples: 4 });
    for (const dtype of ["F16", "BF16"] as const) {
      const source = inMemory(model, dtype);
      const checkpoint = await openCheckpoint(source);
      expect(new Set([...checkpoint.tensors.values()].map((info) => info.dtype))).toEqual(new Set([dtype]));
      await checkpoint.close();
    }
  });

  it("stream as they are written whole", async () => {
    const model = buildSuperposition(await loadPreset("plus"), { examples: 3 });
    const whole = modelFiles(model).get("model.safetensors") as Uint8Array;
    const checkpoint = await openCheckpoint(inMemory(model));
    for (const { name, shape, data } of tensorEntries(model)) {
      expect(checkpoint.tensors.get(name)?.shape).toEqual([...shape]);
      const values = typeof data === "function" ? await data() : data;
      const stored = toFloat32(await checkpoint.read(name), "F32");
      expect(Buffer.compare(Buffer.from(stored.buffer), Buffer.from(values.buffer as ArrayBuffer))).toBe(0);
    }
    expect(whole.length).toBeGreaterThan(0);
    await checkpoint.close();
  });

  /** A folder with the config of one model, changed. */
  async function withConfig(change: (config: Record<string, unknown>) => unknown): Promise<FilesSource> {
    const files = modelFiles(buildSuperposition(await loadPreset("plus"), { examples: 3 }));
    const config = JSON.parse(new TextDecoder().decode(files.get("config.json"))) as Record<string, unknown>;
    const named = [
      { name: "config.json", blob: new Blob([JSON.stringify(change(config))]) },
      { name: "model.safetensors", blob: new Blob([writeSafetensors([]) as BlobPart]) },
    ];
    return new FilesSource(named, "changed");
  }

  it("that do not belong together are refused", async () => {
    const none = await withConfig(({ superposition: _, ...rest }) => rest);
    await expect(readBlueprint(none)).rejects.toThrow(/changed\/config\.json has no "superposition" section/);
    const other = await withConfig((config) => ({ ...config, spec: { ...(config.spec as object), dModel: 5 } }));
    await expect(readBlueprint(other)).rejects.toThrow(/spec.dModel is 5, but its tasks need \d+/);
    const broken = await withConfig((config) => ({ ...config, superposition: { definition: { name: "x" } } }));
    await expect(readBlueprint(broken)).rejects.toThrow(/definition\.vocabulary is missing; it must be a list/);
  });

  it("are refused by the engine when a layer's width is not the tensor's", async () => {
    const model = buildSuperposition(await loadPreset("plus"), { examples: 3 });
    const config = JSON.parse(new TextDecoder().decode(modelFiles(model).get("config.json"))) as {
      spec: { layers: { dMlp: number }[] };
    };
    (config.spec.layers[2] as { dMlp: number }).dMlp += 4;
    const weights = modelFiles(model).get("model.safetensors") as Uint8Array;
    const source = new FilesSource([
      { name: "config.json", blob: new Blob([JSON.stringify(config)]) },
      { name: "model.safetensors", blob: new Blob([weights as BlobPart]) },
    ]);
    await expect(loadModel(source, { gpu: await testGpu() })).rejects.toThrow(/blocks\.2\.mlp\.W_in has shape/);
  });
});
