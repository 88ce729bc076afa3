/** A GGUF file on every host, from an address, by ranges: logits against what transformers computed. */
import { loadModel } from "../../src/index.ts";
import { checkClose, fixtureTensors } from "./families.ts";
import type { Check } from "./harness.ts";

export const ggufChecks: Check[] = [
  {
    name: "a GGUF file gives Hugging Face's logits",
    atNightIn: ["browser", "node"], // in Node test/checkpoint/gguf/golden.test.ts has it
    async run(context) {
      const golden = await fixtureTensors(context, "gguf/qwen2-q4_k/golden.safetensors");
      const flat = [...(golden.get("input_ids") as Float32Array)];
      const ids = [flat.slice(0, flat.length / 2), flat.slice(flat.length / 2)];
      const address = `${context.fixtureUrl}gguf/qwen2-q4_k/model.gguf`;
      const model = await loadModel(address, { gpu: await context.gpu(), quiet: true });
      try {
        const result = await model.forward(ids);
        const error = checkClose(await result.logits.read(), golden.get("logits") as Float32Array, "logits");
        result.destroy();
        return `Q4_K and Q6_K ${error.toExponential(1)}`;
      } finally {
        model.destroy();
      }
    },
  },
];
