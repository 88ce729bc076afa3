/** Errors of the paper's experiments: a prompt, a vocabulary or a preset that cannot be. */
import { SuperlensError } from "../errors.ts";

/**
 * `code` is one of
 *
 * | code | meaning |
 * |---|---|
 * | `paper/vocabulary` | a token that the vocabulary lacks, or a list of tokens that is none |
 * | `paper/prompt` | prompts that do not exist: too many tasks for the family, no query on which the tasks differ, or no room for them in the context |
 * | `paper/task` | a family or task with this name does not exist |
 * | `paper/preset` | a preset with this name does not exist |
 * | `paper/figure` | a figure with this name does not exist |
 * | `paper/one-token` | a vocabulary of words for a figure about answers of several tokens |
 * | `paper/no-tokenizer` | a model that has neither a tokenizer nor a vocabulary of words |
 * | `paper/shard` | a shard that does not exist |
 * | `paper/one-model` | several models for a figure about one |
 * | `paper/own-models` | a model for a figure that trains its own |
 * | `paper/names` | a report whose models have no names, or the same |
 * | `paper/other-run` | the folder holds a figure of other settings |
 * | `paper/no-run` | the folder holds no figure |
 * | `paper/missing-cells` | cells that no shard has computed |
 * | `paper/damaged` | a file of a run that is not JSON |
 */
export class PaperError extends SuperlensError {}
