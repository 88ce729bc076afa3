/** Training of types with weights of their own: every parameter moves, the loss falls, and what is no parameter stays. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { loadModel } from "../../src/node.ts";
import { initialWeights, train } from "../../src/train/index.ts";
import { testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";

const ROOT = fileURLToPath(new URL("../fixtures/types/", import.meta.url));
const TYPES = ["apertus", "modernbert-decoder", "gemma4_text", "gemma4_text_ple"];
/** Buffers in PyTorch. */
const CONSTANTS = /xielu\.(?:beta|eps)$|\.scalar$/;
const ids = [
  [1, 5, 9, 12, 7, 33, 2, 8],
  [4, 6, 1, 2, 3, 90, 8, 8],
];

it.each(byDay(TYPES, ["apertus", "gemma4_text_ple"]))("%s", async (name) => {
  const config = JSON.parse(await readFile(`${ROOT}${name}/config.json`, "utf8"));
  const model = await loadModel(initialWeights(config), { dtype: "float32", gpu: await testGpu() });
  const read = async () =>
    new Map(await Promise.all(model.weightNames().map(async (at) => [at, await model.weight(at)] as const)));
  const before = await read();
  const batch = { ids, mask: ids.map((list) => list.slice(1).map(() => true)) };
  const steps = await train({
    model,
    data: Array.from({ length: 8 }, () => batch),
    steps: 8,
    schedule: { lr: 3e-3, warmup: 1, decay: 0.3 },
  });
  expect(steps.at(-1)?.loss).toBeLessThan(0.95 * (steps[0]?.loss as number));
  const after = await read();
  const kept = [...before].filter(([at, { data }]) => data.every((value, i) => value === after.get(at)?.data[i]));
  expect(kept.map(([at]) => at)).toEqual([...before.keys()].filter((at) => CONSTANTS.test(at)));
  model.destroy();
});
