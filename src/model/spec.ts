/**
 * `ModelSpec`: everything there is to know about a decoder-only transformer, as one plain JSON object.
 *
 * A family file turns a Hugging Face `config.json` into a spec; the forward pass reads the spec and knows no
 * family. A `custom` model carries its spec in `config.json` itself.
 */
import type { Architecture } from "./architecture.ts";
import type { ModuleSpec } from "./modules.ts";
import type { WeightName } from "./weights/table.ts";

export type * from "./architecture.ts";
export type { FeatureActivation, ModuleSpec } from "./modules.ts";
export type { WeightName };

/** What a model computes, and where its weights lie in a checkpoint. */
export interface ModelSpec extends Architecture {
  /**
   * Where each weight comes from. Keys are `WeightName`s; in a tensor name `{i}` stands for the layer, `{e}` for the expert, and `{h}` for
   * the head, where each has a q/k norm of its own.
   */
  weights: Partial<Record<WeightName, TensorSource>>;
  /** Dictionaries that every pass has spliced in; of a view that `withModules` made, and of no config. */
  modules?: readonly ModuleSpec[];
}

/**
 * How a weight is cut from a checkpoint tensor. Matrices are used as [out, in], the layout of `torch.nn.Linear`.
 *
 * `rows` selects output rows (of the matrix after `transpose`, or entries of a bias): the rows are seen as
 * `groups` consecutive groups of `groupSize` rows; from each, `count` rows starting at `start` are taken, in order.
 * A packed [q; k; v] is one group; gpt_neox's per-head [q; k; v] is nHeads groups of 3 * dHead rows.
 *
 * The weights of experts (`mlp.experts.*`) are in a tensor each, where `{e}` stands for the expert, or all in one, [expert, ...].
 * `transpose` and `rows` are then of one expert's matrix: gate and up of gpt_oss are every second row, `groups` of two.
 *
 * `optional` marks a tensor that may be missing (then the weight counts as absent: no bias).
 */
export interface TensorSource {
  tensor: string;
  /** The checkpoint stores [in, out] (GPT-2's Conv1D). */
  transpose?: boolean;
  rows?: { groups: number; groupSize: number; start: number; count: number };
  optional?: boolean;
}
