/** The text model of a checkpoint for pictures and text: its config stands in `text_config`, and its tensors one level deeper. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { type Family, FIXED_EVERYWHERE } from "./common.ts";

export interface TextModelOptions {
  /** The family of the text model, `is_causal` obeyed; its `model_type` is given where `text_config` has one. */
  family: (modelType: string | undefined) => Family | undefined;
  /** Whether older configs have the text model's settings beside the others. */
  isFlat?: boolean;
  /** transformers' default for the outer `tie_word_embeddings`; the inner one where there is none. */
  tied?: boolean;
}

/**
 * The spec of a text model in a config of `modelType`.
 * @throws ConfigError `config/unsupported` for a text model of a type that no family runs
 */
export function textModel(
  config: ConfigReader,
  modelType: string,
  { family, isFlat = false, tied }: TextModelOptions,
): ModelSpec {
  const text = config.child("text_config") ?? (isFlat ? config : config.empty("text_config"));
  text.requireFixed(FIXED_EVERYWHERE);
  const type = text === config ? undefined : text.nullableText("model_type");
  const read = family(type);
  if (!read) return text.refuse("model_type", "is no text model that superlens runs");
  const isTied = config.value("tie_word_embeddings") ?? tied ?? text.value("tie_word_embeddings");
  const inner = isTied === undefined ? text : text.set("tie_word_embeddings", isTied);
  return { ...read(inner), family: modelType };
}
