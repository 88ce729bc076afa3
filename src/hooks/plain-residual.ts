/**
 * Which models have a residual stream that is a sum: each block adds to what the blocks before it wrote, and the logits are a norm
 * and a matrix away from the last of it. What takes the residual apart, or reads logits from it, needs that.
 */
import { HookError } from "../errors.ts";
import type { ModelSpec } from "../model/spec.ts";

/** @throws HookError `hook/unsupported` */
export function assertPlainResidual(spec: ModelSpec, call: string): void {
  const reason = obstacle(spec);
  if (reason === undefined) return;
  throw new HookError(
    "hook/unsupported",
    `${call} does not run on this ${spec.family} model: ${reason}. Captures, edits, activationPatch, attributionPatch and backward work on it.`,
  );
}

function obstacle({ block, embed, unembed, layers }: ModelSpec): string | undefined {
  if (block.norms === "added") return "its blocks norm the residual itself after each addition, so that it is no sum";
  if (block.normedResidual) return "its blocks add to the normed residual, so that it is no sum";
  if (embed.width !== undefined) return "a projection stands between its residual and its unembedding";
  if (block.scalar) return "its blocks multiply the residual, so that it is no sum";
  if (embed.perLayer) return "its blocks add embeddings of their own, which are neither attention nor MLP";
  if (layers.some(({ keysFrom, valuesFromKeys }) => keysFrom !== undefined || valuesFromKeys))
    return "some of its heads have no keys or values of their own";
  if (layers.some(({ dHead, nKvHeads }) => dHead !== undefined || nKvHeads !== undefined))
    return "its heads are not alike in all blocks";
  if (unembed.norm === false) return "it has no norm before the unembedding";
  if (unembed.transform !== undefined) return "a layer stands between its final norm and its unembedding";
  if (layers.some(({ attentionNorm }) => attentionNorm === false))
    return "a block of it reads the residual without a norm";
  return undefined;
}
