/** A graph in words and as a drawing: what is printed of one block is what tracing, fusion and placing made of it. */
import { describe, expect, it } from "vitest";
import { graphText, type LogitRows } from "../../src/cli/show-graph.ts";
import { callText, describeGraph, fusedNames, graphLines, type OpText } from "../../src/graph/describe.ts";
import { drawSection } from "../../src/graph/draw.ts";
import { GraphBuilder } from "../../src/graph/graph.ts";
import { place } from "../../src/graph/place.ts";
import { ADD } from "../../src/ops/add.ts";
import { ACTIVATION } from "../../src/ops/elementwise.ts";
import { EMBED } from "../../src/ops/embed.ts";
import { FAMILIES } from "../support/fixtures.ts";
import { fixture } from "./support.ts";

const GPT2_BEFORE = `
  %3 = normScale(%2; ln1)                [row, 1]                             blocks.0.ln1.hook_scale
  %4 = normalize(%2, %3; ln1)            [row, 32]                            blocks.0.ln1.hook_normalized
  %5 = affine(%4; ln1)                   [row, 32]                            blocks.0.attn.hook_in
  %6, %7, %8 = matmul(%5; qkv, qkvBias)  [row, 4, 8] [row, 4, 8] [row, 4, 8]  blocks.0.attn.hook_q, blocks.0.attn.hook_k, blocks.0.attn.hook_v
  %9, %10 = store(%7, %8)                [row, 4, 8] [row, 4, 8]
  %11 = scores(%6, %9)                   [row, 4, key]                        blocks.0.attn.hook_attn_scores
  %12 = softmax(%11)                     [row, 4, key]                        blocks.0.attn.hook_pattern
  %13 = mix(%12, %10)                    [row, 4, 8]                          blocks.0.attn.hook_z
  %14 = headResults(%13; W_O)            [row, 4, 32]                         blocks.0.attn.hook_result
  %15 = sumHeads(%14; b_O)               [row, 32]                            blocks.0.attn.hook_out, blocks.0.hook_attn_out
  %16 = add(%2, %15)                     [row, 32]                            blocks.0.hook_resid_mid
  %17 = normScale(%16; ln2)              [row, 1]                             blocks.0.ln2.hook_scale
  %18 = normalize(%16, %17; ln2)         [row, 32]                            blocks.0.ln2.hook_normalized
  %19 = affine(%18; ln2)                 [row, 32]                            blocks.0.mlp.hook_in
  %20 = matmul(%19; W_in, b_in)          [row, 128]                           blocks.0.mlp.hook_pre
  %21 = activation(%20)                  [row, 128]                           blocks.0.mlp.hook_post
  %22 = matmul(%21; W_out, b_out)        [row, 32]                            blocks.0.mlp.hook_out, blocks.0.hook_mlp_out
  %23 = add(%16, %22)                    [row, 32]                            blocks.0.hook_resid_post, blocks.1.hook_resid_pre
`;

const GPT2_AFTER = `
  %5 = norm(%2; ln1)                      in slot 1                              is normScale + normalize + affine
  %6, %9, %10 = matmul(%5; qkv, qkvBias)  in slot 2, cache, cache  frees slot 1  is matmul + store
  %13 = attention(%6, %9, %10)            in slot 5                frees slot 2  is scores + softmax + mix
  %16 = matmul(%13, %2; W_O, b_O)         in slot 0                frees slot 5  is headResults + sumHeads + add
  %19 = norm(%16; ln2)                    in slot 6                              is normScale + normalize + affine
  %21 = matmul(%19; W_in, b_in)           in slot 7                frees slot 6  is matmul + activation
  %23 = matmul(%21, %16; W_out, b_out)    in slot 0                frees slot 7  is matmul + add
`;

