/** What takes the residual apart refuses models whose residual is no sum; captures, edits and gradients work on them. */
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { edgeAttribution } from "../../src/hooks/circuits/index.ts";
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { metric } from "../../src/hooks/metrics.ts";
import { headSvd, pathPatch } from "../../src/hooks/paths/index.ts";
import {
  accumulatedResid,
  decomposeResid,
  directLogitAttribution,
  headResults,
  logitLens,
} from "../../src/hooks/readouts/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { readLogits } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";

const IDS = [[3, 17, 80, 2, 41]];
const load = async (name: string) => {
  const folder = fileURLToPath(new URL(`../fixtures/types/${name}`, import.meta.url));
  return new HookedModel(new Model(await loadParts(folder, { gpu: await testGpu() })));
};

it.each([
  ["openai-gpt", /norm the residual itself/],
  ["bloom_respost", /add to the normed residual/],
  ["opt_proj", /projection/],
  ["opt_remove_final", /no norm before the unembedding/],
] as const)("%s", async (name, reason) => {
  using model = await load(name);
  const pair = { clean: [3, 17, 80], corrupted: [3, 18, 80], metric: metric.logitDiff(5, 7) };
  const calls = [
    () => logitLens(model, IDS),
    () => directLogitAttribution(model, IDS, { tokens: 5 }),
    () => accumulatedResid(model, IDS),
    () => decomposeResid(model, IDS),
    () => headResults(model, IDS),
    () => headSvd(model, { layer: 0, head: 0, circuit: "OV" }),
    () => pathPatch(model, { ...pair, senders: "heads" } as never),
    () => edgeAttribution(model, { ...pair } as never),
  ];
  for (const call of calls) {
    const error = await call().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: "hook/unsupported" });
    expect(String(error)).toMatch(reason);
  }
  // An edit at a point: heads without a result leave attention's bias alone, as a zero W_O would.
  const zeroed = await model.forward(IDS, {
    edits: [{ at: "blocks.*.attn.hook_z", op: "zero" }],
    capture: ["blocks.1.hook_attn_out"],
  });
  const added = await zeroed.cache.read("blocks.1.hook_attn_out");
  const { data: bias } = await model.base.weight("blocks.1.attn.b_O");
  for (let row = 0; row < 5; row++)
    expect(relativeError(added.subarray(row * 32, (row + 1) * 32), bias)).toBeLessThan(1e-6);
  expect(relativeError(await zeroed.logits.read(), await readLogits(model.base.forward(IDS)))).toBeGreaterThan(1e-3);
  zeroed.destroy();
});

it("an edit before a clamp goes through it; one of a pattern with sinks replaces what the keys get", async () => {
  using clamped = await load("olmo_clip");
  const limit = clamped.spec.attention.clamp as number;
  const huge = (value: number) => clamped.forward(IDS, { edits: [{ at: "blocks.0.attn.hook_v", op: "set", value }] });
  const [beyond, at] = [await huge(100 * limit), await huge(limit)];
  expect(relativeError(await beyond.logits.read(), await at.logits.read())).toBeLessThan(1e-6);
  beyond.destroy();
  at.destroy();
  using sinks = await load("granite_swa");
  const { cache, destroy } = await sinks.forward(IDS, { capture: ["*hook_pattern"] });
  const pattern = await cache.read("blocks.0.attn.hook_pattern");
  const sum = pattern.subarray(0, 5).reduce((total, value) => total + value, 0);
  expect(sum).toBeGreaterThan(0);
  expect(sum).toBeLessThan(0.999);
  destroy();
});
