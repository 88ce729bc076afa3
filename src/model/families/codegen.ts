/** CodeGen: GPT-J with queries, values and keys packed for the four parts of the accelerator that it was trained on. */
import { type Family, linear } from "./common.ts";
import { gptjLike } from "./gptj.ts";

const DEFAULTS = { nLayers: 28, dModel: 4096, nHeads: 16, vocabSize: 50400, maxPositions: 2048 };

/** Each holds the queries, values and keys of a quarter of the heads, in this order. */
const PARTS = 4;

export const codegen: Family = (config) => {
  const spec = gptjLike(config, "codegen", DEFAULTS);
  if (spec.nHeads % PARTS !== 0)
    config.refuse("n_head", `is not a multiple of ${PARTS}, by which q, k and v are packed`);
  const count = spec.dModel / PARTS;
  const rows = (place: number) => ({ groups: PARTS, groupSize: 3 * count, start: place * count, count });
  const module = "transformer.h.{i}.attn.qkv_proj";
  return {
    ...spec,
    weights: {
      ...spec.weights,
      ...linear("attn.Q", module, { bias: false, rows: rows(0) }),
      ...linear("attn.V", module, { bias: false, rows: rows(1) }),
      ...linear("attn.K", module, { bias: false, rows: rows(2) }),
    },
  };
};
