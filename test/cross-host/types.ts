/** Fixtures of test/fixtures/types on every host: logits against what transformers computed. */
import { loadModel } from "../../src/index.ts";
import { checkClose, fixtureTensors } from "./families.ts";
import { byDayIn, type Check } from "./harness.ts";

/** The folders of test/fixtures/types. */
export const TYPES = [
  "apertus",
  "arcee",
  "biogpt",
  "bloom_respost",
  "codegen",
  "cohere2",
  "cwm",
  "deepseek_v2",
  "deepseek_v3",
  "dots1",
  "ernie4_5",
  "ernie4_5_moe",
  "exaone4",
  "falcon_7b_alibi",
  "falcon_rw_alibi",
  "flex_olmo",
  "gemma4",
  "gemma4_text",
  "gemma4_text_ple",
  "glm",
  "glm4",
  "glm4_moe",
  "gpt2_act_laplace",
  "gpt2_act_mish",
  "gpt2_act_sigmoid",
  "gpt_bigcode",
  "gpt_bigcode_mha",
  "gpt_oss",
  "granite_swa",
  "granitemoe",
  "granitemoehybrid_dense",
  "granitemoehybrid_nope",
  "granitemoeshared",
  "helium",
  "hunyuan_v1_dense",
  "hunyuan_v1_dense_alpha",
  "hunyuan_v1_moe",
  "hyperclovax",
  "jais2",
  "llama4",
  "llama4_text",
  "llama_longrope",
  "llava",
  "minimax_m2",
  "ministral",
  "ministral3",
  "mistral3",
  "mixtral",
  "modernbert-decoder",
  "mpt",
  "mpt_clip",
  "nanochat",
  "nemotron",
  "olmo",
  "olmo3",
  "olmo_clip",
  "olmoe",
  "openai-gpt",
  "opt350m",
  "opt_nonaffine",
  "opt_proj",
  "opt_remove_final",
  "persimmon",
  "phi3_longrope_long",
  "phi3_longrope_short",
  "phi4mini_longrope_partial",
  "phimoe",
  "qwen2_5_vl",
  "qwen2_moe",
  "qwen2_vl",
  "qwen3_moe",
  "qwen3_vl",
  "seed_oss",
  "stablelm_qk",
  "vaultgemma",
] as const;

/** By day, in Deno, types that have several kernels no family has; each takes two seconds. */
const BY_DAY: readonly string[] = ["gpt_oss", "ministral3", "opt350m"];

/** Chromium's compiler is Node's. On Node `test/families/types.test.ts` has all. */
const byDay = byDayIn({ node: [], deno: BY_DAY, browser: [] });

export const typeChecks: Check[] = TYPES.map((name) => ({
  name: `${name} among further types gives Hugging Face's logits`,
  ...byDay(name),
  async run(context) {
    const golden = await fixtureTensors(context, `types/${name}/golden.safetensors`);
    const flat = [...(golden.get("input_ids") as Float32Array)];
    const ids = [flat.slice(0, flat.length / 2), flat.slice(flat.length / 2)];
    using model = await loadModel(`${context.fixtureUrl}types/${name}`, { gpu: await context.gpu() });
    using result = await model.forward(ids);
    const error = checkClose(await result.logits.read(), golden.get("logits") as Float32Array, "logits");
    return `logits ${error.toExponential(1)}`;
  },
}));
