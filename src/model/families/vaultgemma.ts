/** VaultGemma: Gemma 2 without the norms after attention and MLP. */
import { type Family, norm } from "./common.ts";
import { gemma2Like } from "./gemma2.ts";
import { BLOCK } from "./llama-like.ts";

export const vaultgemma: Family = (config) => {
  const blockNorms = {
    ...norm("ln1", `${BLOCK}.input_layernorm`, { bias: false }),
    ...norm("ln2", `${BLOCK}.pre_feedforward_layernorm`, { bias: false }),
  };
  const spec = gemma2Like(config, "vaultgemma", { blockNorms });
  return { ...spec, block: { ...spec.block, norms: "pre" } };
};
