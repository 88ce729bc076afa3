/** Fixtures of test/fixtures/types on every host: logits against what transformers computed. */
import { loadModel } from "../../src/index.ts";
import { checkClose, fixtureTensors } from "./families.ts";
import type { Check, CheckContext } from "./harness.ts";

/** Of the folders of test/fixtures/types one for each kernel or way through the graph that the families do not have. */
export const TYPES = [
  "glm4_moe",
  "gpt2_act_mish",
  "gpt_oss",
  "granite_swa",
  "ministral3",
  "nanochat",
  "olmo_clip",
  "opt350m",
  "phi3_longrope_long",
  "phimoe",
  "qwen2_moe",
  "stablelm_qk",
] as const;

/** By day those that have several of these at once; Deno compiles the kernels of all twelve in 20 s. */
const BY_DAY = ["glm4_moe", "gpt_oss", "ministral3", "opt350m"] as const;

/** Chromium's compiler is Node's. */
const typesOf = ({ host, isNight }: CheckContext): readonly string[] =>
  isNight ? TYPES : host === "browser" ? ["gpt_oss"] : BY_DAY;

export const typeChecks: Check[] = [
  {
    name: "other model types give Hugging Face's logits",
    async run(context) {
      const errors: string[] = [];
      for (const name of typesOf(context)) {
        const golden = await fixtureTensors(context, `types/${name}/golden.safetensors`);
        const flat = [...(golden.get("input_ids") as Float32Array)];
        const ids = [flat.slice(0, flat.length / 2), flat.slice(flat.length / 2)];
        const model = await loadModel(`${context.fixtureUrl}types/${name}`, { gpu: await context.gpu() });
        try {
          const result = await model.forward(ids);
          const error = checkClose(
            await result.logits.read(),
            golden.get("logits") as Float32Array,
            `logits of ${name}`,
          );
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
