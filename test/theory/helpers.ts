/** Shared by the theory tests: running prompts through the oracle, and the random tasks of the verifier. */
import type { SuperpositionModel } from "../../src/theory/build.ts";
import { largestDifference, type ProgramState, runProgram, softmax } from "../../src/theory/mixture.ts";
import type { Oracle } from "../../src/theory/oracle.ts";
import { encodePrompt, type Prompt, promptIds } from "../../src/theory/prompts.ts";
import type { SparseMatrix } from "../../src/theory/sparse.ts";

export { randomTasks, seeded } from "../../src/theory/verify/random-tasks.ts";

export interface Outcome {
  probabilities: Float64Array;
  exact: ProgramState;
  error: number;
}

/** Runs one prompt through the oracle and compares with the program. */
export function check(model: SuperpositionModel, oracle: Oracle, prompt: Prompt): Outcome {
  const exact = runProgram(model.program, promptIds(model.program, model.examples, prompt));
  const probabilities = softmax(oracle.run(encodePrompt(model.program, model.examples, prompt)));
  return { probabilities, exact, error: largestDifference(probabilities, exact.probabilities) };
}

/** Size of the dense tensors, in bytes of float32. */
export function denseBytes({ weights }: { weights: Map<string, SparseMatrix> }): number {
  let bytes = 0;
  for (const { shape } of weights.values()) bytes += 4 * shape.reduce((product, size) => product * size, 1);
  return bytes;
}
