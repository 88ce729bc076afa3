/** Errors of the constructive transformer: a task, a prompt or a linear map that the construction cannot take. */
import { SuperlensError } from "../errors.ts";

/**
 * A task definition, prompt or map that cannot be built or run. `code` is one of
 *
 * | code | meaning |
 * |---|---|
 * | `theory/subspace` | a map touches a residual subspace it did not declare, or leaves the subspace's range |
 * | `theory/vocabulary` | duplicate, empty or unknown token; a task maps to a token outside the vocabulary |
 * | `theory/definition` | the definition's JSON has the wrong form |
 * | `theory/sum` | an operand without an integer value, or more sums than the DER subspace has directions |
 * | `theory/heads` | more tasks (or operands) than heads |
 * | `theory/size` | a number of examples, layers or a constant the construction has no meaning for |
 * | `theory/prompt` | a prompt of the wrong length, or with tokens outside the vocabulary |
 */
export class TheoryError extends SuperlensError {}
