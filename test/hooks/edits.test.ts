/** Edits against the same change made in TypeScript, at every point, and the ways to say where and with what. */
import { describe, expect, it } from "vitest";
import type { Edit, HookedModel } from "../../src/hooks/index.ts";
import { isHeadFirst } from "../../src/hooks/points.ts";
import { EDIT_DEFINITIONS } from "../../src/ops/edit-reference.ts";
import { layoutOf as layoutOfShape } from "../../src/ops/places.ts";
import { byDay } from "../support/nightly.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import {
  captured,
  EDIT_EXPRESSION,
  EDIT_FORMULA,
  failureOf,
  isDivisor,
  logitsOf,
  OPS,
  randomIds,
  readAll,
  withForward,
  withHooked,
} from "./support.ts";

const layoutOf = (name: string, shape: readonly number[]) => layoutOfShape(shape, isHeadFirst(name));

const TOLERANCE = 1e-5;

const LENGTH = 9;
const POSITIONS = [1, LENGTH - 2];

/** One op a row of the batch, at one point: the edits, and what the point should be after them. */
function opsAt(model: HookedModel, name: string, shape: readonly number[], before: Float32Array) {
  const random = seeded(name.length);
  const layout = layoutOf(name, shape);
  const isPairs = layout.headFirst;
  const head = layout.hasHeads ? layout.heads - 1 : 0;
  // Not in order, and not all.
  const dims = isPairs || layout.width < 3 ? undefined : [layout.width - 1, 0, 2];
  const chosen = dims ?? Array.from({ length: layout.width }, (_, d) => d);
  const ops = OPS.filter((op) => !isDivisor(name) || !["zero", "project_out"].includes(op));
  const window = isPairs ? (model.spec.layers[1]?.window ?? LENGTH) : 0;
  const expected = before.slice();
  const edits: Edit[] = [];
  const sets: Edit[] = [];
  ops.forEach((op, b) => {
    const value = gaussians(random, chosen.length).map((each) => (isDivisor(name) ? 1 + Math.abs(each) : each));
    const alpha = op === "lerp" || op === "add" ? 0.3 : 1;
    const where = {
      at: name,
      batch: [b],
      positions: [1, -2],
      ...(layout.hasHeads && { heads: [head] }),
      ...(dims && { dims }),
    };
    edits.push({
      ...where,
      op,
      ...(op !== "zero" && { value }),
      ...(alpha !== 1 && { alpha }),
      ...(op === "wgsl" && { expression: EDIT_EXPRESSION }),
    });
    const selected = POSITIONS.flatMap((p) => {
      const start = layout.rowIndex(b, p) * layout.rowStride + head * layout.headStride;
      const seen = chosen.map((d, i) => ({ d, i })).filter(({ d }) => !isPairs || (d <= p && d > p - window));
      const x = seen.map(({ d }) => before[start + d] as number);
      const v = seen.map(({ i }) => value[i] as number);
      const after =
        op === "wgsl"
          ? x.map((each, i) => EDIT_FORMULA(each, v[i] as number, { b, p, h: head, d: seen[i]?.d as number }))
          : EDIT_DEFINITIONS[op](x, v, alpha);
      seen.forEach(({ d }, i) => {
        expected[start + d] = after[i] as number;
      });
      return chosen.map((d) => expected[start + d] as number).map((each) => (Number.isFinite(each) ? each : 0));
    });
    sets.push({ ...where, op: "set", value: selected });
  });
  return { edits, sets, expected };
}

/** Window, soft cap, gate, two norms a branch; parallel and interleaved; learned positions; ALiBi. */
describe.each(byDay(["gemma2", "gptj", "gpt2", "bloom"], ["gemma2", "gpt2"]))("%s", (family) => {
  it("applies every op at every point as its definition says", async () => {
    await withHooked(family, async (model) => {
      const ids = OPS.map(() => randomIds(seeded(5), LENGTH));
      using plain = await model.forward(ids, { capture: "*" });
      const before = await readAll(plain.cache);
      const wrong: Record<string, number[]> = {};
      for (const name of model.pointNames(["blocks.1.*", (each) => !each.startsWith("blocks")])) {
        const { edits, sets, expected } = opsAt(model, name, plain.cache.shape(name), before.get(name) as Float32Array);
        using edited = await model.forward(ids, { edits, capture: name });
        const after = await edited.cache.read(name);
        const logits = await edited.logits.read();
        const errors = [
          relativeError(after, expected),
          relativeError(logits, await logitsOf(model, ids, { edits: sets })),
        ];
        if (!errors.every((error) => error <= TOLERANCE)) wrong[name] = errors;
        if (relativeError(logits, before.get("logits") as Float32Array) < 1e-4) wrong[`${name} changes nothing`] = [];
      }
      expect(wrong).toEqual({});
    });
  });
});

