/** The circuit of a constructed transformer is known; every host finds it, and it is faithful. */
import { circuit, edgeAttribution, faithfulness } from "../../src/index.ts";
import { inMemory, loadSuperposition } from "../../src/theory/index.ts";
import { built, PATH, PROMPTS } from "../support/designed-circuit.ts";
import { sharedGpu } from "./families.ts";
import { type Check, expectEqual } from "./harness.ts";

const sorted = (names: readonly string[]) => [...names].sort().join(" ");

export const circuitChecks: Check[] = [
  {
    name: "the designed circuit is what edge patching finds, and as faithful as the whole",
    async run(context) {
      const { model } = await loadSuperposition(inMemory(built), { gpu: await sharedGpu(context) });
      try {
        const byGradients = await edgeAttribution(model, { ...PROMPTS, method: "eap" });
        const scored = [...byGradients.edges.values()].filter(({ score }) => Math.abs(score) > 1e-3);
        // Thresholds saturate, so that gradients see a part of it.
        const onPath = scored.filter(({ name }) => PATH.includes(name)).length;
        if (onPath !== scored.length || onPath < 3) throw new Error(`eap: ${scored.map(({ name }) => name).join(" ")}`);
        const exact = await edgeAttribution(model, { ...PROMPTS, method: "exact" });
        const chosen = circuit(exact, PATH.length);
        const found = [...chosen.edges.values()].flatMap(({ name, inGraph }) => (inGraph ? [name] : []));
        expectEqual(sorted(found), sorted(PATH), "edges");
        const { faithfulness: share } = await faithfulness(model, chosen, PROMPTS);
        if (!(Math.abs(share - 1) < 1e-5)) throw new Error(`faithfulness is ${share}`);
        return `${found.length} of ${exact.edges.size} edges, faithfulness ${share.toFixed(6)}`;
      } finally {
        model.destroy();
      }
    },
  },
];
