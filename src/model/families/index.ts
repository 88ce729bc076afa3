/**
 * The table of families: for each `model_type` of a Hugging Face `config.json`, the function that turns the config into a
 * `ModelSpec`. A new architecture is one more file and one more row.
 */
import { ConfigError } from "../../errors.ts";
import { likelyTypo } from "../../schema/nearest.ts";
import { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { validateSpec } from "../validate-spec.ts";
import { bloom } from "./bloom.ts";
import { cohere } from "./cohere.ts";
import { type Family, withCausality } from "./common.ts";
import { custom } from "./custom.ts";
import { dots1, glm4Moe } from "./deepseek_like.ts";
import { ernie45Moe } from "./ernie4_5_moe.ts";
import { falcon } from "./falcon.ts";
import { gemma } from "./gemma.ts";
import { gemma2 } from "./gemma2.ts";
import { gemma3, gemma3Text } from "./gemma3.ts";
import { gptNeo } from "./gpt_neo.ts";
import { gptNeox } from "./gpt_neox.ts";
import { gptOss } from "./gpt_oss.ts";
import { gpt2 } from "./gpt2.ts";
import { gptj } from "./gptj.ts";
import { granite } from "./granite.ts";
import { graniteSwa } from "./granite_swa.ts";
import { graniteMoe, graniteMoeShared } from "./granitemoe.ts";
import { llama } from "./llama.ts";
import { minimaxM2 } from "./minimax_m2.ts";
import { mistral } from "./mistral.ts";
import { mixtral } from "./mixtral.ts";
import { olmo2 } from "./olmo2.ts";
import { flexOlmo, olmoe } from "./olmoe.ts";
import { opt } from "./opt.ts";
import { otherKind } from "./other-kinds.ts";
import { phi } from "./phi.ts";
import { phi3 } from "./phi3.ts";
import { phimoe } from "./phimoe.ts";
import { qwen2Moe, qwen3Moe } from "./qwen_moe.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";
import { smollm3 } from "./smollm3.ts";
import { stablelm } from "./stablelm.ts";
import { starcoder2 } from "./starcoder2.ts";

/** Every `model_type` superlens runs. */
export const FAMILIES: ReadonlyMap<string, Family> = new Map<string, Family>([
  ["bloom", bloom],
  ["cohere", cohere],
  ["custom", custom],
  ["dots1", dots1],
  ["ernie4_5_moe", ernie45Moe],
  ["falcon", falcon],
  ["flex_olmo", flexOlmo],
  ["gemma", gemma],
  ["gemma2", gemma2],
  ["gemma3", gemma3],
  ["gemma3_text", gemma3Text],
  ["glm4_moe", glm4Moe],
  ["gpt2", gpt2],
  ["gpt_neo", gptNeo],
  ["gpt_neox", gptNeox],
  ["gpt_oss", gptOss],
  ["gptj", gptj],
  ["granite", granite],
  ["granite_swa", graniteSwa],
  ["granitemoe", graniteMoe],
  ["granitemoeshared", graniteMoeShared],
  ["llama", llama],
  ["minimax_m2", minimaxM2],
  ["mistral", mistral],
  ["mixtral", mixtral],
  ["olmo2", olmo2],
  ["olmoe", olmoe],
  ["opt", opt],
  ["phi", phi],
  ["phi3", phi3],
  ["phimoe", phimoe],
  ["qwen2", qwen2],
  ["qwen2_moe", qwen2Moe],
  ["qwen3", qwen3],
  ["qwen3_moe", qwen3Moe],
  ["smollm3", smollm3],
  ["stablelm", stablelm],
  ["starcoder2", starcoder2],
]);

/** Settings of any family that would change the computation, at the one value that is supported. */
const FIXED_EVERYWHERE = {
  is_encoder_decoder: false,
  quantization_config: undefined,
  pruned_heads: {},
};

/** Families that do not read `is_causal`, or read it elsewhere: gpt_neo's mask is a part of the model. */
const OWN_CAUSALITY: ReadonlySet<string> = new Set(["custom", "gemma3", "gpt_neo"]);

/**
 * The spec of a model, from the parsed contents of its `config.json`; `label` is the file's name, for messages.
 * Throws `ConfigError`: unknown `model_type`, a missing or wrong setting, or one that is not supported, by name.
 */
export function specFromConfig(config: unknown, label: string): ModelSpec {
  const reader = ConfigReader.from(config, label);
  const modelType = reader.text("model_type");
  const family = FAMILIES.get(modelType);
  if (!family) throw unknownType(modelType, label);
  reader.requireFixed(FIXED_EVERYWHERE);
  const spec = family(reader);
  return validateSpec(OWN_CAUSALITY.has(modelType) ? spec : withCausality(reader, spec), label);
}

function unknownType(modelType: string, label: string): ConfigError {
  const kind = otherKind(modelType);
  const typo = kind === undefined ? likelyTypo(modelType, FAMILIES.keys()) : undefined;
  const what = kind === undefined ? "is not known" : `is ${kind}`;
  const hint =
    typo === undefined
      ? 'A dense decoder that is not among them can be described with model_type "custom".'
      : `Did you mean "${typo}"?`;
  return new ConfigError(
    "config/unknown-model-type",
    `${label}: model_type "${modelType}" ${what}. Supported: ${[...FAMILIES.keys()].join(", ")}. ${hint}`,
  );
}