describe("several edits", () => {
  it("at one point apply in order", async () => {
    await withHooked("gpt2", async (model) => {
      const at = "blocks.0.hook_mlp_out";
      const ids = randomIds(seeded(1), 5);
      const before = await captured(model, ids, at);
      const add: Edit = { at, op: "add", value: 2 };
      const scale: Edit = { at: "blocks.*.hook_mlp_out", op: "scale", value: 3 };
      const edited = (edits: Edit[]) => captured(model, ids, at, { edits });
      expect(
        relativeError(
          await edited([add, scale]),
          before.map((x) => (x + 2) * 3),
        ),
      ).toBeLessThan(TOLERANCE);
      expect(
        relativeError(
          await edited([scale, add]),
          before.map((x) => x * 3 + 2),
        ),
      ).toBeLessThan(TOLERANCE);
      expect(
        relativeError(
          await edited([add, { at, op: "zero" }, add, add]),
          before.map(() => 4),
        ),
      ).toBe(0);
    });
  });

  it("of one row each give a batch what the rows give alone, whatever their lengths and however the pass is cut", async () => {
    for (const family of ["gemma2", "bloom"]) {
      await withHooked(family, async (model) => {
        const random = seeded(7);
        const ids = [3, 8, 11].map((length) => randomIds(random, length));
        const points = ["blocks.1.attn.hook_pattern", "blocks.0.attn.hook_attn_scores", "blocks.1.hook_resid_pre"];
        const edits = points.map(
          (at): Edit => ({
            at,
            op: "scale",
            value: 0.5,
            positions: [-1, -3],
            ...(at.includes("attn") && { heads: [1] }),
          }),
        );
        const alone = await Promise.all(
          edits.map((edit, row) => logitsOf(model, ids[row] as number[], { edits: [edit] })),
        );
        const untouched = await Promise.all(ids.map((list) => logitsOf(model, list)));
        const capture = ["*hook_pattern", "*hook_attn_scores", "*hook_resid_post"];
        const run = () =>
          withForward(
            model,
            ids,
            { capture, edits: edits.map((edit, row) => ({ ...edit, batch: [row] })) },
            async ({ logits, cache }) => ({
              rows: await Promise.all(
                ids.map(async (list, row) =>
                  (await Promise.all(list.map((_, p) => logits.at(row, p)))).flatMap((each) => [...each]),
                ),
              ),
              seen: await readAll(cache),
            }),
          );
        const whole = await run();
        for (const [row, logits] of whole.rows.entries()) {
          expect(relativeError(logits, alone[row] as Float32Array)).toBeLessThan(TOLERANCE);
          expect(relativeError(logits, untouched[row] as Float32Array)).toBeGreaterThan(1e-4);
        }
        for (const rowsPerPass of [1, 3, 4, 10]) {
          model.base.engine.maxRowsPerPass = rowsPerPass;
          const cut = await run();
          for (const [row, logits] of cut.rows.entries())
            expect(relativeError(logits, whole.rows[row] as number[])).toBeLessThan(TOLERANCE);
          for (const [name, values] of whole.seen) {
            expect(
              relativeError(cut.seen.get(name) as Float32Array, values),
              `${name} in passes of ${rowsPerPass}`,
            ).toBeLessThan(TOLERANCE);
          }
        }
      });
    }
  });

  it("do not depend on which logits are asked for", async () => {
    await withHooked("mistral", async (model) => {
      const ids = randomIds(seeded(3), 12);
      const names = model.pointNames(["blocks.2.*", "ln_final*", "logits"]).filter((name) => !isDivisor(name));
      for (const at of names) {
        const edits: Edit[] = [{ at, op: "add", value: 0.7, positions: [4, -1] }];
        const last = await withForward(model, ids, { edits, logits: "last" }, ({ logits }) => logits.read());
        const all = await withForward(model, ids, { edits }, ({ logits }) => logits.at(0, -1));
        expect(relativeError(last, all), at).toBeLessThan(TOLERANCE);
      }
    });
  });
});

