/** What an edit may be given as its value, and how that spreads over the selection. */
import { describe, expect, it } from "vitest";
import type { Edit, EditValue } from "../../src/hooks/index.ts";
import { isHeadFirst } from "../../src/hooks/points.ts";
import { layoutOf as layoutOfShape } from "../../src/ops/places.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { captured, hooked, randomIds, withHooked } from "./support.ts";

const layoutOf = (name: string, shape: readonly number[]) => layoutOfShape(shape, isHeadFirst(name));

const TOLERANCE = 1e-5;

describe("values", () => {
  const POINT = "blocks.1.attn.hook_z";
  const selection = { batch: [0, 2], positions: [1, 3, -1], heads: [1, 3], dims: [2, 5, 0] };
  const sizes = [2, 3, 2, 3];
  const ids = [randomIds(seeded(1), 6), randomIds(seeded(2), 6), randomIds(seeded(3), 6)];

  /** z [3, 6, 4, 8] with `value` of the given leading axes set. */
  function expectedZ(before: Float32Array, value: ArrayLike<number>, axes: number): Float32Array {
    const after = before.slice();
    selection.batch.forEach((row, r) => {
      selection.positions.forEach((position, p) => {
        selection.heads.forEach((head, h) => {
          selection.dims.forEach((dim, d) => {
            const index = [r, p, h, d]
              .slice(4 - axes)
              .reduce((sum, each, i) => sum * (sizes.slice(4 - axes)[i] as number) + each, 0);
            after[((row * 6 + ((position + 6) % 6)) * 4 + head) * 8 + dim] = value[index] as number;
          });
        });
      });
    });
    return after;
  }

  it.each([0, 1, 2, 3, 4])("broadcast from the right: the last %i axes", async (axes) => {
    await withHooked("gpt2", async (model) => {
      const count = sizes.slice(4 - axes).reduce((product, size) => product * size, 1);
      const value = gaussians(seeded(axes), count);
      const before = await captured(model, ids, POINT);
      const expected = expectedZ(before, value, axes);
      using tensor = model.gpu.tensorFrom(value, [count], "value");
      const forms: EditValue[] = [value, [...value], tensor, ...(axes === 0 ? [value[0] as number] : [])];
      for (const form of forms) {
        expect(
          await captured(model, ids, POINT, { edits: [{ at: POINT, op: "set", value: form, ...selection }] }),
        ).toEqual(expected);
      }
      expect(tensor.destroyed).toBe(false);
    });
  });

  it("may be entries of a cache: at the same place, of another row, position, point or model", async () => {
    await withHooked("llama", async (model) => {
      using other = await hooked("llama3_rope");
      using source = await other.forward(ids, { capture: ["*hook_z", "*hook_resid_*"] });
      const { cache } = source;
      const z = await cache.read(POINT);
      const at = (array: Float32Array, row: number, position: number) =>
        array.slice((row * 6 + position) * 32, (row * 6 + position + 1) * 32);
      const read = (edit: Edit) => captured(model, ids, edit.at, { edits: [edit] });

      expect(await read({ at: POINT, op: "set", value: cache.at(POINT) })).toEqual(z);
      const ofRow = await read({ at: POINT, op: "set", value: cache.at(POINT, { batch: 2 }) });
      const ofPosition = await read({ at: POINT, op: "set", value: cache.at(POINT, { position: -2 }) });
      const ofBoth = await read({ at: POINT, op: "set", value: { cache, name: POINT, batch: 1, position: 0 } });
      for (const [row, position] of [
        [0, 0],
        [1, 4],
        [2, 5],
      ] as const) {
        expect(at(ofRow, row, position)).toEqual(at(z, 2, position));
        expect(at(ofPosition, row, position)).toEqual(at(z, row, 4));
        expect(at(ofBoth, row, position)).toEqual(at(z, 1, 0));
      }
      // A layer's output into another's input, some dimensions of it, moved half way.
      const [from, to] = ["blocks.0.hook_resid_post", "blocks.2.hook_resid_pre"];
      const before = await captured(model, ids, to);
      const residual = await cache.read(from);
      const after = await read({ at: to, op: "lerp", alpha: 0.5, value: cache.at(from), dims: [31, 4] });
      const expected = before.map((x, i) =>
        i % 32 === 31 || i % 32 === 4 ? x + 0.5 * ((residual[i] as number) - x) : x,
      );
      expect(relativeError(after, expected)).toBeLessThan(TOLERANCE);
    });
  });

  it("of a cache with one row serve every row, and of the captured positions each its own", async () => {
    await withHooked("gemma2", async (model) => {
      using source = await model.forward(ids[1] as number[], { capture: ["*"], positions: [-3, 2] });
      for (const at of ["blocks.1.attn.hook_pattern", "blocks.0.attn.hook_k", "logits"]) {
        const layout = layoutOf(at, source.cache.shape(at));
        const given = await source.cache.read(at);
        const after = await captured(model, ids, at, {
          edits: [{ at, op: "set", value: source.cache.at(at), positions: [3, 2] }],
        });
        const target = layoutOf(at, [3, ...(layout.headFirst ? [4, 6, 6] : [6, ...source.cache.shape(at).slice(2)])]);
        for (const [place, position] of [2, 3].entries()) {
          for (let head = 0; head < layout.heads; head++) {
            const from = layout.rowIndex(0, place) * layout.rowStride + head * layout.headStride;
            for (let row = 0; row < 3; row++) {
              const to = target.rowIndex(row, position) * target.rowStride + head * target.headStride;
              expect(after.subarray(to, to + target.width), at).toEqual(given.subarray(from, from + layout.width));
            }
          }
        }
      }
    });
  });
});
