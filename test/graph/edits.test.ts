/**
 * Edited passes are what the references of ops give, the edit's among them: each op, at random points, positions, heads and
 * dimensions, several at a time, in a batch of unequal lengths.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluate } from "../../src/graph/evaluate.ts";
import type { Edit, HookedModel } from "../../src/hooks/index.ts";
import { trace } from "../../src/model/trace.ts";
import { EDIT_FORMULA, hooked, OPS, randomEdit, randomIds } from "../hooks/support.ts";
import { pickOne, relativeError, seeded } from "../support/numbers.ts";
import { fixture, referencePass, rowsOf, withEdits } from "./support.ts";

/** The longer sequence is edited. */
const LONGEST = 6;
const LENGTHS = [LONGEST, 4];

// Windows, soft caps and norms after; parallel and interleaved; ALiBi.
describe.each(["gemma2", "gptj", "bloom"])("edits of %s", (family) => {
  let model: HookedModel;
  let setup: Awaited<ReturnType<typeof fixture>>;
  beforeAll(async () => {
    [model, setup] = await Promise.all([hooked(family), fixture(family)]);
  });
  afterAll(() => model.destroy());

  async function errorOf(ids: number[][], edits: Edit[]): Promise<number> {
    const { spec, weight } = setup;
    const rows = rowsOf(ids);
    const edited = await withEdits(
      spec,
      trace(spec, { changed: new Set(edits.map(({ at }) => at)) }),
      edits,
      ids,
      EDIT_FORMULA,
    );
    const pass = { ...referencePass(spec, 64), edits: edited.edits };
    const logits = evaluate(edited.graph, { rows, weight, pass }).get(edited.graph.output as never) as Float64Array;
    using run = await model.forward(ids, { edits });
    const is: number[] = [];
    for (const [sequence, { length }] of ids.entries())
      for (let at = 0; at < length; at++) is.push(...(await run.logits.at(sequence, at)));
    return relativeError(is, logits);
  }

  it("one by one, are what the references give", async () => {
    const random = seeded(family.length);
    const left = new Map(OPS.map((op) => [op, 4]));
    while ([...left.values()].some((count) => count > 0)) {
      const lengths = pickOne(random, [LENGTHS, LENGTHS.toReversed()]);
      const ids = lengths.map((length) => randomIds(random, length));
      const edit = { ...randomEdit(random, model.spec, LONGEST), batch: [lengths.indexOf(LONGEST)] };
      const count = left.get(edit.op) as number;
      if (count === 0) continue;
      left.set(edit.op, count - 1);
      // Seen: 2e-6.
      expect(await errorOf(ids, [edit]), JSON.stringify(edit)).toBeLessThan(1e-5);
    }
  });

  it("several at a point and at many, are what the references give", async () => {
    const random = seeded(7);
    for (let turn = 0; turn < 6; turn++) {
      const ids = LENGTHS.map((length) => randomIds(random, length));
      const edits = Array.from({ length: 4 }, () => ({ ...randomEdit(random, model.spec, LONGEST), batch: [0] }));
      const { at, positions } = edits[0] as Edit;
      const again: Edit = { at, op: "scale", value: 1.5, batch: [0], ...(positions && { positions }) };
      expect(await errorOf(ids, [...edits, again]), JSON.stringify(edits)).toBeLessThan(1e-5);
    }
  });
});
