/** `kl()` without a reference compares an edited run with the unedited one, each sequence with its own. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BackwardOptions, Edit, HookedModel } from "../../src/hooks/index.ts";
import { metric } from "../../src/hooks/metrics.ts";
import { hooked, withForward } from "../hooks/support.ts";
import { relativeError } from "../support/numbers.ts";

const POINT = "blocks.1.hook_resid_pre";
const IDS = [
  [5, 6, 7, 8],
  [9, 10],
];
const EDIT: Edit = { at: "blocks.0.hook_resid_post", op: "scale", value: 1.5 };
const STANDING: Edit = { at: "blocks.0.hook_mlp_out", op: "scale", value: 0.5 };

let model: HookedModel;
beforeAll(async () => {
  model = await hooked("llama");
});
afterAll(() => model.destroy());

async function gradient(of: HookedModel, options: Omit<BackwardOptions, "at">): Promise<[Float32Array, Float32Array]> {
  using result = await of.backward(IDS, { ...options, at: POINT });
  return [result.value, await result.grads.read(POINT)];
}

/** The metric with the logits of a plain run given. */
const againstRun = (of: HookedModel) =>
  withForward(of, IDS, { logits: "last" }, ({ logits }) =>
    Promise.all(IDS.map(async (_, sequence) => metric.kl(await logits.at(sequence, -1)))),
  );

describe("kl() of a backward pass", () => {
  it("is kl of the unedited run's logits", async () => {
    const [value, grad] = await gradient(model, { metric: metric.kl(), edits: EDIT });
    const [value2, grad2] = await gradient(model, { metric: await againstRun(model), edits: EDIT });
    for (const each of value2) expect(each).toBeGreaterThan(1e-4);
    expect(relativeError(value, value2)).toBeLessThan(1e-6);
    expect(relativeError(grad, grad2)).toBeLessThan(1e-6);
  });

  it("may stand beside other metrics, and counts the edits of withEdits() as the model's", async () => {
    await model.withEdits(STANDING, async (edited) => {
      const kl = (await againstRun(edited))[0];
      const [value, grad] = await gradient(edited, { metric: [metric.kl(), metric.logit(5)], edits: EDIT });
      const [value2, grad2] = await gradient(edited, { metric: [kl as never, metric.logit(5)], edits: EDIT });
      expect(relativeError(value, value2)).toBeLessThan(1e-6);
      expect(relativeError(grad, grad2)).toBeLessThan(1e-6);
    });
  });

  it("is refused without edits, when it would compare a run with itself", async () => {
    await expect(gradient(model, { metric: metric.kl() })).rejects.toMatchObject({
      code: "hook/metric",
      message: expect.stringMatching(/none are given.*Give edits, or the logits/),
    });
    await model.withEdits(STANDING, (edited) =>
      expect(gradient(edited, { metric: metric.kl() })).rejects.toMatchObject({ code: "hook/metric" }),
    );
  });
});
