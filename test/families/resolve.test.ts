/** Tensor names as they occur in published checkpoints, against the name a family gives. */
import { describe, expect, it } from "vitest";
import { specFromConfig } from "../../src/model/families/index.ts";
import { resolveTensorName, resolveWeight } from "../../src/model/families/resolve.ts";
import { fixtureConfig } from "./fixtures.ts";

const among =
  (...names: string[]) =>
  (name: string) =>
    names.includes(name);

describe("resolveTensorName", () => {
  it.each([
    ["transformer.h.0.ln_1.weight", "transformer.h.0.ln_1.weight"],
    ["transformer.h.0.ln_1.weight", "h.0.ln_1.weight"],
    ["gpt_neox.embed_in.weight", "embed_in.weight"],
    ["model.decoder.layers.0.fc1.weight", "decoder.layers.0.fc1.weight"],
    ["model.norm.weight", "language_model.model.norm.weight"],
    ["model.norm.weight", "model.language_model.norm.weight"],
    ["lm_head.weight", "language_model.lm_head.weight"],
    ["ln_f.weight", "transformer.ln_f.weight"],
  ])("%s is found as %s", (name, stored) => {
    expect(resolveTensorName(name, among(stored))).toBe(stored);
  });

  it("prefers the name as it is", () => {
    const has = among("norm.weight", "model.norm.weight");
    expect(resolveTensorName("model.norm.weight", has)).toBe("model.norm.weight");
    expect(resolveTensorName("norm.weight", has)).toBe("norm.weight");
  });

  it("gives undefined for a tensor that is not there", () => {
    expect(
      resolveTensorName("model.norm.weight", among("model.norm.bias", "vision_tower.norm.weight")),
    ).toBeUndefined();
  });
});

describe("the embedding and the head", () => {
  const tied = specFromConfig(fixtureConfig("llama"), "llama");
  const untied = specFromConfig(fixtureConfig("mistral"), "mistral");
  const neox = specFromConfig(fixtureConfig("gpt_neox"), "gpt_neox");
  const phi = specFromConfig(fixtureConfig("phi"), "phi");
  const E = "model.embed_tokens.weight";

  it.each([
    ["tied, both stored: the embedding is used for both", tied, [E, "lm_head.weight"], E, E],
    ["tied, only the head stored", tied, ["lm_head.weight"], "lm_head.weight", "lm_head.weight"],
    ["untied", untied, [E, "lm_head.weight"], E, "lm_head.weight"],
    ["untied, head missing", untied, [E], E, undefined],
    ["untied, embedding missing", untied, ["lm_head.weight"], undefined, "lm_head.weight"],
    ["gpt_neox, new head name", neox, ["lm_head.weight"], undefined, "lm_head.weight"],
  ] as const)("%s", (_, spec, stored, embedding, unembedding) => {
    const has = among(...stored);
    expect(resolveWeight(spec, "embed.W_E", 0, has)).toBe(embedding);
    expect(resolveWeight(spec, "unembed.W_U", 0, has)).toBe(unembedding);
  });

  it("finds the head's bias", () => {
    expect(resolveWeight(phi, "unembed.b_U", 0, among("lm_head.bias"))).toBe("lm_head.bias");
    expect(resolveWeight(phi, "unembed.b_U", 0, among("embed_out.bias"))).toBe("embed_out.bias");
    expect(resolveWeight(tied, "unembed.b_U", 0, among("lm_head.bias"))).toBeUndefined();
  });
});