const LLAMA_BEFORE = `
  %1 = normScale(%0; ln1)         [row, 1]                             blocks.0.ln1.hook_scale
  %2 = normalize(%0, %1; ln1)     [row, 32]                            blocks.0.ln1.hook_normalized
  %3 = affine(%2; ln1)            [row, 32]                            blocks.0.attn.hook_in
  %4, %5, %6 = matmul(%3; qkv)    [row, 4, 8] [row, 2, 8] [row, 2, 8]  blocks.0.attn.hook_q, blocks.0.attn.hook_k, blocks.0.attn.hook_v
  %7 = rope(%4)                   [row, 4, 8]                          blocks.0.attn.hook_rot_q
  %8 = rope(%5)                   [row, 2, 8]                          blocks.0.attn.hook_rot_k
  capture(%8)                                                          blocks.0.attn.hook_rot_k
  %9, %10 = store(%8, %6)         [row, 2, 8] [row, 2, 8]
  %11 = scores(%7, %9)            [row, 4, key]                        blocks.0.attn.hook_attn_scores
  %12 = softmax(%11)              [row, 4, key]                        blocks.0.attn.hook_pattern
  %13 = mix(%12, %10)             [row, 4, 8]                          blocks.0.attn.hook_z
  %14 = headResults(%13; W_O)     [row, 4, 32]                         blocks.0.attn.hook_result
  %15 = sumHeads(%14)             [row, 32]                            blocks.0.attn.hook_out, blocks.0.hook_attn_out
  %16 = add(%0, %15)              [row, 32]                            blocks.0.hook_resid_mid
  %17 = normScale(%16; ln2)       [row, 1]                             blocks.0.ln2.hook_scale
  %18 = normalize(%16, %17; ln2)  [row, 32]                            blocks.0.ln2.hook_normalized
  %19 = affine(%18; ln2)          [row, 32]                            blocks.0.mlp.hook_in
  %20 = matmul(%19; W_gate)       [row, 64]                            blocks.0.mlp.hook_pre
  %21 = activation(%20)           [row, 64]
  %22 = matmul(%19; W_in)         [row, 64]                            blocks.0.mlp.hook_pre_linear
  %23 = multiply(%21, %22)        [row, 64]                            blocks.0.mlp.hook_post
  %24 = matmul(%23; W_out)        [row, 32]                            blocks.0.mlp.hook_out, blocks.0.hook_mlp_out
  %25 = add(%16, %24)             [row, 32]                            blocks.0.hook_resid_post, blocks.1.hook_resid_pre
`;

/** The captured keys are rotated and stored apart; without the capture the three are one `ropeStore`. */
const LLAMA_AFTER = `
  %3 = norm(%0; ln1)             in slot 1                                                       is normScale + normalize + affine
  %4, %5, %6 = matmul(%3; qkv)   in slot 2 from 0, slot 2 from 32, slot 2 from 48  frees slot 1
  %7 = rope(%4)                  in slot 2 from 0
  %8 = rope(%5)                  in slot 2 from 32
  capture(%8)                                                                                    blocks.0.attn.hook_rot_k
  %9, %10 = store(%8, %6)        in cache, cache
  %13 = attention(%7, %9, %10)   in slot 5                                         frees slot 2  is scores + softmax + mix
  %16 = matmul(%13, %0; W_O)     in slot 0                                         frees slot 5  is headResults + sumHeads + add
  %19 = norm(%16; ln2)           in slot 6                                                       is normScale + normalize + affine
  %21 = matmul(%19; W_gate)      in slot 7                                                       is matmul + activation
  %23 = matmul(%19, %21; W_in)   in slot 7                                         frees slot 6  is matmul + multiply
  %25 = matmul(%23, %16; W_out)  in slot 0                                         frees slot 7  is matmul + add
`;

async function textOf(family: string, capture: readonly string[] = [], rows?: LogitRows) {
  const { spec } = await fixture(family);
  return graphText(spec, capture, rows);
}

const DROPPED = "only the rows that give logits";
const JOINED = "more rows join";
/** What changes the rows, by section. */
const changesOf = (ops: readonly OpText[]) => ops.flatMap((op) => (op.rows ? [[op.section, op.op, op.rows]] : []));

