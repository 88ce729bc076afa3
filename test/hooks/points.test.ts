/** Which points each family has, which names and patterns find them, and what is said of those that find none. */
import { describe, expect, it } from "vitest";
import { POINT_KINDS, pointTable, resolvePoints } from "../../src/hooks/index.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import { FAMILIES, fixtureFiles } from "../support/fixtures.ts";
import { failureOf } from "./support.ts";

const specOf = async (family: string): Promise<ModelSpec> =>
  specFromConfig((await fixtureFiles(family)).config, family);

const LN1 = ["ln1.hook_scale", "ln1.hook_normalized"];
const LN2 = ["ln2.hook_scale", "ln2.hook_normalized"];
const POST = ["ln1_post", "ln2_post"].flatMap((norm) => [`${norm}.hook_scale`, `${norm}.hook_normalized`]);
const HAS_POST_NORMS = ["gemma2", "gemma3", "olmo2"];
/** What the MLP reads in a parallel block is ready before attention runs. */
const MLP_INPUT = ["hook_mlp_in", ...LN2, "mlp.hook_in"];
const ROTATED = ["attn.hook_rot_q", "attn.hook_rot_k"];
const GATE = ["mlp.hook_pre_linear"];
const MIDDLE = ["hook_resid_mid"];

/** What blocks with experts have in place of the hidden layer of one MLP, and blocks with embeddings of their own besides. */
const OF_EXPERTS = POINT_KINDS.flatMap(({ name }) =>
  /hook_(router|expert|shared|per_layer)_/.test(name) ? [name.slice(11)] : [],
);

/** What latent attention has besides. */
const OF_LATENT = ["attn.hook_q_latent", "attn.hook_kv_latent"];

/** The points of a block that a family lacks; `hook_pos_embed` is listed apart. */
const ABSENT: Record<string, readonly string[]> = {
  bloom: [...ROTATED, ...GATE],
  cohere: [...LN2, ...MIDDLE],
  falcon: [...LN2, ...MIDDLE, ...GATE],
  gemma: [],
  gemma2: [],
  gemma3: [],
  gpt2: [...ROTATED, ...GATE],
  gpt_neo: [...ROTATED, ...GATE],
  gpt_neox: [...MIDDLE, ...GATE],
  gpt_neox_sequential: GATE,
  gptj: [...LN2, ...MIDDLE, ...GATE],
  granite: [],
  llama: [],
  llama3_rope: [],
  mistral: [],
  olmo2: [...LN1, ...LN2],
  opt: [...ROTATED, ...GATE],
  phi: [...LN2, ...MIDDLE, ...GATE],
  phi3: [],
  qwen2: [],
  qwen3: [],
  smollm3: [],
  stablelm: [],
  starcoder2: GATE,
};

const HAS_POSITION_EMBEDDING = ["gpt2", "gpt_neo", "opt"];

describe("the table", () => {
  it("speaks of every family", () => expect(Object.keys(ABSENT)).toEqual(FAMILIES));

  it.each(FAMILIES)("lists the points of %s in the order of the forward pass", async (family) => {
    const spec = await specOf(family);
    const inBlock = (layer: number) => {
      const lacking = [
        ...OF_EXPERTS,
        ...OF_LATENT,
        ...(ABSENT[family] as string[]),
        ...(HAS_POST_NORMS.includes(family) ? [] : POST),
        ...(family === "smollm3" && layer === 2 ? ROTATED : []),
      ];
      const names = POINT_KINDS.flatMap(({ name }) =>
        name.startsWith("blocks.") && !lacking.includes(name.slice(11)) ? name.slice(11) : [],
      );
      const isEarly = (name: string) => !names.includes("hook_resid_mid") && MLP_INPUT.includes(name);
      const early = names.filter(isEarly);
      const at = names.indexOf("hook_q_input");
      const ordered = [...names.slice(0, at), ...early, ...names.slice(at).filter((name) => !isEarly(name))];
      return ordered.map((name) => `blocks.${layer}.${name}`);
    };
    const expected = [
      "hook_embed",
      ...(HAS_POSITION_EMBEDDING.includes(family) ? ["hook_pos_embed"] : []),
      ...(family === "bloom" ? ["embed.ln.hook_scale", "embed.ln.hook_normalized"] : []),
      ...spec.layers.flatMap((_, layer) => inBlock(layer)),
      "ln_final.hook_scale",
      "ln_final.hook_normalized",
      "logits",
    ];
    expect([...pointTable(spec).keys()]).toEqual(expected);
    expect([...pointTable(spec).values()].map(({ order }) => order)).toEqual(expected.map((_, index) => index));
  });

  it("has no points of what a model leaves out", async () => {
    const spec = await specOf("llama");
    const bare: ModelSpec = { ...spec, norm: { ...spec.norm, kind: "none" }, mlp: { ...spec.mlp, absent: true } };
    const names = [...pointTable(bare).keys()].filter(
      (name) => !name.startsWith("blocks.1") && !name.startsWith("blocks.2"),
    );
    expect(names.filter((name) => /ln|mlp/.test(name))).toEqual([]);
    expect(names).toContain("blocks.0.hook_resid_mid");
  });
});