describe("special cases", () => {
  const ids = randomIds(seeded(9), 6);

  it("a zero direction is not projected out", async () => {
    await withHooked("gpt2", async (model) => {
      const at = "blocks.1.hook_resid_post";
      const edits: Edit[] = [{ at, op: "project_out", value: new Float32Array(32) }];
      expect(await captured(model, ids, at, { edits })).toEqual(await captured(model, ids, at));
    });
  });

  it("what a query cannot see stays masked, and an edit that asks for nothing else is refused", async () => {
    await withHooked("gemma2", async (model) => {
      const long = randomIds(seeded(9), 10);
      // Block 0 has a window of 7: the query at 9 sees keys 3 to 9.
      for (const [point, masked] of [
        ["hook_pattern", 0],
        ["hook_attn_scores", Number.NEGATIVE_INFINITY],
      ] as const) {
        const at = `blocks.0.attn.${point}`;
        const after = await captured(model, long, at, { edits: [{ at, op: "set", value: 0.25, heads: [2] }] });
        const row = (query: number) => [...after.subarray((2 * 10 + query) * 10, (2 * 10 + query + 1) * 10)];
        expect(row(4)).toEqual([...Array(5).fill(0.25), ...Array(5).fill(masked)]);
        expect(row(9)).toEqual([...Array(3).fill(masked), ...Array(7).fill(0.25)]);
        const refused = (positions: number[], dims: number[]) =>
          failureOf(() => model.forward(long, { edits: [{ at, op: "zero", positions, dims }] }));
        expect(await refused([3], [4])).toMatch(
          /^HookError hook\/empty-selection: .*none of the selected queries sees key 4/,
        );
        expect(await refused([9], [0, 2])).toMatch(/sees key 0, 2/);
      }
    });
  });

  it("logits and the final norm are changed last", async () => {
    await withHooked("gpt2", async (model) => {
      const plain = await logitsOf(model, ids);
      const shifted = await logitsOf(model, ids, {
        edits: [{ at: "logits", op: "add", value: 3, positions: [2], dims: [7] }],
      });
      expect(shifted).toEqual(plain.map((x, i) => (i === 2 * 96 + 7 ? Math.fround(x + 3) : x)));
      // Twice the divisor is half the normed residual.
      const halved = await logitsOf(model, ids, { edits: [{ at: "ln_final.hook_scale", op: "scale", value: 2 }] });
      const directly = await logitsOf(model, ids, {
        edits: [{ at: "ln_final.hook_normalized", op: "scale", value: 0.5 }],
      });
      expect(relativeError(halved, directly)).toBeLessThan(TOLERANCE);
      expect(relativeError(halved, plain)).toBeGreaterThan(1e-2);
    });
  });

  it("embeddings that are given can be changed like others", async () => {
    await withHooked("gemma", async (model) => {
      const embeds = await captured(model, ids, "hook_embed");
      const edits: Edit[] = [{ at: "hook_embed", op: "add", value: gaussians(seeded(4), 32), positions: [-2] }];
      expect(
        relativeError(
          await logitsOf(model, { inputsEmbeds: [embeds] }, { edits }),
          await logitsOf(model, ids, { edits }),
        ),
      ).toBeLessThan(TOLERANCE);
      const set: Edit[] = [{ at: "hook_embed", op: "set", value: embeds }];
      expect(
        relativeError(
          await logitsOf(model, { inputsEmbeds: [new Float32Array(embeds.length)] }, { edits: set }),
          await logitsOf(model, ids),
        ),
      ).toBeLessThan(TOLERANCE);
    });
  });

  it("an expression that does not compile is named with the compiler's message, and the model still runs", async () => {
    await withHooked("gpt2", async (model) => {
      const plain = await logitsOf(model, ids);
      const run = (expression: string) =>
        failureOf(() => model.forward(ids, { edits: [{ at: "blocks.0.hook_attn_out", op: "wgsl", expression }] }));
      expect(await run("x + wrong(1.0)")).toMatch(/^GpuError gpu\/shader: .*edit with x \+ wrong\(1\.0\).*wrong/s);
      expect(await run("x * p")).toMatch(/^GpuError gpu\/shader: .*edit with x \* p/s);
      expect(await run("x + wrong(1.0)")).toMatch(/^GpuError gpu\/shader/);
      expect(await logitsOf(model, ids)).toEqual(plain);
    });
  });
});
