/**
 * What is built on gradients, on every host: attribution patching, integrated gradients, edges, paths, Jacobians, heads' circuits.
 *
 * The numbers come from PyTorch: the residual stream and the patterns of two prompts, the gradient of a logit difference at the
 * residual of each, and the weights as stored. The rest follows by arithmetic in float64.
 */
import {
  compareWithExact,
  edgeAttribution,
  type HeadSvd,
  type HookedModel,
  headSvd,
  integratedGradients,
  jacobian,
  loadModel,
  metric,
  pathPatch,
} from "../../src/index.ts";
import { checkClose, fixtureTensors } from "./families.ts";
import { byDayIn, type Check, type CheckContext, expectEqual, showWorst } from "./harness.ts";

const [UP, DOWN] = [5, 7];
const METRIC = metric.logitDiff(UP, DOWN);

/** A fixture and what PyTorch says of it. Prompt 0 is the clean one, prompt 1 the corrupted one. */
class Fixture {
  private constructor(
    readonly model: HookedModel,
    readonly golden: ReadonlyMap<string, Float32Array>,
    readonly gradients: ReadonlyMap<string, Float32Array>,
    readonly stored: ReadonlyMap<string, Float32Array>,
  ) {}

  static async load(context: CheckContext, family: string): Promise<Fixture> {
    const [golden, grads, stored] = await Promise.all(
      ["golden", "grads", "model"].map((name) => fixtureTensors(context, `families/${family}/${name}.safetensors`)),
    );
    const model = await loadModel(`${context.fixtureUrl}families/${family}`, { gpu: await context.gpu() });
    return new Fixture(model, golden as never, grads as never, stored as never);
  }

  ids(prompt: number): number[] {
    return [...half(this.golden.get("input_ids") as Float32Array, prompt)];
  }

  /** The residual before a block, or after the last, [pos, dModel]. */
  residual(layer: number, prompt: number): Float32Array {
    return half(this.golden.get(`hidden.${layer}`) as Float32Array, prompt);
  }

  /** The metric's gradient there. */
  gradient(layer: number, prompt: number): Float32Array {
    return half(this.gradients.get(`d_hidden.${layer}`) as Float32Array, prompt);
  }

  readonly metricOf = (prompt: number): number => {
    const logits = half(this.golden.get("logits") as Float32Array, prompt).slice(-this.model.spec.vocabSize);
    return (logits[UP] as number) - (logits[DOWN] as number);
  };

  /** (to - from) · the gradient at `from`, for each position. */
  change(layer: number, from: number, to: number): number[] {
    const { dModel } = this.model.spec;
    const [before, after] = [this.residual(layer, from), this.residual(layer, to)];
    const sums = new Array<number>(before.length / dModel).fill(0);
    this.gradient(layer, from).forEach((slope, at) => {
      const position = Math.floor(at / dModel);
      sums[position] = (sums[position] as number) + slope * ((after[at] as number) - (before[at] as number));
    });
    return sums;
  }

  /** As gpt2 names it. */
  weight(name: string): Float32Array {
    return this.stored.get(`transformer.${name}`) as Float32Array;
  }
}

const half = (values: Float32Array, which: number) =>
  values.subarray((which * values.length) / 2, ((which + 1) * values.length) / 2);

/** Gives the largest error. */
type Body = (fixture: Fixture) => Promise<number>;

const byDay = byDayIn({
  browser: ["attribution patching is PyTorch's gradient times difference, exact cells what an edit gives"],
});

function fixtureCheck(name: string, body: Body, family = "gpt2"): Check {
  return {
    name: `${family}: ${name}`,
    ...byDay(name),
    async run(context) {
      const fixture = await Fixture.load(context, family);
      try {
        return showWorst(await body(fixture));
      } finally {
        fixture.model.destroy();
      }
    },
  };
}

