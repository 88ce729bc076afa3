/** Calls of `superlens/train`. */
import { tmpdir } from "node:os";
import { join } from "node:path";
import { INITIAL_WEIGHTS_OPTIONS } from "../../src/train/initialise.ts";
import { TRAIN_OPTIONS } from "../../src/train/train.ts";
import type { Call } from "./calls.ts";
import * as api from "./public.ts";

export const MINI_CONFIG = { model_type: "gpt2", vocab_size: 8, n_embd: 8, n_layer: 1, n_head: 1, n_positions: 8 };

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
      name: "saveModel",
      args: [model, new api.MemoryStore(), {}],
      run: (given, to, options) =>
        api.saveModel(given, typeof to === "string" ? join(tmpdir(), "superlens-calls", to) : to, options),
    },
  ];
}
