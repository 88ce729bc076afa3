/** The points inside a dictionary: captured, edited, swept and differentiated, in batches, caches and generation. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluate } from "../../src/graph/evaluate.ts";
import { fuse } from "../../src/graph/fuse.ts";
import { pointsOf } from "../../src/graph/graph.ts";
import { prune } from "../../src/graph/prune.ts";
import { type Dictionary, type HookedModel, loadDictionary, metric } from "../../src/hooks/index.ts";
import { trace } from "../../src/model/trace.ts";
import { failureOf } from "../hooks/support.ts";
import { relativeError } from "../support/numbers.ts";
import { filesOf, randomArrays, stored } from "./files.ts";
import { hooked, MODULES } from "./support.ts";

const HOOK = "blocks.1.hook_resid_post";
const ACTS = `${HOOK}.hook_sae_acts_post`;
const IDS = [5, 6, 7, 8, 9, 10];

let model: HookedModel;
let sae: Dictionary;
beforeAll(async () => {
  model = await hooked("gpt2");
  sae = await loadDictionary(model, `${MODULES}gpt2-standard`);
});
afterAll(() => {
  sae.destroy();
  model.destroy();
});

const codeOf = async (call: () => unknown) => (await failureOf(call)).split(/[ :]/)[1];

/** The feature that is strongest at the last position. */
async function strongest(spliced: HookedModel): Promise<number> {
  using result = await spliced.forward(IDS, { capture: ACTS, positions: [-1] });
  const acts = await result.cache.read(ACTS);
  return acts.indexOf(Math.max(...acts));
}

