/**
 * The table of families: for each `model_type` of a Hugging Face `config.json`, the function that turns the config into a
 * `ModelSpec`. A new architecture is one more file and one more row.
 */
import { readQuantization } from "../../checkpoint/quantized/config.ts";
import { ConfigError } from "../../errors.ts";
import { likelyTypo } from "../../schema/nearest.ts";
import { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { validateSpec } from "../validate-spec.ts";
import { apertus } from "./apertus.ts";
import { arcee } from "./arcee.ts";
import { biogpt } from "./biogpt.ts";
import { bloom } from "./bloom.ts";
import { codegen } from "./codegen.ts";
import { cohere } from "./cohere.ts";
import { cohere2 } from "./cohere2.ts";
import { type Family, FIXED_EVERYWHERE, withCausality } from "./common.ts";
import { custom } from "./custom.ts";
import { cwm } from "./cwm.ts";
import { deepseekV2, deepseekV3 } from "./deepseek.ts";
import { dots1, glm4Moe } from "./deepseek_like.ts";
import { ernie45 } from "./ernie4_5.ts";
import { ernie45Moe } from "./ernie4_5_moe.ts";
import { exaone4 } from "./exaone4.ts";
import { falcon } from "./falcon.ts";
import { gemma } from "./gemma.ts";
import { gemma2 } from "./gemma2.ts";
import { gemma3, gemma3Text } from "./gemma3.ts";
import { gemma4Text } from "./gemma4_text.ts";
import { glm, glm4 } from "./glm.ts";
import { gptBigcode } from "./gpt_bigcode.ts";
import { gptNeo } from "./gpt_neo.ts";
import { gptNeox } from "./gpt_neox.ts";
import { gptOss } from "./gpt_oss.ts";
import { gpt2 } from "./gpt2.ts";
import { gptj } from "./gptj.ts";
import { granite } from "./granite.ts";
import { graniteSwa } from "./granite_swa.ts";
import { graniteMoe, graniteMoeShared } from "./granitemoe.ts";
import { graniteMoeHybrid } from "./granitemoehybrid.ts";
import { helium } from "./helium.ts";
import { hunyuanV1Dense } from "./hunyuan_v1_dense.ts";
import { hunyuanV1Moe } from "./hunyuan_v1_moe.ts";
import { hyperclovax } from "./hyperclovax.ts";
import { internlm2 } from "./internlm2.ts";
import { jais2 } from "./jais2.ts";
import { llama } from "./llama.ts";
import { llama4Text } from "./llama4.ts";
import { minimaxM2 } from "./minimax_m2.ts";
import { ministral } from "./ministral.ts";
import { ministral3 } from "./ministral3.ts";
import { mistral } from "./mistral.ts";
import { mixtral } from "./mixtral.ts";
import { modernbertDecoder } from "./modernbert-decoder.ts";
import { mpt } from "./mpt.ts";
import { nanochat } from "./nanochat.ts";
import { nemotron } from "./nemotron.ts";
import { olmo } from "./olmo.ts";
import { olmo2 } from "./olmo2.ts";
import { olmo3 } from "./olmo3.ts";
import { flexOlmo, olmoe } from "./olmoe.ts";
import { openaiGpt } from "./openai-gpt.ts";
import { opt } from "./opt.ts";
import { otherKind } from "./other-kinds.ts";
import { persimmon } from "./persimmon.ts";
import { phi } from "./phi.ts";
import { phi3 } from "./phi3.ts";
import { phimoe } from "./phimoe.ts";
import { qwen2Moe, qwen3Moe } from "./qwen_moe.ts";
import { qwen2Vl, qwen3Vl, qwen25Vl } from "./qwen_vl.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";
import { seedOss } from "./seed_oss.ts";
import { smollm3 } from "./smollm3.ts";
import { stablelm } from "./stablelm.ts";
import { starcoder2 } from "./starcoder2.ts";
import { textModel } from "./text-model.ts";
import { vaultgemma } from "./vaultgemma.ts";
import { xglm } from "./xglm.ts";

/** Every `model_type` superlens runs. */
export const FAMILIES: ReadonlyMap<string, Family> = new Map<string, Family>([
  ["bloom", bloom],
  ["cohere", cohere],
  ["custom", custom],
  ["deepseek_v2", deepseekV2],
  ["deepseek_v3", deepseekV3],
  ["dots1", dots1],
  ["ernie4_5_moe", ernie45Moe],
  ["falcon", falcon],
  ["flex_olmo", flexOlmo],
  ["gemma", gemma],
  ["gemma2", gemma2],
  ["gemma3", gemma3],
  ["gemma3_text", gemma3Text],
  ["gemma4_text", gemma4Text],
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
  ["llama4_text", llama4Text],
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
  ["olmo", olmo],
  ["nemotron", nemotron],
  ["apertus", apertus],
  ["arcee", arcee],
  ["jais2", jais2],
  ["persimmon", persimmon],
  ["hunyuan_v1_dense", hunyuanV1Dense],
  ["hunyuan_v1_moe", hunyuanV1Moe],
  ["ministral3", ministral3],
  ["nanochat", nanochat],
  ["starcoder2", starcoder2],
  ["xglm", xglm],
  ["openai-gpt", openaiGpt],
  ["biogpt", biogpt],
  ["codegen", codegen],
  ["cohere2", cohere2],
  ["cwm", cwm],
  ["ernie4_5", ernie45],
  ["exaone4", exaone4],
  ["glm", glm],
  ["glm4", glm4],
  ["gpt_bigcode", gptBigcode],
  ["granitemoehybrid", graniteMoeHybrid],
  ["helium", helium],
  ["hyperclovax", hyperclovax],
  ["internlm2", internlm2],
  ["ministral", ministral],
  ["modernbert-decoder", modernbertDecoder],
  ["mpt", mpt],
  ["olmo3", olmo3],
  ["qwen2_vl", qwen2Vl],
  ["qwen2_5_vl", qwen25Vl],
  ["qwen3_vl", qwen3Vl],
  ["seed_oss", seedOss],
  ["vaultgemma", vaultgemma],
  ["gemma4", (config) => textModel(config, "gemma4", { family: textFamily("gemma4_text"), tied: true })],
  ["llama4", (config) => textModel(config, "llama4", { family: textFamily("llama4_text") })],
  ["llava", (config) => textModel(config, "llava", { family: textFamily("llama") })],
  ["mistral3", (config) => textModel(config, "mistral3", { family: textFamily("mistral"), tied: true })],
]);

/** The family of a text model of any type; of a type that is usual where the config names none. */
const textFamily =
  (usual: string) =>
  (type = usual) =>
    familyOf(type);

/** Families that do not read `is_causal`, or read it elsewhere: gpt_neo's mask is a part of the model. */
const OWN_CAUSALITY: ReadonlySet<string> = new Set([
  ...["custom", "gemma3", "gemma4_text", "gpt_neo"],
  ...["gemma4", "llama4", "llava", "mistral3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"],
]);

/** The family of a type, `is_causal` obeyed. */
function familyOf(modelType: string): Family | undefined {
  const family = FAMILIES.get(modelType);
  if (!family || OWN_CAUSALITY.has(modelType)) return family;
  return (config) => withCausality(config, family(config));
}

/**
 * The spec of a model, from the parsed contents of its `config.json`; `label` is the file's name, for messages.
 * Throws `ConfigError`: unknown `model_type`, a missing or wrong setting, or one that is not supported, by name.
 */
export function specFromConfig(config: unknown, label: string): ModelSpec {
  const reader = withoutQuantization(ConfigReader.from(config, label), config, label);
  const modelType = reader.text("model_type");
  const family = familyOf(modelType);
  if (!family) throw unknownType(modelType, label);
  reader.requireFixed(FIXED_EVERYWHERE);
  return validateSpec(family(reader), label);
}

/** How weights are quantised changes nothing but where they come from: `dequantized` obeys it. What it does not obey is refused. */
function withoutQuantization(reader: ConfigReader, config: unknown, label: string): ConfigReader {
  return readQuantization(config, label) ? reader.set("quantization_config", undefined) : reader;
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
