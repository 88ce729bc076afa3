/** Calls of `superlens/theory`. */
import { CONSTRUCTION_OPTIONS } from "../../src/theory/plan.ts";
import { samplePrompt } from "../../src/theory/sampling.ts";
import { VERIFY_OPTIONS } from "../../src/theory/verify/index.ts";
import { seeded } from "../../src/theory/verify/random-tasks.ts";
import type { Call } from "./calls.ts";
import * as api from "./public.ts";

/** The calls, each with what the calls before it gave. */
export async function theoryCalls(gpu: api.Gpu): Promise<Call[]> {
  const definition = await api.loadPreset("letters");
  const built = api.buildSuperposition(definition, { examples: 2 });
  const { program } = built;
  const loaded = await api.loadSuperposition(api.inMemory(built), { gpu });
  const prompt = samplePrompt(program, 2, seeded(1));
  const ids = api.promptIds(program, 2, prompt);
  const text = [...prompt.examples, prompt.query].map((tokens) => api.formatExample(program, tokens)).join(", ");
  return [
    { name: "loadPreset", args: ["letters"], run: api.loadPreset },
    { name: "compileTasks", args: [definition], run: api.compileTasks },
    { name: "asDefinition", args: [definition, "definition"], run: api.asDefinition },
    {
      name: "buildSuperposition",
      args: [definition, { examples: 2 }],
      run: api.buildSuperposition,
      options: CONSTRUCTION_OPTIONS,
    },
    { name: "modelFiles", args: [built, "F32"], run: api.modelFiles },
    { name: "inMemory", args: [built, "F32"], run: api.inMemory },
    {
      name: "loadSuperposition",
      args: [{}],
      run: (options) => api.loadSuperposition(api.inMemory(built), { gpu, ...options }),
    },
    { name: "readBlueprint", args: [{}], run: (options) => api.readBlueprint(api.inMemory(built), options) },
    { name: "observe", args: [loaded, ids, []], run: api.observe },
    { name: "placesOf", args: [loaded.blueprint], run: api.placesOf },
    { name: "setSpace", args: [loaded.blueprint, "WEIGHT", [0], 0], run: api.setSpace },
    { name: "parsePrompt", args: [program, text], run: api.parsePrompt },
    { name: "encodePrompt", args: [program, 2, prompt], run: api.encodePrompt },
    { name: "promptIds", args: [program, 2, prompt], run: api.promptIds },
    { name: "decodePrompt", args: [program, 2, api.encodePrompt(program, 2, prompt)], run: api.decodePrompt },
    { name: "formatExample", args: [program, prompt.query], run: api.formatExample },
    { name: "verify", args: [gpu, { groups: [] }], run: api.verify, options: VERIFY_OPTIONS },
  ];
}
