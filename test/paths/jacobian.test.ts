/** Jacobians: against matrices that are known, against finite differences, and what is refused. */
import { afterAll, describe, expect, it } from "vitest";
import { HookedModel, type JacobianOptions, jacobian } from "../../src/hooks/index.ts";
import { golden, loadFixture } from "../support/fixtures.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { headOv, identity, matrix, plainModel, plus, type Rows, scaled, times, transposed } from "./support.ts";

const open: HookedModel[] = [];
afterAll(() => {
  for (const model of open) model.destroy();
});
const kept = (model: HookedModel) => {
  open.push(model);
  return model;
};

/** The sum over the heads of W_V W_O. */
async function attention(model: HookedModel, layer: number): Promise<Rows> {
  const heads = await Promise.all([0, 1, 2, 3].map((head) => headOv(model, layer, head)));
  return heads.reduce(plus);
}

async function mlp(model: HookedModel, layer: number): Promise<Rows> {
  return times(await matrix(model, `blocks.${layer}.mlp.W_in`), await matrix(model, `blocks.${layer}.mlp.W_out`));
}

describe("of a model without norms, whose queries are zero", () => {
  // Every key gets the same weight, so that the model is linear.
  const linear = plainModel("identity", ["attn.W_Q", "attn.b_Q"]).then(kept);
  const from = "blocks.0.hook_resid_pre";

  it("is the product of its blocks at the first position", async () => {
    const model = await linear;
    const one = identity(model.spec.dModel);
    let product = one;
    for (const layer of [0, 1]) {
      product = times(times(product, plus(one, await attention(model, layer))), plus(one, await mlp(model, layer)));
    }
    const { shape, data } = await jacobian(model, { input: [3], from, to: "blocks.1.hook_resid_post" });
    expect(shape).toEqual([10, 10]);
    // Rows are what comes out.
    expect(relativeError(data, transposed(product).flat())).toBeLessThan(1e-6);
    const logits = await jacobian(model, { input: [3], from, to: "logits", rows: [12, 4] });
    const unembedded = transposed(times(product, await matrix(model, "W_U")));
    expect(logits.rows).toEqual([12, 4]);
    expect(relativeError(logits.data, [unembedded[12], unembedded[4]].flat() as number[])).toBeLessThan(1e-6);
  });

  it("has the pattern's share of other positions, and nothing of later ones", async () => {
    const model = await linear;
    const one = identity(model.spec.dModel);
    const branch = scaled(await attention(model, 0), 1 / 3);
    const rest = plus(one, await mlp(model, 0));
    const { shape, data } = await jacobian(model, {
      input: [3, 1, 4, 1],
      from,
      to: "blocks.0.hook_resid_post",
      position: 2,
      fromPosition: "all",
    });
    expect(shape).toEqual([10, 4, 10]);
    const other = transposed(times(branch, rest));
    const own = transposed(times(plus(one, branch), rest));
    const expected = other.flatMap((row, index) => [...row, ...row, ...(own[index] as number[]), ...row.map(() => 0)]);
    expect(relativeError(data, expected)).toBeLessThan(1e-6);
    const first = await jacobian(model, {
      input: [3, 1, 4, 1],
      from,
      to: "blocks.0.hook_resid_post",
      position: -2,
      fromPosition: 0,
    });
    expect(relativeError(first.data, other.flat())).toBeLessThan(1e-6);
  });

  it("is the identity of a point by itself, and zero where no path leads", async () => {
    const model = await linear;
    const own = await jacobian(model, { input: [3, 1], from, to: from });
    expect([...own.data]).toEqual(identity(10).flat());
    const keys = { input: [3, 1], from: "blocks.0.attn.hook_q", to: "blocks.0.attn.hook_k" };
    const none = await jacobian(model, keys);
    expect(none.shape).toEqual([8, 16]);
    expect(none.data.every((value) => value === 0)).toBe(true);
  });

  it("is that of the edited model", async () => {
    const model = await linear;
    const edits = [{ at: "blocks.*.hook_attn_out", op: "zero" as const, batch: [0] }];
    const { data } = await model.withEdits(edits, (edited) =>
      jacobian(edited, { input: [3, 1], from, to: "blocks.0.hook_resid_post" }),
    );
    const expected = transposed(plus(identity(10), await mlp(model, 0)));
    expect(relativeError(data, expected.flat())).toBeLessThan(1e-6);
  });

  it("does not depend on how many rows a pass takes", async () => {
    const model = await linear;
    const options: JacobianOptions = { input: [3, 1, 4], from, to: "blocks.1.hook_resid_post", fromPosition: "all" };
    const whole = await jacobian(model, options);
    const { engine } = model.base;
    const most = engine.maxRowsPerPass;
    engine.maxRowsPerPass = 10;
    const seen: { done: number; total: number }[] = [];
    const inBlocks = await jacobian(model, { ...options, onProgress: (progress) => seen.push(progress) });
    engine.maxRowsPerPass = most;
    expect(seen.map(({ done }) => done)).toEqual([3, 6, 9, 10]);
    expect(seen.every(({ total }) => total === 10)).toBe(true);
    expect(relativeError(inBlocks.data, whole.data)).toBeLessThan(1e-6);
  });
});

