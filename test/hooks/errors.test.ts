/** What cannot be done is refused before anything runs: the code, and what the message says. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ActivationCache,
  type CacheEntry,
  type Edit,
  type HookedForwardOptions,
  type HookedModel,
  metric,
  NdArray,
  type SweepOptions,
} from "../../src/hooks/index.ts";
import type { ModelInput } from "../../src/model/input.ts";
import { newGpu } from "../support/gpu.ts";
import { failureOf, hooked, logitsOf } from "./support.ts";

const IDS = [
  [5, 6, 7, 8],
  [9, 10],
];
const RESIDUAL = "blocks.1.hook_resid_pre";
const Z = "blocks.1.attn.hook_z";
const PATTERN = "blocks.1.attn.hook_pattern";

let model: HookedModel;
let gemma: HookedModel;
let cache: ActivationCache;

beforeAll(async () => {
  [model, gemma] = await Promise.all([hooked("llama"), hooked("gemma")]);
  cache = (await model.forward([1, 2, 3], { capture: "*" })).cache;
});

afterAll(() => {
  cache.destroy();
  for (const each of [model, gemma]) each.destroy();
});

const edit = (changes: Partial<Edit>): Edit => ({ at: RESIDUAL, op: "set", value: 1, ...changes });

describe("an edit", () => {
  it.each<[string, Partial<Edit>, string, RegExp]>([
    ["at no point", { at: "blocks.9.hook_z" }, "no-such-point", /"blocks\.9\.hook_z" matches no point/],
    ["without the value it needs", { value: undefined }, "no-value", /\(set\): it needs a value/],
    ["with a value it has no use for", { op: "zero" }, "no-value", /\(zero\): it takes no value/],
    ["without alpha", { op: "lerp" }, "no-alpha", /it needs alpha/],
    ["with an idle alpha", { alpha: 2 }, "no-alpha", /it takes no alpha; only lerp and add do/],
    [
      "with an expression without its value",
      { op: "wgsl", expression: "x * v", value: undefined },
      "no-value",
      /reads v/,
    ],
    [
      "with an expression that does not read the value",
      { op: "wgsl", expression: "x * 2.0" },
      "no-value",
      /not read v/,
    ],
    ["without an expression", { op: "wgsl" }, "expression", /an expression goes with the op wgsl/],
    ["with an idle expression", { expression: "x" }, "expression", /an expression goes with the op wgsl/],
    [
      "with statements for an expression",
      { op: "wgsl", expression: "x; discard" },
      "expression",
      /"x; discard" is not a single WGSL expression/,
    ],
    ["of no rows", { batch: [] }, "empty-selection", /batch is empty\. Leave it out to select all/],
    ["of no positions", { positions: [] }, "empty-selection", /positions is empty/],
    ["of no heads", { at: Z, heads: [] }, "empty-selection", /heads is empty/],
    ["of no dims", { dims: [] }, "empty-selection", /dims is empty/],
    [
      "of a key that is not seen",
      { at: PATTERN, positions: [0], dims: [1] },
      "empty-selection",
      /none of the selected queries sees key 1/,
    ],
    ["of a row too many", { batch: [2] }, "batch-range", /there is no batch entry 2; they go from 0 to 1/],
    ["of a negative row", { batch: [-1] }, "batch-range", /there is no batch entry -1/],
    [
      "of a position that only one row has",
      { positions: [3] },
      "position-range",
      /batch entry 1 has no position 3 in this pass; it computes 0 to 1/,
    ],
    ["of a position before the first", { positions: [-3] }, "position-range", /batch entry 1 has no position -3/],
    ["of a head too many", { at: Z, heads: [4] }, "head-range", /there is no head 4; they go from 0 to 3/],
    [
      "of a query head among keys",
      { at: "blocks.1.attn.hook_k", heads: [2] },
      "head-range",
      /there is no head 2; they go from 0 to 1/,
    ],
    ["of heads where there are none", { heads: [0] }, "head-range", /blocks\.1\.hook_resid_pre has no heads/],
    ["of a dim too many", { dims: [32] }, "dim-range", /there is no dim 32; they go from 0 to 31/],
    ["of a key too many", { at: PATTERN, dims: [4] }, "dim-range", /there is no dim 4; they go from 0 to 3/],
    ["of a row twice", { batch: [1, 1] }, "repeated-selection", /batch repeats an entry/],
    ["of a position twice", { batch: [0], positions: [3, -1] }, "repeated-selection", /positions repeats an entry/],
    ["of a head twice", { at: Z, heads: [0, 0] }, "repeated-selection", /heads repeats an entry/],
    ["of a dim twice", { dims: [4, 4] }, "repeated-selection", /dims repeats an entry/],
    [
      "with a value of the wrong length",
      { positions: [0, 1], dims: [1, 2, 3], value: [1, 2] },
      "value-shape",
      /its value has 2 numbers; the selection is \[2, 2, 3\], so it takes 1, or 3, or 6, or 12\./,
    ],
    [
      "with heads, likewise",
      { at: Z, batch: [0], positions: [0], value: [1, 2] },
      "value-shape",
      /the selection is \[1, 1, 4, 8\], so it takes 1, or 8, or 32\./,
    ],
    [
      "with a value for uneven rows",
      { value: new Float32Array((4 + 2) * 32) },
      "value-shape",
      /the selection is \[2, 4, 32\], so it takes 1, or 32, or 128, or 256\./,
    ],
    ["with nothing for a value", { value: [] }, "value-shape", /its value has 0 numbers/],
  ])("%s is refused", async (_, changes, code, message) => {
    const failure = await failureOf(() => model.forward(IDS, { edits: [edit(changes)] }));
    expect(failure).toMatch(new RegExp(`^HookError hook/${code}: `));
    expect(failure).toMatch(message);
  });

  it("with an array turned round is refused, too", async () => {
    const value = new NdArray(new Float32Array(64), [32, 2]);
    expect(
      await failureOf(() => model.forward(IDS, { edits: [edit({ batch: [0], positions: [0, 1], value })] })),
    ).toMatch(/^HookError hook\/value-shape: .*its value is \[32, 2\]; the selection is \[1, 2, 32\]/);
  });

  it("with a tensor turned round is refused, which has as many numbers", async () => {
    const place = { batch: [0], positions: [0, 1] };
    using turned = model.gpu.tensorFrom(new Float32Array(64), [32, 2], "value");
    expect(await failureOf(() => model.forward(IDS, { edits: [edit({ ...place, value: turned })] }))).toMatch(
      /^HookError hook\/value-shape: .*its value is \[32, 2\]; the selection is \[1, 2, 32\], and a value with axes has its last ones/,
    );
    for (const shape of [
      [64, 1],
      [2, 1, 32],
    ]) {
      using other = model.gpu.tensorFrom(new Float32Array(64), shape, "value");
      const failure = await failureOf(() => model.forward(IDS, { edits: [edit({ ...place, value: other })] }));
      expect(failure).toMatch(/^HookError hook\/value-shape: /);
    }
    for (const shape of [[2, 32], [1, 2, 32], [64], [1, 64]]) {
      using right = model.gpu.tensorFrom(new Float32Array(64), shape, "value");
      (await model.forward(IDS, { edits: [edit({ ...place, value: right })] })).destroy();
    }
  });

  it("with a tensor that is destroyed, no floats, or of another device is refused", async () => {
    const tensor = model.gpu.tensorFrom(new Float32Array(32), [32], "value");
    tensor.destroy();
    expect(await failureOf(() => model.forward(IDS, { edits: [edit({ value: tensor })] }))).toMatch(
      /^HookError hook\/value-destroyed: Edit of .* its value tensor was destroyed/,
    );
    using integers = model.gpu.tensorFrom(new Uint32Array(32), [32], "integers");
    expect(await failureOf(() => model.forward(IDS, { edits: [edit({ value: integers })] }))).toMatch(
      /^HookError hook\/value-shape: .*holds u32; activations are f32/,
    );
    const gpu = await newGpu();
    try {
      using elsewhere = gpu.tensorFrom(new Float32Array(32), [32], "value");
      expect(await failureOf(() => model.forward(IDS, { edits: [edit({ value: elsewhere })] }))).toMatch(
        /^HookError hook\/other-device: .*another GPU device\. Load both models with the same gpu/,
      );
    } finally {
      gpu.destroy();
    }
  });

  it.each<[string, Partial<Edit>, Partial<CacheEntry>, string, RegExp]>([
    [
      "a point it does not have",
      {},
      { name: "blocks.1.hook_resid_pst" },
      "not-captured",
      /is not in this cache\. Nearest: blocks\.1\.hook_resid_post/,
    ],
    [
      "a row it does not have",
      {},
      { batch: 1 },
      "batch-range",
      /The cache has a batch of 1; there is no batch entry 1/,
    ],
    [
      "a position it does not have",
      {},
      { position: 3 },
      "position-range",
      /Batch entry 0 of the cache has positions 0, 1, 2, not 3/,
    ],
    [
      "positions as edited, which it does not have",
      { batch: [0] },
      {},
      "position-range",
      /has positions 0, 1, 2, not 3/,
    ],
    [
      "heads that are not dimensions",
      { at: RESIDUAL },
      { name: Z, position: 0 },
      "value-shape",
      /blocks\.1\.attn\.hook_z of the cache has shape \[1, 3, 4, 8\], which does not fit blocks\.1\.hook_resid_pre with last axis 32/,
    ],
    [
      "more heads than there are",
      { at: "blocks.1.attn.hook_k" },
      { name: "blocks.1.attn.hook_q", position: 0 },
      "value-shape",
      /shape \[1, 3, 4, 8\], which does not fit blocks\.1\.attn\.hook_k with 2 heads and last axis 8/,
    ],
    [
      "patterns of another length",
      { at: PATTERN },
      { name: PATTERN, position: 0 },
      "value-shape",
      /shape \[1, 4, 3, 3\], which does not fit .* last axis 4/,
    ],
  ])("with an entry of a cache that names %s is refused", async (_, changes, entry, code, message) => {
    const value = { cache, name: RESIDUAL, ...entry };
    const failure = await failureOf(() => model.forward(IDS, { edits: [edit({ ...changes, value })] }));
    expect(failure).toMatch(new RegExp(`^HookError hook/${code}: `));
    expect(failure).toMatch(message);
  });

  it("with an entry of a destroyed cache, or of a model of another shape, is refused", async () => {
    const ended = (await model.forward([1, 2, 3], { capture: RESIDUAL })).cache;
    const value = ended.at(RESIDUAL, { position: 0 });
    ended.destroy();
    expect(await failureOf(() => model.forward(IDS, { edits: [edit({ value })] }))).toMatch(
      /^HookError hook\/cache-destroyed: /,
    );
    const other = { cache, name: "blocks.1.attn.hook_v", position: 0 };
    expect(
      await failureOf(() => gemma.forward(IDS, { edits: [{ at: "blocks.1.attn.hook_v", op: "set", value: other }] })),
    ).toMatch(
      /^HookError hook\/value-shape: .*does not fit blocks\.1\.attn\.hook_v with 2 heads and last axis 16\. Take it from a model of the same shape/,
    );
  });
});

describe("a pass", () => {
  it.each<[string, HookedForwardOptions, RegExp, ModelInput?]>([
    ["that captures no point", { capture: ["logits", "blocks.0.hook_zz"] }, /^HookError hook\/no-such-point/],
    [
      "that captures no position",
      { capture: "logits", positions: [] },
      /^HookError hook\/empty-selection: positions is empty\. Leave it out to capture all/,
    ],
    [
      "that captures a position which one row lacks",
      { capture: "logits", positions: [2] },
      /^HookError hook\/position-range: Batch entry 1 has no position 2 in this pass; it computes 0 to 1\./,
    ],
    [
      "that captures half a position",
      { capture: "logits", positions: [0.5] },
      /^InputError input\/argument: .*positions\[0\] is 0\.5/,
    ],
    [
      "that captures all logits and wants some",
      { capture: "logits", logits: "last" },
      /^HookError hook\/not-reached: A hook at "logits" needs logits: "all"/,
    ],
    [
      "that stops before a captured block",
      { capture: RESIDUAL, stopAtLayer: 1 },
      /^HookError hook\/not-reached: blocks\.1\.hook_resid_pre is not reached: the pass stops before block 1\. Raise stopAtLayer\./,
    ],
    [
      "that stops before an edit",
      { edits: [edit({ at: "logits" })], stopAtLayer: 3 },
      /^HookError hook\/not-reached: logits is not reached/,
    ],
    [
      "that stops after the last block",
      { stopAtLayer: 4 },
      /^InputError input\/stop-layer: stopAtLayer is 4; it must be a whole number from 0 to 3/,
    ],
    [
      "with positions and nothing to capture",
      { positions: 0 },
      /^InputError input\/idle-option: .*positions does nothing/,
    ],
    [
      "that stops and wants logits",
      { stopAtLayer: 1, logits: "last" },
      /^InputError input\/idle-option: .*logits does/,
    ],
    ["with BOS before ids", { addBos: true }, /^InputError input\/bos-of-ids/],
    ["that stops within a block", { stopAtLayer: 0.5 }, /^InputError input\/stop-layer/],
    ["of nothing", { capture: "logits" }, /^InputError input\/empty/, []],
    ["of no such token", { capture: "logits" }, /^InputError input\/token-range/, [96]],
  ])("%s is refused", async (_, options, message, input = IDS) => {
    expect(await failureOf(() => model.forward(input, options))).toMatch(message);
  });
});

describe("a sweep", () => {
  const good: SweepOptions = { input: [1, 2, 3], cells: [[edit({})]], metric: metric.logit(5) };

  it.each<[string, Partial<SweepOptions>, RegExp]>([
    [
      "of an edit that cannot be, naming its cell",
      { cells: [[], [edit({}), edit({ positions: [7] })]] },
      /^HookError hook\/position-range: Cell 1: Edit of blocks\.1\.hook_resid_pre \(set\): batch entry 0 has no position 7/,
    ],
    [
      "of a row that is not there",
      { cells: [[edit({ batch: [1] })]] },
      /^HookError hook\/batch-range: Cell 0: .* there is no batch entry 1/,
    ],
    [
      "of a cache entry that does not fit",
      { cells: [[edit({ value: { cache: undefined as unknown as ActivationCache, name: Z } })]] },
      /^HookError hook\/value-shape: Cell 0: /,
    ],
    [
      "of embeddings",
      { input: { inputsEmbeds: [new Float32Array(32)] } as never },
      /^InputError input\/argument: sweep: input is .*; it must be text, token ids, or a list of either/,
    ],
    ["of text without a tokenizer", { input: "text" }, /^InputError input\/no-tokenizer/],
    [
      "measured outside the sequence",
      { position: 3 },
      /^InputError input\/position-range: The metric's position is 3; the sequence has 3 tokens/,
    ],
    ["measured before the sequence", { position: -4 }, /^InputError input\/position-range/],
    ["of no metric", { metric: [] }, /^HookError hook\/metric: The list of metrics is empty/],
    [
      "of a token that is not there",
      { metric: metric.logitDiff(1, 96) },
      /^HookError hook\/metric: Metric logitDiff: token 96 is out of range; ids go from 0 to 95/,
    ],
    ...[undefined, null, Number.NaN, 1.5, -1, "5"].flatMap((token) =>
      (["logit", "prob", "logProb", "rank"] as const).map((kind): [string, Partial<SweepOptions>, RegExp] => [
        `of a ${kind} of ${token}`,
        { metric: metric[kind](token as number) },
        /^(HookError hook\/metric: Metric \w+: token .* is out of range|InputError input\/argument: )/,
      ]),
    ),
    ...(
      [
        ["prob", []],
        ["prob", [1, 2]],
        ["logitDiff", [1]],
        ["logitDiff", [1, 2, 3]],
        ["kl", [1]],
      ] as const
    ).map(([kind, tokens]): [string, Partial<SweepOptions>, RegExp] => [
      `of a ${kind} of ${tokens.length} tokens`,
      { metric: { kind, tokens } },
      /^HookError hook\/metric: Metric \w+ takes \S.* tokens, and got \d/,
    ]),
    [
      "of no tokens",
      { metric: metric.logits([]) },
      /^HookError hook\/metric: Metric logits takes at least 1 tokens, and got 0/,
    ],
    [
      "against a reference of another vocabulary",
      { metric: metric.kl(new Float32Array(95)) },
      /^HookError hook\/metric: Metric kl: the reference has 95 logits; the vocabulary has 96/,
    ],
    ["over no such token", { input: [1, 200] }, /^InputError input\/token-range/],
  ])("%s is refused", async (_, changes, message) => {
    // The cache exists only once the tests run.
    const cells = (changes.cells ?? good.cells).map((each) =>
      [each]
        .flat()
        .map((one) =>
          typeof one.value === "object" && "name" in one.value ? { ...one, value: { ...one.value, cache } } : one,
        ),
    );
    expect(await failureOf(() => model.sweep({ ...good, ...changes, cells }))).toMatch(message);
  });
});

it("leaves the model as it was", async () => {
  expect(await logitsOf(model, IDS)).toEqual(await logitsOf(model, IDS, { edits: [edit({ op: "scale" })] }));
});