describe("points of a dictionary", () => {
  it("have SAELens's names, behind the hook's", () => {
    using spliced = model.withModules(sae);
    const names = ["input", "acts_pre", "acts_post", "recons", "error", "output"].map(
      (name) => `${HOOK}.hook_sae_${name}`,
    );
    expect(spliced.pointNames(`${HOOK}.*`).sort()).toEqual(names.sort());
    using alone = model.withModules(sae, { error: false });
    expect(alone.pointNames(`${HOOK}.*`)).not.toContain(`${HOOK}.hook_sae_error`);
  });

  it("add up: what goes on is reconstruction and error, and the reconstruction is decoded from the features", async () => {
    using spliced = model.withModules(sae);
    using result = await spliced.forward(IDS, { capture: [`${HOOK}.*`, HOOK] });
    const [input, recons, error, output, after] = await Promise.all(
      ["input", "recons", "error", "output"]
        .map((name) => result.cache.read(`${HOOK}.hook_sae_${name}`))
        .concat(result.cache.read(HOOK)),
    );
    expect(
      relativeError(
        recons!.map((value, i) => value + error![i]!),
        input!,
      ),
    ).toBeLessThan(1e-6);
    expect(relativeError(output!, input!)).toBeLessThan(1e-6);
    expect(relativeError(after!, output!)).toBe(0);
  });

  it("are the graph's by the plain references, in all ways to run it", async () => {
    const { fixture, referencePass, rowsOf } = await import("../graph/support.ts");
    const { tensorsOf, valuesOf } = await import("../support/fixtures.ts");
    const { readFile } = await import("node:fs/promises");
    for (const [family, name] of [
      ["gpt2", "gpt2-topk"],
      ["gemma2", "gemma2-transcoder"],
      ["llama", "llama-skip_transcoder"],
      ["gpt_neox", "pythia-gated"],
    ] as const) {
      using plain = await hooked(family);
      using dictionary = await loadDictionary(plain, MODULES + name);
      using spliced = plain.withModules(dictionary, { error: false });
      const { weight } = await fixture(family);
      const tensors = new Map(
        tensorsOf(await readFile(`${MODULES}${name}/sae_weights.safetensors`)).map((each) => [
          each.name,
          Float64Array.from(valuesOf(each)),
        ]),
      );
      const turned = (values: Float64Array, rows: number) =>
        Float64Array.from(values, (_, i) => values[(i % rows) * (values.length / rows) + Math.floor(i / rows)]!);
      const ofModule = (weightName: string, part?: "w" | "b") => {
        if (weightName === "W_enc") return turned(tensors.get("W_enc")!, dictionary.modules[0]!.dIn);
        if (weightName === "outputShift") return part === "b" ? tensors.get("b_dec") : undefined;
        if (weightName === "inputShift") return part === "b" ? tensors.get("b_dec")!.map((value) => -value) : undefined;
        if (weightName === "gate") return part === "b" ? tensors.get("b_gate") : undefined;
        if (weightName === "magnitude")
          return part === "b" ? tensors.get("b_mag") : tensors.get("r_mag")!.map(Math.exp);
        return tensors.get(weightName);
      };
      const rows = rowsOf([IDS]);
      const graph = prune(trace(spliced.spec));
      const evaluation = {
        rows,
        pass: referencePass(spliced.spec, 64),
        weight: (ref: Parameters<typeof weight>[0], part?: "w" | "b") =>
          ref?.module === undefined ? weight(ref, part) : ofModule(ref.name, part),
      };
      const values = evaluate(graph, evaluation);
      const fused = fuse(graph);
      expect(
        relativeError(evaluate(fused, evaluation).get(fused.output as never)!, values.get(graph.output as never)!),
      ).toBeLessThan(1e-12);
      const at = `${dictionary.hook}.hook_sae_acts_post`;
      using result = await spliced.forward(IDS, { capture: at });
      expect(relativeError(await result.cache.read(at), values.get(pointsOf(graph).get(at) as never)!)).toBeLessThan(
        1e-5,
      );
      expect(relativeError(await result.logits.read(), values.get(graph.output as never)!)).toBeLessThan(1e-5);
    }
  });

  it("are edited in one pass as in a cache's, and only what is edited changes", async () => {
    using spliced = model.withModules(sae);
    const feature = await strongest(spliced);
    const edits = { at: ACTS, op: "set", value: 3, dims: [feature] } as const;
    using whole = await spliced.forward(IDS, { edits });
    using kv = spliced.createKvCache();
    using _first = await spliced.forward(IDS.slice(0, 4), { edits, kv });
    using rest = await spliced.forward(IDS.slice(4), { edits, kv });
    expect(relativeError(await rest.logits.at(0, -1), await whole.logits.at(0, -1))).toBeLessThan(1e-5);
    using atLast = await spliced.forward(IDS, { edits: { ...edits, positions: [-1] }, logits: "last" });
    using before = await spliced.forward(IDS, { edits: { ...edits, positions: [-1] } });
    using plain = await model.forward(IDS);
    expect(relativeError(await atLast.logits.at(0, -1), await before.logits.at(0, -1))).toBeLessThan(1e-6);
    expect(relativeError(await before.logits.at(0, 4), await plain.logits.at(0, 4))).toBeLessThan(1e-6);
    expect(relativeError(await before.logits.at(0, 5), await plain.logits.at(0, 5))).toBeGreaterThan(1e-3);
  });

  it("an edit of what the dictionary reads leaves the activation's own part", async () => {
    using spliced = model.withModules(sae);
    const edits = { at: `${HOOK}.hook_sae_input`, op: "scale", value: 2 } as const;
    const names = ["input", "recons", "error"].map((name) => `${HOOK}.hook_sae_${name}`);
    using result = await spliced.forward(IDS, { edits, capture: [...names, HOOK] });
    using before = await spliced.forward(IDS, { capture: names });
    const [, recons, error] = await Promise.all(names.map((name) => result.cache.read(name)));
    expect(relativeError(error!, await before.cache.read(names[2]!))).toBeLessThan(1e-6);
    expect(relativeError(recons!, await before.cache.read(names[1]!))).toBeGreaterThan(1e-2);
    expect(
      relativeError(
        await result.cache.read(HOOK),
        recons!.map((value, i) => value + error![i]!),
      ),
    ).toBeLessThan(1e-6);
  });

  it("are swept as one full pass a cell gives it, with only the affected rows computed", async () => {
    using spliced = model.withModules(sae);
    const measure = metric.logitDiff(3, 4);
    const cells = [0, 2, 5].flatMap((position) =>
      [6, 17].map((feature) => ({ at: ACTS, op: "set", value: 2, dims: [feature], positions: [position] }) as const),
    );
    const { values, work } = await spliced.sweep({ input: IDS, cells, metric: measure });
    for (const [index, edits] of cells.entries()) {
      using result = await spliced.forward(IDS, { edits, logits: "last" });
      const logits = await result.logits.at(0, -1);
      expect(values[index]).toBeCloseTo(logits[3]! - logits[4]!, 4);
    }
    expect(work.rowLayers).toBeLessThan(0.6 * work.fullRowLayers);
  });

  it.each(["gpt2-standard", "gpt2-topk"])("%s: have the gradients of finite differences", async (name) => {
    using dictionary = await loadDictionary(model, MODULES + name);
    using spliced = model.withModules(dictionary);
    const measure = metric.logitDiff(3, 4);
    using result = await spliced.backward(IDS, { metric: measure, at: [ACTS, "blocks.0.hook_resid_post"] });
    const [grads, acts] = await Promise.all([result.grads.read(ACTS), result.cache.read(ACTS)]);
    const { dSae } = dictionary;
    const active = [...acts.keys()].filter((i) => acts[i]! > 0.05).slice(0, 6);
    expect(active.length).toBeGreaterThan(3);
    const cells = active.flatMap((i) =>
      [0.02, -0.02].map(
        (value) => ({ at: ACTS, op: "add", value, dims: [i % dSae], positions: [Math.floor(i / dSae)] }) as const,
      ),
    );
    const { values } = await spliced.sweep({ input: IDS, cells, metric: measure });
    for (const [index, i] of active.entries())
      expect((values[2 * index]! - values[2 * index + 1]!) / 0.04).toBeCloseTo(grads[i]!, 2);
    // With the error the pass is the model's, and so is every gradient outside.
    using plain = await model.backward(IDS, { metric: measure, at: "blocks.0.hook_resid_post" });
    const [own, expected] = await Promise.all(
      [result, plain].map(({ grads: each }) => each.read("blocks.0.hook_resid_post")),
    );
    expect(relativeError(own!, expected!)).toBeLessThan(1e-5);
  });

  it("steer a generation", async () => {
    using spliced = model.withModules(sae);
    const feature = await strongest(spliced);
    const edits = { at: ACTS, op: "set", value: 40, dims: [feature] } as const;
    const steered: number[] = [];
    for await (const { tokens } of spliced.generate(IDS, { maxNewTokens: 4, edits })) steered.push(tokens[0] as number);
    const own: number[] = [];
    for await (const { tokens } of spliced.generate(IDS, { maxNewTokens: 4 })) own.push(tokens[0] as number);
    const plain: number[] = [];
    for await (const { tokens } of model.generate(IDS, { maxNewTokens: 4 })) plain.push(tokens[0] as number);
    expect(own).toEqual(plain);
    let ids = [...IDS];
    for (const token of steered) {
      using result = await spliced.forward(ids, { edits, logits: "last" });
      const logits = await result.logits.at(0, -1);
      expect(logits.indexOf(Math.max(...logits))).toBe(token);
      ids = [...ids, token];
    }
  });
});