const attributionsAndExact: Body = async (fixture) => {
  const { model } = fixture;
  const { dModel, layers } = model.spec;
  const options = { clean: fixture.ids(0), corrupted: fixture.ids(1), metric: METRIC, at: "resid_pre" } as const;
  const { grid, cells, largestError } = await compareWithExact(model, options, { sample: 4 });
  expectEqual(cells.length, 4, "cells");
  const expected = layers.flatMap((_, layer) => fixture.change(layer, 1, 0));
  const worst = checkClose(grid.change(), Float32Array.from(expected), "(clean - corrupted) · gradient");
  checkClose(Float32Array.of(grid.clean, grid.corrupted), Float32Array.of(...[0, 1].map(fixture.metricOf)), "ends");
  // Exact: the corrupted prompt with PyTorch's clean residual set at the cell.
  const exact: number[] = [];
  for (const { layer, column } of cells) {
    const value = fixture.residual(layer, 0).subarray(column * dModel, (column + 1) * dModel);
    const edits = { at: `blocks.${layer}.hook_resid_pre`, op: "set", positions: [column], value } as const;
    using run = await model.forward(fixture.ids(1), { edits, logits: [-1] });
    const logits = await run.logits.read();
    exact.push((logits[UP] as number) - (logits[DOWN] as number));
  }
  const patched = Float32Array.from([...cells.map((cell) => grid.base + cell.exact), grid.base + largestError]);
  const errors = cells.map(({ index }, i) => (exact[i] as number) - fixture.metricOf(1) - (expected[index] as number));
  const furthest = Math.max(...errors.map(Math.abs));
  checkClose(patched, Float32Array.from([...exact, fixture.metricOf(1) + furthest]), "exact cells");
  return worst;
};

/** Between two prompts the attributions add up to what PyTorch's metrics differ by, at the last residual all at the last token. */
const integrated: Body = async (fixture) => {
  const { nLayers } = fixture.model.spec;
  const shared = { input: fixture.ids(0), baseline: fixture.ids(1), metric: METRIC };
  const difference = fixture.metricOf(0) - fixture.metricOf(1);
  const whole = await integratedGradients(fixture.model, { ...shared, at: "blocks.0.hook_resid_pre", steps: 48 });
  // What is left is the midpoint sum's own error.
  if (!(Math.abs(whole.sum - difference) <= 0.01 * Math.abs(difference)))
    throw new Error(`the attributions add up to ${whole.sum}, the metrics differ by ${difference}`);
  const at = `blocks.${nLayers - 1}.hook_resid_post`;
  const last = await integratedGradients(fixture.model, { ...shared, at, steps: 16 });
  const expected = new Float32Array(last.scores.length);
  expected[expected.length - 1] = difference;
  return checkClose(Float32Array.from(last.scores), expected, "scores at the last residual", 1e-3);
};

/** Two rows of the logits' Jacobian differ by the gradient of the logit difference. */
const jacobians: Body = async (fixture) => {
  let worst = 0;
  for (const layer of [0, 2]) {
    const from = `blocks.${layer}.hook_resid_pre`;
    const input = fixture.ids(0);
    const { data } = await jacobian(fixture.model, {
      input,
      from,
      to: "logits",
      rows: [UP, DOWN],
      fromPosition: "all",
    });
    const [up, down] = [half(data, 0), half(data, 1)];
    const slope = up.map((value, at) => value - (down[at] as number));
    worst = Math.max(worst, checkClose(slope, fixture.gradient(layer, 0), `gradient before block ${layer}`));
  }
  return worst;
};

/** The edges that cross a residual stream, together, are its change times its gradient. */
const edges: Body = async (fixture) => {
  const { model } = fixture;
  const { nLayers } = model.spec;
  const prompts = { clean: fixture.ids(0), corrupted: fixture.ids(1) };
  const graph = await edgeAttribution(model, { ...prompts, metric: METRIC, method: "eap" });
  // Stages of the pass: a block's heads read at its number, its MLP half a block later.
  const read = new Map(
    graph.inputs.map(({ name, layer, part }) => [
      name,
      part === "logits" ? nLayers : layer + (part === "mlp" ? 0.5 : 0),
    ]),
  );
  const written = (source: string) =>
    source === "input" ? -1 : Number(/\d+/.exec(source)) + (source.startsWith("m") ? 0.5 : 0);
  const crossing = (layer: number) =>
    [...graph.edges.values()].reduce((sum, { source, input, score }) => {
      const crosses = written(source) < layer && (read.get(input) as number) >= layer;
      return crosses ? sum + score : sum;
    }, 0);
  const residuals = Array.from({ length: nLayers + 1 }, (_, layer) => layer);
  const expected = residuals.map((layer) => fixture.change(layer, 0, 1).reduce((sum, each) => sum + each, 0));
  return checkClose(Float32Array.from(residuals, crossing), Float32Array.from(expected), "edges across residuals");
};

