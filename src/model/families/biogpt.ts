/** BioGPT: OPT with a scaled embedding and GELU. */
import { type Family, readEvenSizes } from "./common.ts";
import { fairseqLike } from "./fairseq.ts";

const DEFAULTS = { nLayers: 24, dModel: 1024, nHeads: 16, dMlp: 4096, vocabSize: 42384, maxPositions: 1024 };

export const biogpt: Family = (config) =>
  fairseqLike(
    config,
    "biogpt",
    readEvenSizes(config, DEFAULTS),
    { kind: "learned", offset: 2 },
    {
      prefix: "biogpt",
      activation: "hidden_act",
      head: "output_projection.weight",
      weights: { "embed.W_pos": { tensor: "biogpt.embed_positions.weight" } },
    },
  );
