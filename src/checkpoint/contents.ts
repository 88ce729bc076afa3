/** What the files of a checkpoint hold, whatever their format. */
import type { ReadTensor, TensorInfo } from "./tensor-info.ts";

export interface Contents {
  tensors: Map<string, TensorInfo>;
  metadata: Record<string, string>;
  /** Tensors that the index lists and no shard holds, each with the shard it names. */
  absent: Map<string, string>;
  /** Names the model in messages; the source's label when absent. */
  label?: string;
  /** The format holds nothing but what the model computes with; see `Checkpoint`. */
  everyTensorCounts?: true;
  /** Reads a tensor that does not lie in its file as `tensors` describes it. */
  read?: ReadTensor;
  /** JSON files that are made of the file itself; when absent, they lie beside it. */
  json?: (file: string) => Promise<unknown>;
}
