/** Calls of `superlens/train`. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TRAIN_DICTIONARY_OPTIONS } from "../../src/train/dictionary.ts";
import { INITIAL_WEIGHTS_OPTIONS } from "../../src/train/initialise.ts";
import { TRAIN_OPTIONS } from "../../src/train/train.ts";
import type { Call } from "./calls.ts";
import * as api from "./public.ts";

export const MINI_CONFIG = { model_type: "gpt2", vocab_size: 8, n_embd: 8, n_layer: 1, n_head: 1, n_positions: 8 };

/** One step of a dictionary of four features. */
function dictionaryTraining(model: api.HookedModel): api.TrainDictionaryOptions {
  const size = { hook: "blocks.0.hook_resid_post", dSae: 4, k: 2 };
  return { model, data: () => [[1, 2, 3]], ...size, steps: 1, schedule: { lr: 1e-3 } };
}

export function trainCalls(model: api.HookedModel): Call[] {
  const data = [{ ids: [[1, 2, 3]] }];
  return [
    {
      name: "initialWeights",
      args: [MINI_CONFIG, { init: "gpt2", seed: 1 }],
      run: (config, options) => api.initialWeights(config, options),
      options: INITIAL_WEIGHTS_OPTIONS,
    },
    {
      name: "train",
      args: [{ model, data, steps: 1, schedule: { lr: 1e-3 } }],
      run: (options) => api.train(options),
      options: TRAIN_OPTIONS,
    },
    {
      name: "trainDictionary",
      args: [dictionaryTraining(model)],
      run: async (options) => (await api.trainDictionary(options)).destroy(),
      options: TRAIN_DICTIONARY_OPTIONS,
    },
    {
      name: "saveModel",
      args: [model, new api.MemoryStore(), {}],
      run: (given, to, options) =>
        api.saveModel(given, typeof to === "string" ? join(tmpdir(), "superlens-calls", to) : to, options),
    },
  ];
}
