/** Each experiment gives what a plain loop of full edited forward passes gives. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Edit, type HookedModel, metric } from "../../src/hooks/index.ts";
import { ablate, activationPatch, causalTrace, injectAtLayers, type Site } from "../../src/hooks/patching/index.ts";
import { gaussianNoise } from "../../src/hooks/patching/noise.ts";
import { failureOf } from "../hooks/support.ts";
import { byDay } from "../support/nightly.ts";
import { gaussians, seeded } from "../support/numbers.ts";
import { furthest, hooked, largest, logitsOf, measure, promptPair } from "./support.ts";

const DIFF = metric.logitDiff(3, 40);
const TOLERANCE = 1e-4;

/** LayerNorm, grouped queries with RMS norms, and a parallel residual, of which experiments know nothing. */
describe.each(byDay(["gpt2", "llama", "gpt_neox"], ["llama"]))("%s", (family) => {
  let model: HookedModel;
  let scale: number;
  const { clean, corrupted } = promptPair(family.length);
  const layers = () => model.spec.layers.map((_, layer) => layer);
  const at = (layer: number, point: string) => `blocks.${layer}.${point}`;

  /** The metric of one full pass for each list of edits. */
  async function loop(cells: Edit[][], ids = corrupted, chosen = DIFF, reference?: Float32Array): Promise<number[]> {
    const values: number[] = [];
    for (const edits of cells) values.push(measure(chosen, await logitsOf(model, ids, edits), reference));
    return values;
  }

  beforeAll(async () => {
    model = await hooked(family);
    scale = largest(await logitsOf(model, clean));
  });
  afterAll(() => model.destroy());

  it.each<[Site, string]>([
    ["resid_pre", "hook_resid_pre"],
    ["attn_out", "hook_attn_out"],
    ["mlp_out", "hook_mlp_out"],
  ])("patches %s at every layer and position, both ways", async (site, point) => {
    for (const direction of ["denoising", "noising"] as const) {
      const [target, source] = direction === "denoising" ? [corrupted, clean] : [clean, corrupted];
      using run = await model.forward(source, { capture: `*.${point}` });
      const edit = (layer: number, position: number): Edit => ({
        at: at(layer, point),
        op: "set",
        positions: [position],
        value: run.cache.at(at(layer, point)),
      });
      const cells = layers().flatMap((layer) => target.map((_, position) => [edit(layer, position)]));
      const grid = await activationPatch(model, { clean, corrupted, metric: DIFF, at: site, direction });
      expect(furthest(grid.values, await loop(cells, target), scale)).toBeLessThan(TOLERANCE);
      expect(
        furthest([grid.clean, grid.corrupted], [...(await loop([[]], clean)), ...(await loop([[]]))], scale),
      ).toBeLessThan(TOLERANCE);
      expect(grid.base).toBe(direction === "denoising" ? grid.corrupted : grid.clean);
      expect([grid.rows.indices, grid.columns.indices]).toEqual([layers(), target.map((_, position) => position)]);
    }
  });

  it.each<[Site, string]>([
    ["z", "attn.hook_z"],
    ["v", "attn.hook_v"],
    ["pattern", "attn.hook_pattern"],
  ])("patches %s for every layer and head", async (site, point) => {
    const heads = site === "v" ? model.spec.nKvHeads : model.spec.nHeads;
    using run = await model.forward(clean, { capture: `*.${point}` });
    for (const positions of [undefined, [-1, 4]]) {
      const cells = layers().flatMap((layer) =>
        Array.from({ length: heads }, (_, head): Edit[] => [
          {
            at: at(layer, point),
            op: "set",
            heads: [head],
            value: run.cache.at(at(layer, point)),
            ...(positions && { positions }),
          },
        ]),
      );
      const grid = await activationPatch(model, {
        clean,
        corrupted,
        metric: DIFF,
        at: site,
        ...(positions && { positions }),
      });
      expect(furthest(grid.values, await loop(cells), scale)).toBeLessThan(TOLERANCE);
      expect(grid.columns.name).toBe("head");
    }
  });

  it.each<[Site, string]>([
    ["z", "attn.hook_z"],
    ["k", "attn.hook_k"],
    ["pattern", "attn.hook_pattern"],
  ])("patches %s for every head at every position", async (site, point) => {
    const heads = [1, 0];
    using run = await model.forward(clean, { capture: `*.${point}` });
    const positions = [4, 1, 8];
    const cells = [2, 1].flatMap((layer) =>
      heads.flatMap((head) =>
        positions.map((position): Edit[] => [
          {
            at: at(layer, point),
            op: "set",
            heads: [head],
            positions: [position],
            value: run.cache.at(at(layer, point)),
          },
        ]),
      ),
    );
    const options = { clean, corrupted, metric: DIFF, at: site, heads, layers: [2, 1], byPosition: true };
    const grid = await activationPatch(model, { ...options, positions: [4, 1, -1] });
    const expected = await loop(cells);
    expect(furthest(grid.values, expected, scale)).toBeLessThan(TOLERANCE);
    expect(grid.rows.labels).toEqual(["L2H1", "L2H0", "L1H1", "L1H0"]);
    expect([grid.columns.name, grid.columns.indices]).toEqual(["position", positions]);
    expect(grid.at([1, 1], 8)).toBe(grid.values[8]);
    for (const row of [[1, 2], [0, 1], [1], 2] as [number, number][])
      expect(await failureOf(() => grid.at(row, 8))).toMatch(
        /hook\/not-in-grid: The grid has no row .*L2H1, L2H0, L1H1, L1H0/,
      );
    expect(await failureOf(() => grid.at([1, 1], 2))).toMatch(/The grid has no position 2; it has 4, 1, 8\./);
    const all = await activationPatch(model, { ...options, layers: [1], heads: [1] });
    expect(all.values.length).toBe(clean.length);
    expect(furthest([all.at([1, 1], 4)], [grid.at([1, 1], 4)], scale)).toBeLessThan(TOLERANCE);
  });

  it("refuses byPosition where cells are positions, and pairs of several lengths", async () => {
    const shared = { metric: DIFF, byPosition: true } as const;
    expect(await failureOf(() => activationPatch(model, { clean, corrupted, ...shared, at: "mlp_out" }))).toMatch(
      /hook\/head-range: blocks\.0\.hook_mlp_out has no heads, and its cells are positions already\. Leave byPosition out\./,
    );
    const other = promptPair(1, 5);
    const pairs = { clean: [clean, other.clean], corrupted: [corrupted, other.corrupted] };
    expect(await failureOf(() => activationPatch(model, { ...pairs, ...shared, at: "z" }))).toMatch(
      /hook\/patch-length: The pairs have 9 and 5 tokens/,
    );
    expect((await activationPatch(model, { ...pairs, ...shared, byPosition: false, at: "z" })).prompts).toHaveLength(2);
  });

  it("restores the clean metric from the clean first residual, and measures kl against the clean run", async () => {
    const reference = await logitsOf(model, clean);
    using run = await model.forward(clean, { capture: at(0, "hook_resid_pre") });
    const all: Edit[] = [{ at: at(0, "hook_resid_pre"), op: "set", value: run.cache.at(at(0, "hook_resid_pre")) }];
    const [restored] = await loop([all]);
    const grid = await activationPatch(model, { clean, corrupted, metric: DIFF, at: "resid_pre", layers: [0] });
    expect(Math.abs((restored as number) - grid.clean) / scale).toBeLessThan(TOLERANCE);

    const kl = await activationPatch(model, { clean, corrupted, metric: metric.kl(), at: "resid_post", layers: [1] });
    const [expected] = await loop([[]], corrupted, metric.kl(), reference);
    expect(kl.corrupted).toBeCloseTo(expected as number, 4);
    expect(Math.abs(kl.clean)).toBeLessThan(1e-5);
    const last = await activationPatch(model, {
      clean,
      corrupted,
      metric: metric.kl(),
      at: "resid_post",
      layers: [model.spec.nLayers - 1],
      positions: [-1],
    });
    expect(last.normalized()[0]).toBeCloseTo(1, 4);
  });

  it("ablates heads with zeros, at an earlier metric position too", async () => {
    const cells = layers().flatMap((layer) =>
      Array.from({ length: model.spec.nHeads }, (_, head): Edit[] => [
        { at: at(layer, "attn.hook_z"), op: "zero", heads: [head] },
      ]),
    );
    const grid = await ablate(model, { input: clean, metric: DIFF, kind: "zero" });
    expect(furthest(grid.values, await loop(cells, clean), scale)).toBeLessThan(TOLERANCE);
    const earlier = await ablate(model, { input: clean, metric: DIFF, kind: "zero", metricPosition: 5 });
    expect(furthest(earlier.values, await loop(cells, clean.slice(0, 6)), scale)).toBeLessThan(TOLERANCE);
  });

  it("ablates with means over all positions and for each position", async () => {
    const reference = [promptPair(21, 9).clean, promptPair(22, 12).clean, promptPair(23, 10).clean];
    const runs = await Promise.all(reference.map((prompt) => model.runWithCache(prompt)));
    const name = at(1, "hook_mlp_out");
    const { dModel } = model.spec;
    const values = await Promise.all(runs.map(({ cache }) => cache.read(name)));
    for (const run of runs) run.destroy();
    const vectors = values.flatMap((list, prompt) =>
      (reference[prompt] as number[]).map((_, p) => list.subarray(p * dModel, (p + 1) * dModel)),
    );
    const mean = (list: Float32Array[]) =>
      Float32Array.from(
        { length: dModel },
        (_, d) => list.reduce((sum, vector) => sum + (vector[d] as number), 0) / list.length,
      );
    const perPosition = clean.map((_, p) => mean(values.map((list) => list.subarray(p * dModel, (p + 1) * dModel))));

    const options = { input: clean, metric: DIFF, kind: "mean", at: "mlp_out", layers: [1], reference } as const;
    const all = await ablate(model, options);
    const each = await ablate(model, { ...options, meanOver: "position" });
    const expected = await loop(
      [
        [{ at: name, op: "set", value: mean(vectors) }],
        [{ at: name, op: "set", value: Float32Array.from(perPosition.flatMap((vector) => [...vector])) }],
      ],
      clean,
    );
    expect(furthest([...all.values, ...each.values], expected, scale)).toBeLessThan(TOLERANCE);
    expect(Math.abs((expected[0] as number) - (expected[1] as number)) / scale).toBeGreaterThan(10 * TOLERANCE);
  });

  it("ablates heads with their own mean", async () => {
    const reference = [promptPair(21, 9).clean, promptPair(22, 12).clean];
    const positions = [2, 7];
    const { dHead, nHeads } = model.spec;
    const runs = await Promise.all(reference.map((prompt) => model.runWithCache(prompt)));
    const cells: Edit[][] = [];
    for (let head = 0; head < nHeads; head++) {
      const read = (run: (typeof runs)[number]) => run.cache.read(at(0, "attn.hook_z"), { positions, heads: [head] });
      const [a, b] = (await Promise.all(runs.map(read))) as [Float32Array, Float32Array];
      expect(a.length).toBe(2 * dHead);
      cells.push([
        {
          at: at(0, "attn.hook_z"),
          op: "set",
          heads: [head],
          positions,
          value: a.map((x, i) => (x + (b[i] as number)) / 2),
        },
      ]);
    }
    for (const run of runs) run.destroy();
    const grid = await ablate(model, {
      input: clean,
      metric: DIFF,
      kind: "mean",
      meanOver: "position",
      layers: [0],
      positions: [7, 2],
      reference,
    });
    expect(furthest(grid.values, await loop(cells, clean), scale)).toBeLessThan(TOLERANCE);
  });

  it("ablates with the activations of drawn prompts", async () => {
    const reference = [promptPair(31, 9).clean, promptPair(32, 11).clean, promptPair(33, 9).clean];
    const options = {
      input: clean,
      metric: DIFF,
      kind: "resample",
      at: "z",
      layers: [1],
      reference,
      samples: 4,
    } as const;
    const grid = await ablate(model, { ...options, seed: 5 });
    using run = await model.forward(reference, { capture: at(1, "attn.hook_z") });
    const expected: number[] = [];
    for (const [head, rows] of grid.draws.entries()) {
      const cells = rows.map((row): Edit[] => [
        {
          at: at(1, "attn.hook_z"),
          op: "set",
          heads: [head],
          value: run.cache.at(at(1, "attn.hook_z"), { batch: row }),
        },
      ]);
      expected.push((await loop(cells, clean)).reduce((sum, value) => sum + value, 0) / rows.length);
    }
    expect(furthest(grid.values, expected, scale)).toBeLessThan(TOLERANCE);
    expect(new Set(grid.draws.flat())).toEqual(new Set([0, 1, 2]));
    expect((await ablate(model, { ...options, seed: 5 })).toJSON()).toEqual(grid.toJSON());
    expect((await ablate(model, { ...options, seed: 6 })).draws).not.toEqual(grid.draws);
  });

  it.each([
    ["resid_post", "hook_resid_post", 1],
    ["mlp_out", "hook_mlp_out", 2],
    ["attn_out", "hook_attn_out", 3],
  ] as const)("traces %s, averaged over noise samples", async (site, point, window) => {
    const subject = [1, 2];
    using run = await model.forward(clean, { capture: [`*.${point}`, "hook_embed"] });
    const embed = await run.cache.read("hook_embed");
    const mean = embed.reduce((sum, value) => sum + value, 0) / embed.length;
    const std = Math.sqrt(embed.reduce((sum, value) => sum + (value - mean) ** 2, 0) / embed.length);
    const noises = [0, 1].map((sample) => gaussianNoise(7, sample, 2 * model.spec.dModel, 3 * std));
    const corruption = (sample: number): Edit => ({
      at: "hook_embed",
      op: "add",
      positions: subject,
      value: noises[sample] as Float32Array,
    });
    const restore = (layer: number, position: number) =>
      layers()
        .filter((other) => other >= layer - Math.floor(window / 2) && other < layer + Math.ceil(window / 2))
        .map(
          (other): Edit => ({
            at: at(other, point),
            op: "set",
            positions: [position],
            value: run.cache.at(at(other, point)),
          }),
        );
    const average = async (edits: Edit[]) => {
      const values = await loop(
        [0, 1].map((sample) => [corruption(sample), ...edits]),
        clean,
      );
      return values.reduce((sum, value) => sum + value, 0) / 2;
    };
    const expected: number[] = [];
    const positions = [0, 1, 2, 5, 8];
    for (const layer of layers())
      for (const position of positions) expected.push(await average(restore(layer, position)));

    const grid = await causalTrace(model, {
      prompt: clean,
      subject,
      metric: DIFF,
      at: site,
      window,
      samples: 2,
      seed: 7,
      positions,
    });
    expect(grid.noiseStd / (3 * std)).toBeCloseTo(1, 5);
    expect(furthest(grid.values, expected, scale)).toBeLessThan(TOLERANCE);
    expect(
      furthest([grid.corrupted, grid.clean], [await average([]), ...(await loop([[]], clean))], scale),
    ).toBeLessThan(TOLERANCE);
    expect(Math.abs(grid.clean - grid.corrupted) / scale).toBeGreaterThan(10 * TOLERANCE);
  });

  it("injects a vector, or one for each layer; the prompt's own residual changes nothing", async () => {
    const vector = gaussians(seeded(4), model.spec.dModel);
    const added = await injectAtLayers(model, {
      input: clean,
      metric: DIFF,
      vector,
      op: "add",
      alpha: 0.5,
      position: 6,
      at: "resid_pre",
    });
    const addCells = layers().map((layer): Edit[] => [
      { at: at(layer, "hook_resid_pre"), op: "add", alpha: 0.5, positions: [6], value: vector },
    ]);
    expect(furthest(added.values, await loop(addCells, clean), scale)).toBeLessThan(TOLERANCE);

    using other = await model.forward(corrupted, { capture: "*.hook_resid_post" });
    const vectors = layers().map((layer) => other.cache.at(at(layer, "hook_resid_post"), { position: 3 }));
    const set = await injectAtLayers(model, { input: clean, metric: DIFF, vectors });
    const setCells = layers().map((layer): Edit[] => [
      { at: at(layer, "hook_resid_post"), op: "set", positions: [-1], value: vectors[layer] },
    ]);
    expect(furthest(set.values, await loop(setCells, clean), scale)).toBeLessThan(TOLERANCE);

    using self = await model.forward(clean, { capture: "*.hook_resid_post" });
    const own = layers().map((layer) => self.cache.at(at(layer, "hook_resid_post"), { position: -1 }));
    const same = await injectAtLayers(model, { input: clean, metric: DIFF, vectors: own });
    expect(
      furthest(
        same.change(),
        layers().map(() => 0),
        scale,
      ),
    ).toBeLessThan(TOLERANCE);
  });
});
