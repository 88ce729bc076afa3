/** Circuits of heads and their composition scores, compared with matrices [dModel, dModel] multiplied out in float64. */
import { afterAll, describe, expect, it } from "vitest";
import { allCompositionScores, HookedModel, headCircuit } from "../../src/hooks/index.ts";
import { loadFixture } from "../support/fixtures.ts";
import { relativeError } from "../support/numbers.ts";
import { matrix, type Rows, times, transposed } from "./support.ts";

const open: HookedModel[] = [];
afterAll(() => {
  for (const model of open) model.destroy();
});

const frobenius = (a: Rows) => Math.sqrt(a.flat().reduce((sum, x) => sum + x * x, 0));

/** W_V W_O or W_Q W_K^T, as the head computes. */
async function circuitOf(model: HookedModel, layer: number, head: number, circuit: "OV" | "QK"): Promise<Rows> {
  const group = Math.floor((head * model.spec.nKvHeads) / model.spec.nHeads);
  const weight = (name: string, index: number) => matrix(model, `blocks.${layer}.attn.${name}`, index);
  if (circuit === "OV") return times(await weight("W_V", group), await weight("W_O", head));
  return times(await weight("W_Q", head), transposed(await weight("W_K", group)));
}

// One with as many key-value heads as heads, one with fewer.
describe.each(["gpt2", "llama"])("heads of %s", (family) => {
  const loading = loadFixture(family).then((base) => {
    const model = new HookedModel(base);
    open.push(model);
    return model;
  });

  it.each(["OV", "QK"] as const)("%s is the product of its factors", async (circuit) => {
    const model = await loading;
    const { nHeads, dModel, dHead } = model.spec;
    for (const head of [0, nHeads - 1]) {
      const factored = await headCircuit(model, { layer: 1, head, circuit });
      const expected = await circuitOf(model, 1, head, circuit);
      expect(factored.shape).toEqual([dModel, dModel]);
      expect(factored.columns.length).toBe(dHead);
      expect(relativeError(factored.AB, expected.flat())).toBeLessThan(1e-14);
      expect(relativeError(factored.T.AB, transposed(expected).flat())).toBeLessThan(1e-14);
    }
  });

  it.each(["Q", "K", "V"] as const)("%s-composition is |OV read| / (|OV| |read|)", async (mode) => {
    const model = await loading;
    const { nLayers, nHeads } = model.spec;
    const steps: unknown[] = [];
    const scores = await allCompositionScores(model, { mode, onProgress: (step) => void steps.push(step) });
    expect(scores.shape).toEqual([nLayers, nHeads, nLayers, nHeads]);
    const total = (nLayers * (nLayers - 1)) / 2;
    expect(steps).toEqual(Array.from({ length: total }, (_, index) => ({ done: index + 1, total })));
    for (let index = 0; index < scores.data.length; index++) {
      const [k, rest] = [index % nHeads, Math.floor(index / nHeads)];
      const [reader, h, writer] = [
        rest % nLayers,
        Math.floor(rest / nLayers) % nHeads,
        Math.floor(rest / nLayers / nHeads),
      ];
      const found = scores.at(writer, h, reader, k);
      if (writer >= reader) {
        expect(found).toBe(0);
        continue;
      }
      const left = await circuitOf(model, writer, h, "OV");
      const right = await circuitOf(model, reader, k, mode === "V" ? "OV" : "QK");
      const read = mode === "K" ? transposed(right) : right;
      const expected = frobenius(times(left, read)) / (frobenius(left) * frobenius(right));
      expect(Math.abs(found / expected - 1)).toBeLessThan(1e-12);
    }
  });

  it("ends with the signal's reason, and names what does not exist", async () => {
    const model = await loading;
    const stop = new AbortController();
    const running = allCompositionScores(model, {
      mode: "Q",
      onProgress: () => stop.abort("enough"),
      signal: stop.signal,
    });
    await expect(running).rejects.toBe("enough");
    await expect(headCircuit(model, { layer: 0, head: 99, circuit: "OV" })).rejects.toMatchObject({
      code: "hook/head-range",
    });
    const scores = await allCompositionScores(model, { mode: "Q" });
    expect(() => scores.at(0, 0, 99, 0)).toThrow(expect.objectContaining({ code: "hook/not-in-grid" }));
  });
});