/** What the last block's heads send to the logits: their change of z through W_O, added to the residual, normed and unembedded. */
const paths: Body = async (fixture) => {
  const { model } = fixture;
  const { nLayers, nHeads } = model.spec;
  const layer = nLayers - 1;
  const prompts = { clean: fixture.ids(0), corrupted: fixture.ids(1) };
  const grid = await pathPatch(model, { ...prompts, metric: METRIC, layers: [layer] });
  const [clean, corrupted] = [0, 1].map((prompt) => headOutputs(fixture, layer, prompt));
  const residual = fixture.residual(nLayers, 0).slice(-model.spec.dModel);
  const expected = Array.from({ length: nHeads }, (_, head) => {
    const sent = residual.map((x, d) => x + (corrupted?.[head]?.[d] as number) - (clean?.[head]?.[d] as number));
    return unembedded(fixture, sent);
  });
  const moved = Math.max(...expected.map((value) => Math.abs(value - fixture.metricOf(0))));
  // Else the comparison would say nothing.
  if (!(moved > 100 * 1e-6)) throw new Error(`the paths change the metric by ${moved} at the most`);
  const worst = checkClose(grid.values, Float32Array.from(expected), "heads to the logits");
  // The same by exact patching of the edges, which no other node sees.
  const graph = await edgeAttribution(model, { ...prompts, metric: METRIC, method: "exact" });
  const patched = expected.map(
    (_, head) => fixture.metricOf(0) + (graph.edges.get(`a${layer}.h${head}->logits`)?.score as number),
  );
  return Math.max(worst, checkClose(Float32Array.from(patched), Float32Array.from(expected), "exact edges"));
};

/** What each head adds at the last position, [head][dModel], from the residual before the block and the pattern. */
function headOutputs(fixture: Fixture, layer: number, prompt: number): Float64Array[] {
  const { nHeads, dModel } = fixture.model.spec;
  const residual = fixture.residual(layer, prompt);
  const count = residual.length / dModel;
  const pattern = half(fixture.golden.get(`pattern.${layer}`) as Float32Array, prompt);
  return Array.from({ length: nHeads }, (_, head) => {
    const from = ((head + 1) * count - 1) * count;
    const mixed = new Float64Array(dModel);
    for (let key = 0; key < count; key++) {
      const normed = layerNorm(fixture, `h.${layer}.ln_1`, residual.subarray(key * dModel, (key + 1) * dModel));
      normed.forEach((value, d) => {
        mixed[d] = (mixed[d] as number) + (pattern[from + key] as number) * value;
      });
    }
    // The bias of values is the same in both prompts.
    const { values, out } = headMatrices(fixture, layer, head);
    return times(times(mixed, values), out);
  });
}

/** W_Q, W_K and W_V [dModel][dHead] and W_O [dHead][dModel] of a head, as GPT-2 stores them. */
function headMatrices(
  fixture: Fixture,
  layer: number,
  head: number,
): Record<"queries" | "keys" | "values" | "out", number[][]> {
  const { dModel, dHead } = fixture.model.spec;
  const [attention, projection] = [
    fixture.weight(`h.${layer}.attn.c_attn.weight`),
    fixture.weight(`h.${layer}.attn.c_proj.weight`),
  ];
  const rows = (count: number, at: (row: number, column: number) => number, width: number) =>
    Array.from({ length: count }, (_, row) => Array.from({ length: width }, (__, column) => at(row, column)));
  const part = (index: number) =>
    rows(dModel, (d, n) => attention[d * 3 * dModel + index * dModel + head * dHead + n] as number, dHead);
  return {
    ...{ queries: part(0), keys: part(1), values: part(2) },
    out: rows(dHead, (n, d) => projection[(head * dHead + n) * dModel + d] as number, dModel),
  };
}

