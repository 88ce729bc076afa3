/** Presets of a person's own: trained to the same bits twice and after an end, asked held-out queries, saved; and the embedded models. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/checkpoint/index.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { loadModel } from "../../src/hooks/index.ts";
import { heldOutAccuracy } from "../../src/paper/held-out.ts";
import {
  EMBEDDED_MODELS,
  evaluationPrompts,
  type PresetSpec,
  presetBatches,
  presetModel,
  promptIds,
  type TaskFamily,
  type TrainingRecord,
  trainingPreset,
  trainPreset,
} from "../../src/paper/index.ts";
import { train } from "../../src/train/index.ts";
import { testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
import { weightsOf } from "../train/support.ts";

const TINY: PresetSpec = {
  name: "tiny",
  families: ["countries"],
  size: { dModel: 16, dMlp: 32, layers: 1, heads: 2 },
  batch: 4,
  length: 24,
  steps: 6,
  lr: 0.01,
};
const WEIGHTS = fileURLToPath(new URL("../../weights/", import.meta.url));
const FIXTURE = fileURLToPath(new URL("../fixtures/paper/lc-d16-l2-h2", import.meta.url));

let gpu: Gpu;
beforeAll(async () => {
  gpu = await testGpu();
});
const fresh = (preset = trainingPreset(TINY)) => loadModel(presetModel(preset), { gpu, dtype: "float32" });

it("a preset ends and goes on to the bits of one that did not, and its folder is a model", async () => {
  const preset = trainingPreset(TINY);
  using unbroken = await fresh();
  const whole = await trainPreset({ model: unbroken, preset });

  const out = new MemoryStore();
  const controller = new AbortController();
  using stopped = await fresh();
  const first = trainPreset({
    model: stopped,
    preset,
    out,
    onStep: ({ step }) => step === 3 && controller.abort(new Error("enough")),
    signal: controller.signal,
  });
  await expect(first).rejects.toThrow("enough");
  const other = trainingPreset({ ...TINY, seed: 1 });
  using wrong = await fresh(other);
  await expect(trainPreset({ model: wrong, preset: other, out, resume: true })).rejects.toMatchObject({
    code: "train/other-run",
    message: expect.stringContaining("seed"),
  });
  using last = await fresh();
  expect(await trainPreset({ model: last, preset, out, resume: true })).toEqual(whole);
  expect(await weightsOf(last)).toEqual(await weightsOf(unbroken));

  const source = out.source();
  using saved = await loadModel(source, { gpu });
  expect(await weightsOf(saved)).toEqual(await weightsOf(unbroken));
  const record = JSON.parse(new TextDecoder().decode(await source.readAll("training.json"))) as TrainingRecord;
  expect(record).toMatchObject({ spec: TINY, accuracy: whole.accuracy });
  expect(record.losses[5]).toBeCloseTo(whole.steps[5]?.loss as number, 5);
  expect(new TextDecoder().decode(await source.readAll("loss.svg"))).not.toMatch(/NaN|undefined/);
});

it("a spec with a key that does not exist, a wrong value or an unknown family is refused", () => {
  const given = (extra: object) => () => trainingPreset({ ...TINY, ...extra });
  expect(given({ step: 3 })).toThrow(expect.objectContaining({ code: "input/unknown-key" }));
  expect(given({ size: { ...TINY.size, width: 3 } })).toThrow(expect.objectContaining({ code: "input/unknown-key" }));
  expect(given({ steps: 0 })).toThrow(expect.objectContaining({ code: "input/argument" }));
  expect(given({ families: ["country"] })).toThrow(expect.objectContaining({ code: "paper/task" }));
  expect(() => presetModel(trainingPreset({ ...TINY, size: { ...TINY.size, heads: 3 } }))).toThrow(/3/);
});

it("accuracy is the part of prompts on which the likeliest token is the answer", async () => {
  const preset = trainingPreset("lc-d16");
  using model = await loadModel(FIXTURE, { gpu });
  const accuracy = await heldOutAccuracy(model, preset, { count: 12 });
  for (const [family, examples] of [
    [preset.data.families[0] as TaskFamily, 20],
    [preset.data.families[1] as TaskFamily, 31],
  ] as const) {
    let right = 0;
    for (const prompt of evaluationPrompts(family, { counts: [examples], count: 12 })) {
      using run = await model.forward([promptIds(preset.data.vocabulary, prompt)], { logits: "last" });
      const logits = [...(await run.logits.read())];
      const [answer] = preset.data.vocabulary.answerIds(prompt.answers[0] as string) as [number];
      if (logits.indexOf(Math.max(...logits)) === answer) right++;
    }
    expect(accuracy[family.name]).toBe(right / 12);
  }
});

it("an answer of several characters is right only as a whole", async () => {
  const preset = trainingPreset({ ...TINY, name: "characters", families: ["plus"], form: "characters", length: 40 });
  using model = await fresh(preset);
  expect(await heldOutAccuracy(model, preset, { count: 10 })).toEqual({ plus: 0 });
});

const embedded = EMBEDDED_MODELS.filter((name) => existsSync(`${WEIGHTS}${name}`));
/** Those that are trained twice; the others differ from it in sizes. */
const twice = byDay(embedded, ["lc"]);
/** Those that are trained by day; the others take three seconds each. */
const trained = byDay(embedded, (name) => !name.endsWith("mix10"));

const recordOf = (name: string) =>
  JSON.parse(readFileSync(`${WEIGHTS}${name}/training.json`, "utf8")) as TrainingRecord;

describe.each(embedded)("the embedded model %s", (name) => {
  const record = recordOf(name);

  it("was trained as its preset says, and answers held-out queries as it did then", async () => {
    const preset = trainingPreset(name);
    expect(record.spec).toEqual(preset.spec);
    expect(record.losses).toHaveLength(preset.training.steps);
    using model = await loadModel(`${WEIGHTS}${name}`, { gpu });
    const accuracy = await heldOutAccuracy(model, preset, {});
    // Another adapter's rounding, and float16's, may turn a query that is near a tie.
    for (const [family, part] of Object.entries(accuracy))
      expect(Math.abs(part - (record.accuracy[family] as number))).toBeLessThanOrEqual(0.02);
  });
});

describe.each(trained)("the embedded model %s", (name) => {
  it(`begins with the losses that are written down${twice.includes(name) ? ", and gives the same bits twice" : ""}`, async () => {
    const record = recordOf(name);
    const preset = trainingPreset(record.spec);
    const begin = async () => {
      using model = await fresh(preset);
      const steps = await train({ model, data: presetBatches(preset), ...preset.training, steps: 2 });
      return { losses: steps.map(({ loss }) => loss), weights: await weightsOf(model) };
    };
    const once = await begin();
    if (twice.includes(name)) expect(await begin()).toEqual(once);
    // A step's loss comes before its change. Another adapter sums in another order.
    once.losses.forEach((loss, step) => {
      expect(Math.abs(loss / (record.losses[step] as number) - 1)).toBeLessThan(1e-4);
    });
  });
});
