/** The constructed transformer: the model that ships, loaded over HTTP, and a cut of the verification. */
import { GROUPS, loadSuperposition, observe, placesOf, promptIds, setSpace, verify } from "../../src/theory/index.ts";
import { largestDifference, runProgram } from "../../src/theory/mixture.ts";
import { inputIds, pointOf } from "../../src/theory/observe.ts";
import { samplePrompt } from "../../src/theory/sampling.ts";
import { seeded as seededRandom } from "../../src/theory/verify/random-tasks.ts";
import { byDayIn, type Check, showWorst } from "./harness.ts";

/** Bound on |p - p*| in float32, see docs/theory.md. */
const BOUND = 2e-5;

const shipped: Check = {
  name: "the superposition model answers in the examples' proportions, and WEIGHT moves them",
  async run(context) {
    const { blueprint, model } = await loadSuperposition(`${context.weightsUrl}superposition`, {
      gpu: await context.gpu(),
    });
    const { program, examples } = blueprint;
    const random = seededRandom(3);
    const [a, b] = [0, 1].map(() => promptIds(program, examples, samplePrompt(program, examples, random)));
    if (!a || !b) throw new Error("no prompts");
    const point = pointOf(blueprint, "WEIGHT");
    const donor = await model.forward([inputIds(blueprint, a)], { logits: "none", capture: point });
    const edit = setSpace(blueprint, "WEIGHT", [placesOf(blueprint).last], donor.cache.at(point));
    const weightOfA = runProgram(program, a).weight;
    const runs = [
      { prompt: a, edits: [], expected: runProgram(program, a) },
      { prompt: b, edits: [edit], expected: runProgram(program, b, { weight: weightOfA }) },
    ];
    let worst = 0;
    for (const { prompt, edits, expected } of runs) {
      const { probabilities, attention } = await observe({ model, blueprint }, prompt, edits);
      worst = Math.max(worst, largestDifference(probabilities, expected.probabilities));
      worst = Math.max(worst, largestDifference(attention, weightOfA));
    }
    donor.destroy();
    model.destroy();
    if (!(worst <= BOUND)) throw new Error(`off by ${worst}, allowed ${BOUND}`);
    return showWorst(worst);
  },
};

/** In Node the others run on a larger grid (test/theory/verify.test.ts). */
const verifiedByDay = byDayIn({
  browser: [],
  deno: ["exactness", "heads", "resources"],
  node: ["exactness", "causality"],
});

const verified = GROUPS.map(
  (group): Check => ({
    name: `the theory's claims hold: ${group}`,
    ...verifiedByDay(group),
    async run(context) {
      const missed: string[] = [];
      let count = 0;
      for await (const claim of verify(await context.gpu(), { grid: "cut", groups: [group] })) {
        count += 1;
        if (!claim.ok) missed.push(`${claim.name}: ${claim.measured}, not ${claim.relation} ${claim.bound}`);
      }
      if (missed.length > 0 || count === 0) throw new Error(`${count} claims, missed: ${missed.join("; ")}`);
      return `${count} claims`;
    },
  }),
);

export const theoryChecks: Check[] = [shipped, ...verified];
