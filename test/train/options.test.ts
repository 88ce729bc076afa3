/** Batches that make one step, and what training refuses. */
import { beforeAll, describe, expect, it } from "vitest";
import { f32ToBf16, MemoryStore } from "../../src/checkpoint/index.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { type HookedModel, loadModel } from "../../src/hooks/index.ts";
import { type TrainOptions, type TrainStep, train } from "../../src/train/index.ts";
import { fixtureFiles, sourceOf, valuesOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";
import { folderOf, RECIPE, recorded, small, weightsOf } from "./support.ts";

let gpu: Gpu;
let data: ReturnType<typeof small>;
const fresh = () => loadModel(folderOf("llama"), { gpu });
const run = (options: Pick<TrainOptions, "model"> & Partial<TrainOptions>) =>
  train({ data, steps: 3, ...RECIPE, ...options });
const refusal = (code: string, ...words: string[]) =>
  expect.objectContaining({ code, message: expect.stringMatching(new RegExp(words.join(".*"), "s")) });

/** A run of some options, and the weights after it. */
async function outcome(
  options: Partial<TrainOptions>,
): Promise<{ steps: TrainStep[]; weights: Map<string, Float32Array> }> {
  using model = await fresh();
  return { steps: await run({ model, ...options }), weights: await weightsOf(model) };
}

beforeAll(async () => {
  gpu = await testGpu();
  data = small((await recorded("llama")).data);
});

describe("a step", () => {
  it("takes several batches as if they were one, whatever each counts", async () => {
    const halves = data.flatMap(({ ids, mask }) => [
      { ids: ids.slice(0, 1), mask: mask.slice(0, 1) },
      { ids: ids.slice(1), mask: mask.slice(1) },
    ]);
    const whole = await outcome({});
    const parts = await outcome({ data: halves, accumulate: 2 });
    for (const [index, { loss }] of parts.steps.entries())
      expect(loss).toBeCloseTo(whole.steps[index]?.loss as number, 5);
    for (const [name, values] of parts.weights)
      expect(relativeError(values, whole.weights.get(name) as Float32Array), name).toBeLessThan(1e-4);
  });

  it("gives the same bits where activations are computed twice, and where losses are seldom read", async () => {
    const plain = await outcome({});
    const { steps, weights } = await outcome({ recompute: true, logEvery: 2 });
    expect(weights).toEqual(plain.weights);
    expect(steps).toEqual(plain.steps.filter(({ step }) => step !== 1));
  });

  it("leaves out sequences that count nothing", async () => {
    const [{ ids, mask }] = data as [(typeof data)[number]];
    const none = mask[0]?.map(() => false) as boolean[];
    const without = await outcome({ steps: 1, data: [{ ids: ids.slice(1), mask: mask.slice(1) }] });
    const beside = await outcome({ steps: 1, data: [{ ids, mask: [none, ...mask.slice(1)] }] });
    expect(beside).toEqual(without);
  });

  it("evaluates the model as it is then", async () => {
    const losses: number[] = [];
    const evaluate = async (model: HookedModel, step: number) => {
      using result = await model.forward([1, 2, 3], { logits: "last" });
      losses.push((await result.logits.read())[0] as number);
      return { step, logit: losses.at(-1) };
    };
    const { steps } = await outcome({ evaluate, evaluateEvery: 2 });
    expect(steps.map(({ evaluation }) => evaluation)).toEqual([
      undefined,
      { step: 2, logit: losses[0] },
      { step: 3, logit: losses[1] },
    ]);
    expect(losses[0]).not.toBe(losses[1]);
  });
});

describe("refused is", () => {
  it("a gradient that is no number: its step is named, and the weights are those before it", async () => {
    const before = await outcome({ steps: 1, schedule: { lr: 1e25 } });
    using model = await fresh();
    const failing = run({ model, schedule: { lr: 1e25 }, steps: 30, logEvery: 10 });
    await expect(failing).rejects.toEqual(refusal("train/not-finite", "step 2", "lower lr"));
    expect(await weightsOf(model)).toEqual(before.weights);
  });

  it("data that end early, count nothing, or do not fit", async () => {
    const [{ ids, mask }] = data as [(typeof data)[number]];
    using model = await fresh();
    const given = (batches: unknown) => expect(run({ model, data: batches as never })).rejects;
    await given(data.slice(0, 2)).toEqual(refusal("train/data", "ended after 2 of 3"));
    await given([{ ids: [[1]] }]).toEqual(refusal("train/data", "batch 0 counts no prediction"));
    await given([{ ids, mask: mask.slice(1) }]).toEqual(refusal("train/data", "2 sequences, ids 3"));
    await given([{ ids: [[1, 2, 3]], mask: [[true]] }]).toEqual(refusal("train/data", "3 ids", "2 entries"));
    await given([{ ids: [[1, 9999]] }]).toEqual(refusal("input/token-range", "9999"));
    await given([{ ids, weight: 1 }]).toEqual(refusal("input/unknown-key", "batch 0", "weight"));
    await given([{ ids: [[1, 0.5]] }]).toEqual(refusal("input/argument", "batch 0", "ids.0..1."));
    await given(() => 5).toEqual(refusal("train/data", "no iterable"));
  });

  it("a model in training, in a view with edits, or not in float32", async () => {
    using model = await fresh();
    const first = run({ model });
    await expect(run({ model })).rejects.toEqual(refusal("train/busy"));
    await first;
    const edit = { at: "blocks.0.hook_resid_pre", op: "scale", value: 2 } as const;
    await model.withEdits(edit, (view) => expect(run({ model: view })).rejects.toEqual(refusal("train/edited")));
    const { config, tensors } = await fixtureFiles("llama");
    const stored = tensors.map((tensor) => ({ ...tensor, dtype: "BF16" as const, data: f32ToBf16(valuesOf(tensor)) }));
    using half = await loadModel(sourceOf({ config, tensors: stored }), { gpu });
    await expect(run({ model: half })).rejects.toEqual(refusal("train/storage", 'dtype: "float32"'));
    using asked = await loadModel(sourceOf({ config, tensors: stored }), { gpu, dtype: "float32" });
    await train({ model: asked, data: [{ ids: [[1, 2, 3]] }], steps: 1, schedule: { lr: 1e-3 } });
  });

  it("a checkpoint that is not continued, or belongs to another run", async () => {
    const store = new MemoryStore("./run");
    await outcome({ steps: 1, checkpoint: { in: store } });
    using model = await fresh();
    const given = (options: Partial<TrainOptions>) => expect(run({ model, steps: 1, ...options })).rejects;
    await given({ checkpoint: { in: store } }).toEqual(refusal("train/checkpoint-exists", "./run", "resume"));
    const resumed = { checkpoint: { in: store, resume: true } };
    await given({ ...resumed, schedule: { lr: 1 } }).toEqual(refusal("train/other-run", "schedule is", "lr"));
    using other = await loadModel(folderOf("gpt2"), { gpu });
    await given({ ...resumed, model: other }).toEqual(refusal("train/other-run", "another model"));
  });

  it("what would do nothing", async () => {
    using model = await fresh();
    await expect(run({ model, evaluateEvery: 2 })).rejects.toEqual(refusal("input/idle-option", "evaluateEvery"));
  });
});