describe("what cannot be spliced", () => {
  const shapes = (width: number) => ({ W_enc: [width, 5], W_dec: [5, width], b_enc: [5], b_dec: [width] });
  const folder = (hook: string, width = 32, more: object = {}) =>
    filesOf({
      "cfg.json": { architecture: "standard", d_in: width, d_sae: 5, metadata: { hook_name: hook }, ...more },
      "sae_weights.safetensors": stored(randomArrays(1, shapes(width)), "F32"),
    });
  const code = (source: Parameters<typeof loadDictionary>[1]) => codeOf(() => loadDictionary(model, source));

  it("is refused by name", async () => {
    expect(await code(folder("blocks.9.hook_resid_post"))).toBe("hook/no-such-point");
    expect(await code(folder(HOOK, 16))).toBe("module/shape");
    expect(await code(folder("blocks.1.attn.hook_pattern"))).toBe("module/hook");
    expect(await code(folder(HOOK, 32, { architecture: "mystery" }))).toBe("module/setting");
    expect(await code(folder(HOOK, 32, { magic: 3 }))).toBe("module/setting");
    expect(await code(folder(HOOK, 32, { d_sae: 6 }))).toBe("module/shape");
    expect(await code(folder(HOOK, 32, { architecture: "jumprelu" }))).toBe("module/tensor");
    expect(await code(folder(HOOK, 32, { rescale_acts_by_decoder_norm: true }))).toBe("module/setting");
    expect(await code(filesOf({ "model.safetensors": stored(randomArrays(1, { a: [1] }), "F32") }))).toBe(
      "module/format",
    );
    const arrays = randomArrays(1, shapes(32));
    arrays.W_dec!.data[7] = Number.NaN;
    const cfg = { architecture: "standard", d_in: 32, d_sae: 5, metadata: { hook_name: HOOK } };
    expect(await code(filesOf({ "cfg.json": cfg, "sae_weights.safetensors": stored(arrays, "F32") }))).toBe(
      "module/not-finite",
    );
  });

  it("ends with what it is made of, and is spliced in once", async () => {
    const dictionary = await loadDictionary(model, folder(HOOK));
    expect(await codeOf(() => model.withModules([dictionary, sae]))).toBe("module/twice");
    using spliced = model.withModules(dictionary);
    expect(await codeOf(() => spliced.withModules(sae))).toBe("module/twice");
    expect(await codeOf(() => spliced.processed())).toBe("hook/unsupported");
    dictionary.destroy();
    expect(await codeOf(() => spliced.forward(IDS))).toBe("module/destroyed");
    expect(await codeOf(() => model.withModules(dictionary))).toBe("module/destroyed");
  });

  it("leaves memory as it was", async () => {
    const { gpu } = model;
    const before = gpu.memory.bytes;
    const dictionary = await loadDictionary(model, folder(HOOK));
    expect(gpu.memory.bytes).toBeGreaterThan(before);
    model.withModules(dictionary).destroy();
    dictionary.destroy();
    expect(gpu.memory.bytes).toBeLessThanOrEqual(before);
  });
});