describe("patterns", () => {
  const find = async (pattern: Parameters<typeof resolvePoints>[1]) =>
    resolvePoints(await specOf("llama"), pattern).map(({ name }) => name);

  it.each([
    ["a name", "blocks.1.hook_resid_post", ["blocks.1.hook_resid_post"]],
    [
      "a star",
      "blocks.*.hook_resid_post",
      ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.2.hook_resid_post"],
    ],
    ["several stars", "*.1.*rot*", ["blocks.1.attn.hook_rot_q", "blocks.1.attn.hook_rot_k"]],
    ["a regular expression", /^blocks\.[12]\.attn\.hook_z$/, ["blocks.1.attn.hook_z", "blocks.2.attn.hook_z"]],
    ["a global regular expression, which keeps no place", /hook_embed/g, ["hook_embed"]],
    ["a function", (name: string) => name.startsWith("ln_final"), ["ln_final.hook_scale", "ln_final.hook_normalized"]],
    ["a list, each point once and in order", ["logits", "*embed", /embed/], ["hook_embed", "logits"]],
    ["a dot as a dot", ["blocks.2.hook_mlp_out"], ["blocks.2.hook_mlp_out"]],
  ])("finds by %s", async (_, pattern, expected) => expect(await find(pattern)).toEqual(expected));

  it.each<[string, string, Parameters<typeof resolvePoints>[1], RegExp]>([
    [
      "llama",
      "a typing error",
      "blocks.0.hook_resid_pst",
      /"blocks\.0\.hook_resid_pst" matches no point of this llama model\. Nearest: blocks\.0\.hook_resid_post, /,
    ],
    [
      "llama",
      "a dot that stands for no other character",
      "blocks.0.hook.resid_pre",
      /Nearest: blocks\.0\.hook_resid_pre,/,
    ],
    ["llama", "a pattern", "blocks.*.hook_resid_pots", /"blocks\.\*\.hook_resid_pots" matches no point/],
    [
      "llama",
      "a regular expression",
      /^blocks\.1\.hook_atn_out$/,
      /\/\^blocks.*\$\/ matches no point of this llama model\. Nearest: blocks\.1\.hook_attn_out,/,
    ],
    ["llama", "a function", () => false, /matches no point of this llama model\.$/],
    ["llama", "one of several", ["logits", "lo"], /"lo" matches no point/],
    ["llama", "a block that is not there", "blocks.3.hook_resid_pre", /names no point: llama has blocks 0 to 2\./],
    [
      "llama",
      "positions that are not learned",
      "hook_pos_embed",
      /"hook_pos_embed" does not exist in this llama model: it needs positions that are added\. `model\.pointNames/,
    ],
    [
      "gptj",
      "the middle of a parallel block",
      "blocks.0.hook_resid_mid",
      /does not exist in this gptj model: it needs attention before the MLP, not beside it\./,
    ],
    [
      "gptj",
      "the second norm of a block with one",
      "blocks.*.ln2.hook_scale",
      /does not exist in this gptj model: it needs a norm of its own before the MLP\./,
    ],
    ["olmo2", "the first norm of a post-norm block", "blocks.0.ln1.hook_normalized", /needs a norm before attention\./],
    ["llama", "a norm after attention", "blocks.0.ln1_post.hook_scale", /needs a norm after attention\./],
    ["gpt2", "a rotation", "blocks.0.attn.hook_rot_q", /needs RoPE in the layer\./],
    ["gpt2", "a gate", "blocks.0.mlp.hook_pre_linear", /needs a gated MLP\./],
    ["smollm3", "a rotation in the layer that has none", "blocks.2.attn.hook_rot_k", /needs RoPE in the layer\./],
  ])("of %s: refuses %s", async (family, _, pattern, message) => {
    const spec = await specOf(family);
    const failure = await failureOf(() => resolvePoints(spec, pattern));
    expect(failure).toMatch(/^HookError hook\/no-such-point: /);
    expect(failure).toMatch(message);
  });
});