/** The activation at a point and position, with a vector added at another. */
async function shifted(
  model: HookedModel,
  ids: number[],
  [from, to]: readonly [string, string],
  positions: readonly [number, number],
  value: Float32Array,
): Promise<Float32Array> {
  using run = await model.forward([ids], {
    capture: to,
    positions: [positions[1]],
    edits: { at: from, op: "add", positions: [positions[0]], value },
  });
  return run.cache.read(to);
}

const PATHS = [
  ["blocks.0.hook_resid_pre", "blocks.1.hook_resid_post"],
  ["hook_embed", "ln_final.hook_normalized"],
  ["blocks.0.attn.hook_z", "blocks.1.attn.hook_k"],
  ["blocks.0.attn.hook_v", "blocks.1.mlp.hook_post"],
] as const;

describe.each(["gpt2", "gemma2"])("of %s", (family) => {
  const loading = loadFixture(family).then((model) => kept(new HookedModel(model)));

  it.each(PATHS)("from %s to %s is that of finite differences along a vector", async (from, to) => {
    const model = await loading;
    const ids = ((await golden(family)).ids[0] as number[]).slice(0, 6);
    for (const [source, target] of [
      [5, 5],
      [2, 4],
    ] as const) {
      const { shape, data } = await jacobian(model, { input: ids, from, to, position: target, fromPosition: source });
      const [rows = 0, columns = 0] = shape;
      const direction = gaussians(seeded(source), columns, 1);
      const product = Float64Array.from({ length: rows }, (_, row) =>
        direction.reduce((sum, x, column) => sum + x * (data[row * columns + column] as number), 0),
      );
      const step = 1e-2;
      const [above, below] = await Promise.all(
        [step, -step].map((by) =>
          shifted(
            model,
            ids,
            [from, to],
            [source, target],
            direction.map((x) => x * by),
          ),
        ),
      );
      const slope = Float64Array.from({ length: rows }, (_, row) => {
        return ((above?.[row] as number) - (below?.[row] as number)) / (2 * step);
      });
      // Seen: up to 4e-4, from the rounding of float32 over the step, and the step squared.
      console.log(relativeError(product, slope));
      expect(relativeError(product, slope)).toBeLessThan(1e-3);
    }
  });
});

describe("memory and signals", () => {
  const loading = plainModel("relu").then(kept);
  const options = { input: [1, 2, 3], from: "blocks.0.hook_resid_pre", to: "blocks.1.hook_resid_post" };

  it("stays where it was after many calls", async () => {
    const model = await loading;
    await jacobian(model, options);
    const before = model.gpu.memory;
    for (let call = 0; call < 20; call++) await jacobian(model, options);
    expect(model.gpu.memory).toEqual(before);
  });

  it("ends with the signal's reason, after the block that runs", async () => {
    const model = await loading;
    const { engine } = model.base;
    const most = engine.maxRowsPerPass;
    engine.maxRowsPerPass = 6;
    const before = model.gpu.memory;
    const ends = new AbortController();
    const onProgress = ({ done }: { done: number }) => {
      if (done === 4) ends.abort("enough");
    };
    await expect(jacobian(model, { ...options, onProgress, signal: ends.signal })).rejects.toBe("enough");
    engine.maxRowsPerPass = most;
    expect(model.gpu.memory).toEqual(before);
  });
});

describe("what is refused", () => {
  const loading = plainModel("relu").then(kept);
  const options = { input: [1, 2], from: "blocks.0.hook_resid_pre", to: "blocks.1.hook_resid_post" };

  it.each([
    ["hook/jacobian", { to: "blocks.0.attn.hook_pattern" }],
    ["hook/jacobian", { from: options.to, to: options.from }],
    ["hook/no-such-point", { to: "blocks.2.hook_resid_post" }],
    ["hook/position-range", { position: 2 }],
    ["hook/position-range", { fromPosition: -3 }],
    ["hook/dim-range", { rows: 10 }],
    ["hook/empty-selection", { rows: [] }],
    ["input/experiment", { input: [[1], [2]] }],
    ["input/argument", { fromPosition: "last" }],
  ])("%s for %o", async (code, change) => {
    const model = await loading;
    const before = model.gpu.memory;
    await expect(jacobian(model, { ...options, ...change } as JacobianOptions)).rejects.toMatchObject({ code });
    expect(model.gpu.memory).toEqual(before);
  });

  it("an edit whose derivative is not known", async () => {
    const model = await loading;
    const edits = [{ at: "blocks.0.hook_attn_out", op: "wgsl" as const, expression: "x * x" }];
    await expect(model.withEdits(edits, (edited) => jacobian(edited, options))).rejects.toMatchObject({
      code: "hook/no-gradient",
    });
  });
});
