/** The circuit of a constructed transformer is known; on every host it is faithful, and gradients point to it. */
import { circuit, edgeAttribution, faithfulness } from "../../src/index.ts";
import { inMemory, loadSuperposition } from "../../src/theory/index.ts";
import { built, PATH, PROMPTS } from "../support/designed-circuit.ts";
import type { Check } from "./harness.ts";

export const circuitChecks: Check[] = [
  {
    name: "the designed circuit is as faithful as the whole, and gradients find edges of it alone",
    atNightIn: ["browser", "deno", "node"], // in Node test/gradients/designed-circuit.test.ts has it
    async run(context) {
      const { model } = await loadSuperposition(inMemory(built), { gpu: await context.gpu() });
      try {
        const byGradients = await edgeAttribution(model, { ...PROMPTS, method: "eap" });
        const scored = [...byGradients.edges.values()].filter(({ score }) => Math.abs(score) > 1e-3);
        // Thresholds saturate, so that gradients see a part of it.
        const onPath = scored.filter(({ name }) => PATH.includes(name)).length;
        if (onPath !== scored.length || onPath < 3) throw new Error(`eap: ${scored.map(({ name }) => name).join(" ")}`);
        const designed = byGradients.withScores(({ name }) => (PATH.includes(name) ? 1 : 0));
        const { faithfulness: share } = await faithfulness(model, circuit(designed, PATH.length), PROMPTS);
        if (!(Math.abs(share - 1) < 1e-5)) throw new Error(`faithfulness is ${share}`);
        const { faithfulness: without } = await faithfulness(model, circuit(designed, 0), PROMPTS);
        if (!(Math.abs(without) < 1e-5)) throw new Error(`faithfulness of no edges is ${without}`);
        return `${onPath} of ${PATH.length} edges by gradients`;
      } finally {
        model.destroy();
      }
    },
  },
];