describe("a block in words", () => {
  it.each([
    ["gpt2", [], GPT2_BEFORE, GPT2_AFTER],
    ["llama", ["blocks.0.attn.hook_rot_k"], LLAMA_BEFORE, LLAMA_AFTER],
  ])("of %s, with captures of %j", async (family, capture, before, after) => {
    const text = await textOf(family, capture);
    const lines = graphLines(text, [0]);
    const end = lines.findIndex((line) => line.startsWith("after"));
    expect(`\n${lines.slice(3, end - 1).join("\n")}\n`).toBe(before);
    expect(`\n${lines.slice(end + 3).join("\n")}\n`).toBe(after);
  });

  it("says that q and k are rotated and stored at once when nobody looks", async () => {
    const { traced, placed } = await textOf("llama");
    const [store] = placed.filter(({ op }) => op === "ropeStore");
    expect(store && fusedNames(store, traced)).toEqual(["rope", "rope", "store"]);
  });

  it("calls a copy of a value by its name and a prime", () => {
    const build = new GraphBuilder();
    const table = { table: { name: "W_E" }, width: 4, by: "token", offset: 0, scale: 1 } as const;
    const x = build.one(EMBED, [], table, undefined, 0);
    const activated = build.one(ACTIVATION, [x], { activation: "relu" });
    const graph = { ops: build.ops, output: build.one(ADD, [x, activated], { scale: 1 }) };
    const { placed } = describeGraph(graph, place(graph), () => true);
    expect(placed.map(callText)).toEqual([
      "%0 = embed(; W_E)",
      "%0' = copy(%0)",
      "%1 = activation(%0')",
      "%2 = add(%0, %1)",
    ]);
    expect(placed.map(({ fuses }) => fuses)).toEqual([[0], [], [1], [2]]);
  });

  it.each(FAMILIES)("of %s has every op of the graph in exactly one that runs", async (family) => {
    const forms = [[[]], [["*"]], [[], "last"], [["*"], "last"], [[], "sweep"]] as const;
    for (const [capture, rows] of forms) {
      const { traced, placed } = await textOf(family, capture, rows);
      const indices = placed.flatMap(({ fuses }) => fuses).sort((a, b) => a - b);
      expect(indices).toEqual(traced.map((_, index) => index));
    }
  });
});

describe("rows", () => {
  it.each<[string, LogitRows, string[], unknown[]]>([
    // The residual and the queries; in parallel blocks also what the MLP reads.
    ["gpt2", "last", [], [2, 2].map((block) => [block, "select", DROPPED])],
    ["gptj", "last", [], [2, 2, 2].map((block) => [block, "select", DROPPED])],
    ["gpt2", "last", ["blocks.2.hook_resid_post"], [["unembedding", "select", DROPPED]]],
    ["gpt2", "last", ["blocks.1.hook_resid_post"], [2, 2].map((block) => [block, "select", DROPPED])],
    ["gpt2", "all", [], []],
    [
      "gpt2",
      "sweep",
      [],
      [[1, "join", JOINED], [2, "join", JOINED], ...[2, 2].map((block) => [block, "select", DROPPED])],
    ],
  ])(
    "of %s that give logits, %s, with captures of %j, are told before and after",
    async (family, rows, capture, expected) => {
      const text = await textOf(family, capture, rows);
      expect(changesOf(text.traced)).toEqual(expected);
      expect(changesOf(text.placed)).toEqual(expected);
      const lines = graphLines(text, [...new Set(text.traced.map(({ section }) => section))]);
      expect(lines.filter((line) => /rows (that|join)/.test(line)).length).toBe(2 * expected.length);
    },
  );

  it("are marked in the drawing", async () => {
    const svg = drawSection(await textOf("gpt2", [], "last"), 2, "gpt2");
    expect(svg.match(/<rect class="rows"/g)?.length).toBe(4);
    expect(svg).toContain(`[output row, 32]; ${DROPPED}`);
    expectWellFormed(svg);
  });
});

describe("a block as a drawing", () => {
  it.each(FAMILIES)("of %s is well-formed XML that names every op", async (family) => {
    const text = await textOf(family, ["blocks.0.attn.hook_pattern"]);
    const svg = drawSection(text, 0, family);
    expectWellFormed(svg);
    const titles = [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, title]) => title);
    for (const op of [...text.traced, ...text.placed].filter(({ section }) => section === 0)) {
      expect(titles).toContain(callText(op));
    }
  });

  it("escapes what XML would read", async () => {
    const svg = drawSection(await textOf("gpt2"), 0, "a<b & c>");
    expectWellFormed(svg);
    expect(svg).toContain("a&lt;b &amp; c&gt;, block 0");
  });
});

/** Every element that begins ends, in order; no stray `<` or `&`. */
function expectWellFormed(svg: string): void {
  const open: string[] = [];
  const rest = svg.replace(
    /<(\/?)([a-z]+)((?: [\w:-]+="[^"<&]*")*)(\/?)>/gi,
    (_, closes, name, _attributes, isWhole) => {
      if (closes) expect(open.pop()).toBe(name);
      else if (!isWhole) open.push(name);
      return "";
    },
  );
  expect(open).toEqual([]);
  expect(rest).not.toMatch(/<|&(?!(amp|lt|gt);)/);
}
