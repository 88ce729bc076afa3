/** Which settings make attention look both ways, and settings that change nothing where they are. */
import { describe, expect, it } from "vitest";
import { specFromConfig } from "../../src/model/families/index.ts";
import { type Config, edited, fixtureConfig } from "./fixtures.ts";

const spec = (config: Config) => specFromConfig(config, "config.json");

describe("keys that a family does not read", () => {
  it.each<[string, string, Config]>([
    ["clip_qkv", "olmo2", { clip_qkv: 8 }],
    ["another name of a size", "llama", { n_embd: 64, n_layer: 7, n_head: 2 }],
    ["another name of eps", "gpt2", { layer_norm_eps: 0.1, rms_norm_eps: 0.1, norm_eps: 0.1 }],
    ["a soft cap that gemma3 does not apply", "gemma3", { attn_logit_softcapping: 1 }],
    ["the share of a whole head", "llama", { partial_rotary_factor: 0.5 }],
    ["what another type of RoPE reads", "llama", { rope_parameters: { rope_theta: 10000, factor: 4, alpha: 1000 } }],
    ["is_causal of gpt_neo", "gpt_neo", { is_causal: false }],
  ])("%s has no effect", (_, fixture, changes) => {
    expect(spec(edited(fixture, changes))).toEqual(spec(fixtureConfig(fixture)));
  });
});

describe("attention that looks both ways", () => {
  it("is_causal looks both ways, a key further through a window", () => {
    const { attention, layers } = spec(edited("mistral", { is_causal: false, sliding_window: 5 }));
    expect(attention.causal).toBe(false);
    expect(layers.map(({ window }) => window)).toEqual([6, 6, 6]);
    expect(spec(edited("llama", { is_causal: null })).attention.causal).toBe(false);
  });

  it("use_bidirectional_attention halves gemma3's window, and is another family's key in gemma2", () => {
    const { attention, layers } = spec(edited("gemma3", { use_bidirectional_attention: true, sliding_window: 6 }));
    expect(attention.causal).toBe(false);
    expect(layers[0]?.window).toBe(4);
    expect(spec(edited("gemma2", { use_bidirectional_attention: true }))).toEqual(spec(fixtureConfig("gemma2")));
  });
});
