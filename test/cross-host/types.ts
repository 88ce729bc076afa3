/** The fixtures of test/fixtures/types, a model type or a setting each, on every host: logits against what transformers computed. */
import { loadModel } from "../../src/index.ts";
import { checkClose, fixtureTensors } from "./families.ts";
import type { Check } from "./harness.ts";

/** Folders of test/fixtures/types: hosts without a file system cannot list them. */
export const TYPES = [
  "arcee",
  "biogpt",
  "bloom_respost",
  "codegen",
  "cohere2",
  "cwm",
  "ernie4_5",
  "exaone4",
  "glm",
  "glm4",
  "gpt2_act_laplace",
  "gpt2_act_mish",
  "gpt2_act_sigmoid",
  "gpt_bigcode",
  "gpt_bigcode_mha",
  "granite_swa",
  "granitemoehybrid_dense",
  "granitemoehybrid_nope",
  "helium",
  "hunyuan_v1_dense",
  "hunyuan_v1_dense_alpha",
  "hyperclovax",
  "jais2",
  "llama_longrope",
  "llava",
  "ministral",
  "ministral3",
  "mistral3",
  "mpt",
  "mpt_clip",
  "nanochat",
  "nemotron",
  "olmo",
  "olmo3",
  "olmo_clip",
  "openai-gpt",
  "opt350m",
  "opt_nonaffine",
  "opt_proj",
  "opt_remove_final",
  "persimmon",
  "phi3_longrope_long",
  "phi3_longrope_short",
  "phi4mini_longrope_partial",
  "qwen2_5_vl",
  "qwen2_vl",
  "qwen3_vl",
  "seed_oss",
  "stablelm_qk",
  "vaultgemma",
] as const;

export const typeChecks: Check[] = [
  {
    name: "other model types give Hugging Face's logits",
    async run(context) {
      const errors: string[] = [];
      for (const name of TYPES) {
        const golden = await fixtureTensors(context, `types/${name}/golden.safetensors`);
        const flat = [...(golden.get("input_ids") as Float32Array)];
        const ids = [flat.slice(0, flat.length / 2), flat.slice(flat.length / 2)];
        const model = await loadModel(`${context.fixtureUrl}types/${name}`, { gpu: await context.gpu() });
        try {
          const result = await model.forward(ids);
          const error = checkClose(await result.logits.read(), golden.get("logits") as Float32Array, `logits of ${name}`);
          result.destroy();
          errors.push(`${name} ${error.toExponential(1)}`);
        } finally {
          model.destroy();
        }
      }
      return errors.join(", ");
    },
  },
];
