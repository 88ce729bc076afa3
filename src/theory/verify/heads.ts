/**
 * Claim 4: heads are tasks. If the match layer keeps only its first h heads, h tasks are recognised and the others
 * are not: their bit MATCH[k] is never set, so their weight is 0. A model with one match head superposes nothing, since
 * it has one bit a label, and K tasks need K.
 *
 * This holds for this construction. It shows why one head is not enough here, and says nothing about all transformers.
 */
import type { Edit } from "../../hooks/index.ts";
import { buildSuperposition, type SuperpositionModel } from "../build.ts";
import { runProgram } from "../mixture.ts";
import { probabilitiesOf, stagePoint } from "../observe.ts";
import { retrieval } from "../presets/retrieval.ts";
import type { PromptIds } from "../prompts.ts";
import { promptOfTasks, type Random, samplePrompt } from "../sampling.ts";
import { type Claim, claim, FLOAT32_BOUND } from "./claim.ts";
import { seeded } from "./random-tasks.ts";
import { type Bench, idsOf, onGpu, worstOf } from "./subject.ts";

const EXAMPLES = 8;

export async function* verifyHeads(bench: Bench): AsyncGenerator<Claim, void, undefined> {
  const definition = retrieval({ symbols: [..."abcdefghijkl"], inputs: 4 });
  const model = buildSuperposition(definition, { examples: EXAMPLES });
  const { program } = model;
  const K = program.tasks.length;
  const random = seeded(11);
  const mixed = idsOf(
    model,
    Array.from({ length: bench.grid.prompts }, () => samplePrompt(program, EXAMPLES, random)),
  );
  const alone = program.tasks.map((_, k) => [unmistakable(model, k, random), unmistakable(model, k, random)]);
  const claims = await onGpu(bench, model, async (loaded) => {
    const found: Claim[] = [];
    for (let kept = K; kept >= 1; kept--) {
      const removed = Array.from({ length: K - kept }, (_, i) => kept + i);
      const z = stagePoint(model, "match", "attn.hook_z");
      const edits: Edit[] = removed.length > 0 ? [{ at: z, op: "zero", heads: removed }] : [];
      const heads = `${kept} match ${kept === 1 ? "head" : "heads"}`;
      const error = worstOf(
        await probabilitiesOf(loaded, mixed, edits),
        mixed.map((prompt) => expected(prompt, kept)),
      );
      found.push(claim("heads", `${heads}: |p - p* of as many tasks|`, error, "<=", FLOAT32_BOUND));
      const survivors = await surviving(edits);
      const names = survivors.map((k) => program.tasks[k]?.name).join(", ");
      found.push(claim("heads", `${heads}: tasks that survive`, survivors.length, "=", kept, names));
    }
    return found;

    /** Tasks that are still answered when every example shows them. */
    async function surviving(edits: Edit[]): Promise<number[]> {
      const tasks: number[] = [];
      for (const [k, prompts] of alone.entries()) {
        const p = await probabilitiesOf(loaded, prompts, edits);
        const exact = prompts.map((prompt) => runProgram(program, prompt).probabilities);
        if (worstOf(p, exact) <= FLOAT32_BOUND) tasks.push(k);
      }
      return tasks;
    }
  });
  yield* claims;

  /** p* when only the first tasks can be matched. */
  function expected(prompt: PromptIds, kept: number): Float64Array {
    const match = runProgram(program, prompt).match.map((row, k) => (k < kept ? row : row.map(() => false)));
    return runProgram(program, prompt, { match }).probabilities;
  }
}

/** A prompt of one task, with no example that another task explains as well. */
function unmistakable(model: SuperpositionModel, task: number, random: Random): PromptIds {
  const tasks = new Array<number>(EXAMPLES).fill(task);
  for (;;) {
    const [prompt] = idsOf(model, [promptOfTasks(model.program, tasks, random)]) as [PromptIds];
    if (runProgram(model.program, prompt).overlapping === 0) return prompt;
  }
}