const times = (x: ArrayLike<number>, matrix: readonly (readonly number[])[]): Float64Array =>
  Float64Array.from(matrix[0] as number[], (_, column) =>
    matrix.reduce((sum, row, index) => sum + (x[index] as number) * (row[column] as number), 0),
  );

function layerNorm(fixture: Fixture, name: string, x: Float32Array): Float64Array {
  const [w, b] = [fixture.weight(`${name}.weight`), fixture.weight(`${name}.bias`)];
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  return Float64Array.from(
    x,
    (value, d) => ((value - mean) / Math.sqrt(variance + 1e-5)) * (w[d] as number) + (b[d] as number),
  );
}

function unembedded(fixture: Fixture, residual: Float32Array): number {
  const normed = layerNorm(fixture, "ln_f", residual);
  const embedding = fixture.weight("wte.weight");
  const logit = (token: number) =>
    normed.reduce((sum, value, d) => sum + value * (embedding[token * normed.length + d] as number), 0);
  return logit(UP) - logit(DOWN);
}

/** What the singular parts of a circuit add up to, [dModel, dModel]. */
function sumOfParts({ values, left, right }: HeadSvd, dModel: number): Float32Array {
  return Float32Array.from({ length: dModel ** 2 }, (_, at) =>
    values.reduce(
      (all, value, part) =>
        all + value * (left[part]?.[Math.floor(at / dModel)] as number) * (right[part]?.[at % dModel] as number),
      0,
    ),
  );
}

/** The singular parts of a head's circuits add up to W_V W_O and W_Q W_K^T, and its tokens are those with the largest scores. */
const heads: Body = async (fixture) => {
  const { dModel, dHead } = fixture.model.spec;
  const [layer, head] = [1, 2];
  const { queries, keys, values, out } = headMatrices(fixture, layer, head);
  const qk = await headSvd(fixture.model, { layer, head, circuit: "QK" });
  const turned = Array.from({ length: dHead }, (_, n) => keys.map((row) => row[n] as number));
  const scored = Float32Array.from(queries.flatMap((row) => [...times(row, turned)]));
  const svd = await headSvd(fixture.model, { layer, head, circuit: "OV", topTokens: 1 });
  const moved = Float32Array.from(values.flatMap((row) => [...times(row, out)]));
  const worst = Math.max(
    checkClose(sumOfParts(qk, dModel), scored, "W_Q W_K^T"),
    checkClose(sumOfParts(svd, dModel), moved, "W_V W_O"),
  );
  const written = svd.right[0] as Float64Array;
  const mean = written.reduce((all, value) => all + value, 0) / dModel;
  const [scale, embedding] = [fixture.weight("ln_f.weight"), fixture.weight("wte.weight")];
  const scores = Array.from({ length: fixture.model.spec.vocabSize }, (_, token) =>
    written.reduce(
      (all, value, d) => all + (value - mean) * (scale[d] as number) * (embedding[token * dModel + d] as number),
      0,
    ),
  );
  const [top] = svd.rightTokens?.[0]?.most ?? [];
  expectEqual(top?.token, scores.indexOf(Math.max(...scores)), "token that rises most");
  return worst;
};

export const attributionChecks: Check[] = [
  fixtureCheck(
    "attribution patching is PyTorch's gradient times difference, exact cells what an edit gives",
    attributionsAndExact,
  ),
  fixtureCheck("integrated gradients add up to what PyTorch's metrics differ by", integrated),
  fixtureCheck("rows of the logits' Jacobian give PyTorch's gradient", jacobians),
  // Norms before; before and after; after.
  ...["gpt2", "gemma2", "olmo2"].map((family) =>
    fixtureCheck("edges add up to PyTorch's gradients of the residual stream", edges, family),
  ),
  fixtureCheck("direct paths of heads to the logits follow from PyTorch's patterns and residuals", paths),
  fixtureCheck("a head's circuit is taken apart", heads),
];
