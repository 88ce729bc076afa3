/** Presets: each is a model that loads and reads its own batches; from scratch it knows nothing; `lc` begins to learn. */
import { expect, it } from "vitest";
import { loadModel } from "../../src/hooks/index.ts";
import {
  presetBatches,
  presetModel,
  TRAINING_PRESET_NAMES,
  trainingPreset,
  Vocabulary,
} from "../../src/paper/index.ts";
import { train } from "../../src/train/index.ts";
import { testGpu } from "../support/gpu.ts";

it.each(TRAINING_PRESET_NAMES)("%s has a vocabulary, a context and weights for its batches", async (name) => {
  const preset = trainingPreset(name);
  const source = presetModel(preset, 1);
  const kept = JSON.parse(new TextDecoder().decode(await source.readAll("vocab.json")));
  expect(Vocabulary.fromJson(kept).tokens).toEqual(preset.data.vocabulary.tokens);
  const { ids, mask } = presetBatches(preset, 1)().next().value as { ids: number[][]; mask: boolean[][] };
  expect(ids).toHaveLength(preset.data.batch);
  expect(mask[0]).toHaveLength(preset.data.length);
  expect(preset.config.max_position_embeddings).toBeGreaterThanOrEqual(preset.data.length);
  expect(Math.max(...ids.flat())).toBeLessThan(preset.config.vocab_size as number);
  if (name.startsWith("paper-")) return; // ten million parameters
  using model = await loadModel(source, { gpu: await testGpu() });
  expect(model.spec.vocabSize).toBe(preset.data.vocabulary.tokens.length);
});

it("lc learns: in six steps the loss falls by more than a nat from that of guessing", async () => {
  const preset = trainingPreset("lc");
  using model = await loadModel(presetModel(preset), { gpu: await testGpu() });
  const losses: number[] = [];
  const onStep = ({ loss }: { loss: number }) => losses.push(loss);
  const schedule = { ...preset.training.schedule, warmup: 2 };
  await train({ model, data: presetBatches(preset), ...preset.training, schedule, steps: 6, onStep });
  expect(losses[0]).toBeGreaterThan(Math.log(197) - 0.5);
  expect((losses[0] as number) - (losses.at(-1) as number)).toBeGreaterThan(1);
});

it("an unknown preset is refused", () => {
  expect(() => trainingPreset("lcc")).toThrow(/lc-mix10/);
});
