/** A model type without a family is named for what it is, and taken for a misspelt one only where it looks like that. */
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/errors.ts";
import { FAMILIES, specFromConfig } from "../../src/model/families/index.ts";
import { otherKind } from "../../src/model/families/other-kinds.ts";

function failure(type: string): ConfigError {
  try {
    specFromConfig({ model_type: type }, "config.json");
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return error as ConfigError;
  }
  throw new Error("expected a ConfigError");
}

describe("an unknown model type", () => {
  it.each<[string, string]>([
    ["brain", "is not known. Supported: bloom, cohere, custom, deepseek_v2"],
    ["lama", 'Did you mean "llama"?'],
    ["GPT-NeoX", 'Did you mean "gpt_neox"?'],
    ["dbrx", '"dbrx" is a mixture of experts'],
    ["t5", '"t5" is an encoder-decoder'],
    ["bert", '"bert" is an encoder,'],
    ["mamba", '"mamba" is a state-space'],
    ["idefics3", '"idefics3" is a model of pictures'],
    ["baichuan", "no family for yet. Supported: bloom"],
  ])("%s: %s", (type, message) => {
    const { code, message: text } = failure(type);
    expect(code).toBe("config/unknown-model-type");
    expect(text).toContain(message);
  });

  it.each(["exaone", "gpt3", "gemma3n", "cohere2_vision", "opt-iml", "pixtral", "xyz"])(
    "%s suggests no other family",
    (type) => {
      expect(failure(type).message).not.toContain("Did you mean");
    },
  );

  it("is no family", () => {
    for (const type of FAMILIES.keys()) expect(otherKind(type), type).toBeUndefined();
  });
});
