/** JavaScript hooks: what they are given, when they run, what they may return, and what happens when they fail. */
import { describe, expect, it } from "vitest";
import type { Hook, Hooks } from "../../src/hooks/index.ts";
import { relativeError, seeded } from "../support/numbers.ts";
import { captured, failureOf, logitsOf, randomIds, readAll, withHooked } from "./support.ts";

const TOLERANCE = 1e-5;
const MLP_OUT = "blocks.0.hook_mlp_out";
const RAGGED = [randomIds(seeded(1), 7), randomIds(seeded(2), 4)];

/** A promise, and what resolves it. */
function newGate(): { passed: Promise<void>; open: () => void } {
  let open = () => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}

describe("runWithHooks", () => {
  it("calls every hook in the order of the forward pass, with what a capture would show", async () => {
    await withHooked("gemma2", async (model) => {
      using plain = await model.forward(RAGGED, { capture: "*" });
      const expected = await readAll(plain.cache);
      const seen: string[] = [];
      const wrong: string[] = [];
      const look: Hook = [
        "*",
        (activation, { name, shape }) => {
          seen.push(name);
          const same =
            shape.join() === plain.cache.shape(name).join() &&
            relativeError(activation, expected.get(name) as Float32Array) < TOLERANCE;
          if (!same) wrong.push(name);
          return undefined;
        },
      ];
      using run = await model.runWithHooks(RAGGED, [look]);
      expect(seen).toEqual(model.pointNames());
      expect(wrong).toEqual([]);
      expect(relativeError(await run.logits.read(), await plain.logits.read())).toBeLessThan(TOLERANCE);
    });
  });

  it("puts what a hook returns in place of the activation, at every point", async () => {
    await withHooked("gptj", async (model) => {
      for (const at of model.pointNames(["blocks.1.*", (name) => !name.startsWith("blocks")])) {
        const change: Hook = [
          at,
          async (activation) => {
            await Promise.resolve();
            return activation.map((value) => value * 1.5);
          },
        ];
        using run = await model.runWithHooks(RAGGED, [change], { capture: at });
        const edits = [{ at, op: "scale" as const, value: 1.5 }];
        expect(relativeError(await run.logits.read(), await logitsOf(model, RAGGED, { edits })), at).toBeLessThan(
          TOLERANCE,
        );
        expect(relativeError(await run.cache.read(at), await captured(model, RAGGED, at, { edits })), at).toBeLessThan(
          TOLERANCE,
        );
      }
    });
  });

  it.each<[string, Hooks]>([
    ["changes in place", { [MLP_OUT]: (activation) => void activation.fill(0) }],
    ["returns a plain list", [MLP_OUT, (activation) => Array.from(activation, () => 0)]],
    ["of a Map changes", new Map([[MLP_OUT, (activation: Float32Array) => void activation.fill(0)]]) as never],
    ["changes in place after a while", [[MLP_OUT, async (activation) => void activation.fill(0)]]],
    ["changes in place and returns another", [[MLP_OUT, (activation) => activation.fill(9).map(() => 0)]]],
  ])("takes what a hook %s", async (_, hooks) => {
    await withHooked("llama", async (model) => {
      using run = await model.runWithHooks(RAGGED, hooks);
      const zeroed = await logitsOf(model, RAGGED, { edits: { at: MLP_OUT, op: "zero" } });
      expect(await run.logits.read()).toEqual(zeroed);
    });
  });

  it.each<[string, unknown]>([
    ["text", "zero"],
    ["a number", 0],
    ["null", null],
    ["a list of something else", Array.from({ length: 2 * 7 * 32 }, () => "0")],
  ])("refuses a hook that returns %s", async (_, returned) => {
    await withHooked("llama", async (model) => {
      const run = () => model.runWithHooks(RAGGED, { [MLP_OUT]: () => returned as never });
      expect(await failureOf(run)).toMatch(/^HookError hook\/value-shape: .*Return a flat list of as many/);
    });
  });

  it("runs edits first, then hooks in the order given, then captures", async () => {
    await withHooked("llama", async (model) => {
      const at = "blocks.0.hook_mlp_out";
      const edits = [{ at, op: "set" as const, value: 1 }];
      const given: number[] = [];
      const step = (by: number): Hook => [
        at,
        (activation) => {
          given.push(activation[0] as number);
          return activation.map((value) => value * 10 + by);
        },
      ];
      using run = await model.runWithHooks([1, 2], [step(2), step(3)], { edits, capture: at });
      expect(given).toEqual([1, 12]);
      expect(new Set(await run.cache.read(at))).toEqual(new Set([123]));
    });
  });

  it("lets a hook run the model itself", async () => {
    await withHooked("gpt2", async (model) => {
      const plain = await logitsOf(model, RAGGED);
      const inner: number[] = [];
      const nested: Hook = [
        "blocks.*.hook_resid_pre",
        async () => {
          const logits = await logitsOf(model, [3, 1, 4, 1, 5, 9, 2, 6], {
            edits: [{ at: "blocks.1.attn.hook_z", op: "zero" }],
          });
          inner.push(logits[0] as number);
          return undefined;
        },
      ];
      using run = await model.runWithHooks(RAGGED, [nested]);
      expect(relativeError(await run.logits.read(), plain)).toBeLessThan(TOLERANCE);
      expect(new Set(inner).size).toBe(1);
    });
  });

  it("continues a cache", async () => {
    await withHooked("bloom", async (model) => {
      const ids = randomIds(seeded(3), 8);
      using kv = model.createKvCache();
      (await model.forward(ids.slice(0, 5), { kv: kv })).destroy();
      const at = "blocks.2.attn.hook_pattern";
      const shapes: string[] = [];
      using run = await model.runWithHooks(
        ids.slice(5),
        [
          [
            at,
            (activation, { shape }) => {
              shapes.push(shape.join());
              return activation.map((value) => value / 2);
            },
          ],
        ],
        { kv: kv },
      );
      expect(shapes).toEqual(["1,4,3,8"]);
      const whole = await logitsOf(model, ids, { edits: [{ at, op: "scale", value: 0.5, positions: [5, 6, 7] }] });
      expect(relativeError(await run.logits.read(), whole.slice(5 * 96))).toBeLessThan(TOLERANCE);
    });
  });

  it.each<[string, Hook[], RegExp]>([
    ["at no point", [["blocks.7.hook_z", () => undefined]], /^HookError hook\/no-such-point/],
    [
      "that returns too few numbers",
      [["blocks.1.hook_resid_mid", () => new Float32Array(3)]],
      /^HookError hook\/value-shape: The hook at blocks\.1\.hook_resid_mid returned 3 numbers; the activation \[2, 7, 32\] has 448 numbers\. Return/,
    ],
    ["that throws", [["blocks.1.hook_resid_mid", () => Promise.reject(new RangeError("mine"))]], /^RangeError: mine/],
  ])("a hook %s ends the run, and leaves engine, cache and memory as they were", async (_, hooks, message) => {
    await withHooked("llama", async (model) => {
      using kv = model.createKvCache({ sequences: 2, capacity: 64 });
      const plain = await logitsOf(model, RAGGED);
      const fail = () =>
        failureOf(() => model.runWithHooks(RAGGED, hooks, { kv: kv, capture: "*" })).catch(
          (error: Error) => `${error.name}: ${error.message}`,
        );
      expect(await fail()).toMatch(message);
      const before = { ...model.gpu.memory };
      for (let time = 0; time < 3; time++) await fail();
      expect(model.gpu.memory).toEqual(before);
      expect(kv.lengths).toEqual([0, 0]);
      expect(await logitsOf(model, RAGGED)).toEqual(plain);
    });
  });

  it("an aborted hook that goes on changes nothing of a later pass", async () => {
    await withHooked("llama", async (model) => {
      const ids = randomIds(seeded(5), 7);
      const [stop, gate, ended] = [new AbortController(), newGate(), newGate()];
      const slow: Hook = [
        "hook_embed",
        async (activation) => {
          stop.abort(new RangeError("enough"));
          await gate.passed;
          setTimeout(ended.open);
          return activation.fill(1e6);
        },
      ];
      await expect(model.runWithHooks(ids, [slow], { signal: stop.signal })).rejects.toThrow("enough");
      // The upload of its value is as large as the aborted hook's activation, and waits while another hook does.
      const value = Array.from({ length: ids.length * model.spec.dModel }, (_, index) => Math.sin(index));
      const edits = [{ at: "blocks.1.hook_resid_post", op: "add" as const, value }];
      const wait: Hook = [
        "blocks.1.ln1.hook_scale",
        async () => {
          gate.open();
          await ended.passed;
        },
      ];
      using run = await model.runWithHooks(ids, [wait], { edits });
      const expected = await logitsOf(model, ids, { edits });
      expect(relativeError(await run.logits.read(), expected)).toBeLessThan(TOLERANCE);
    });
  });

  it("is refused where a pass would be cut, or where logits are not all there", async () => {
    await withHooked("gpt2", async (model) => {
      model.base.engine.maxRowsPerPass = 10;
      const look: Hook = ["logits", () => undefined];
      expect(await failureOf(() => model.runWithHooks(RAGGED, [look]))).toMatch(
        /^HookError hook\/too-many-rows: .*at most 10 tokens here; the input has 11/,
      );
      expect(await failureOf(() => model.runWithHooks([1], [look], { logits: "none" }))).toMatch(
        /^HookError hook\/not-reached: A hook at "logits"/,
      );
    });
  });
});
