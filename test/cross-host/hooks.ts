/**
 * Hooks on every host, a few of each kind: what differs between hosts is who compiles the kernels and who maps the
 * memory, so each way of looking and changing runs once, and is compared with another way to the same numbers.
 */
import {
  ActivationCache,
  activationPatch,
  type Edit,
  FilesSource,
  type HookedModel,
  loadModel,
  metric,
  openCheckpoint,
} from "../../src/index.ts";
import { checkClose, IN_CHROMIUM } from "./families.ts";
import { byDayIn, type Check, type CheckContext, showWorst } from "./harness.ts";

const IDS = [3, 14, 15, 92, 65, 35, 89, 79, 32, 38];

type Body = (model: HookedModel) => Promise<string | undefined>;

const byDay = byDayIn({ browser: [...IN_CHROMIUM, "llama"] });

function hookCheck(family: string, name: string, body: Body): Check {
  return {
    name: `${family}: ${name}`,
    ...byDay(family),
    async run(context: CheckContext) {
      const model = await loadModel(`${context.fixtureUrl}families/${family}`, { gpu: await context.gpu() });
      try {
        return await body(model);
      } finally {
        model.destroy();
      }
    },
  };
}

async function logitsOf(model: HookedModel, edits: readonly Edit[] = []): Promise<Float32Array> {
  using result = await model.forward(IDS, { edits });
  return await result.logits.read();
}

function expectSame(actual: unknown, expected: unknown, what: string): void {
  const [is, should] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (is !== should) throw new Error(`${what}: expected ${should}, got ${is}`);
}

const lookAtEverything: Body = async (model) => {
  const plain = await logitsOf(model);
  using all = await model.forward(IDS, { capture: "*", positions: [-1, 2] });
  expectSame(all.cache.names, model.pointNames(), "names");
  const logits = await all.cache.read("logits", { positions: [-1] });
  return showWorst(checkClose(logits, plain.slice(-logits.length), "captured logits"));
};

const saveAndLoad: Body = async (model) => {
  using all = await model.forward(IDS, { capture: ["*hook_z", "*hook_pattern"] });
  const blob = new Blob([(await all.cache.save()) as BlobPart]);
  using loaded = await ActivationCache.load(
    model.gpu,
    await openCheckpoint(new FilesSource([{ name: "model.safetensors", blob }], "saved")),
  );
  expectSame(loaded.positions, all.cache.positions, "positions");
  for (const name of all.cache.names)
    expectSame([...(await loaded.array(name)).toFlat()], [...(await all.cache.read(name))], name);
  return `${blob.size} bytes`;
};

/** Each op at one point, against a JavaScript hook that does the same. */
const editsAsCallbacks: Body = async (model) => {
  const v = Float32Array.from({ length: model.spec.dModel }, (_, d) => Math.cos(d));
  const square = v.reduce((sum, value) => sum + value * value, 0);
  const along = (x: Float32Array, d: number) => {
    const row = x.subarray(d - (d % v.length), d - (d % v.length) + v.length);
    return row.reduce((sum, value, i) => sum + value * (v[i] as number), 0) / square;
  };
  const at = "blocks.1.hook_resid_post";
  const changes: [Omit<Edit, "at">, (x: Float32Array, index: number, given: number) => number][] = [
    [{ op: "set", value: v }, (_x, _i, given) => given],
    [{ op: "add", value: v, alpha: 2 }, (x, i, given) => (x[i] as number) + 2 * given],
    [{ op: "scale", value: 0.5 }, (x, i) => (x[i] as number) / 2],
    [{ op: "zero", dims: [3] }, (x, i) => (i % v.length === 3 ? 0 : (x[i] as number))],
    [{ op: "lerp", value: v, alpha: 0.25 }, (x, i, given) => 0.75 * (x[i] as number) + 0.25 * given],
    [{ op: "project_out", value: v }, (x, i, given) => (x[i] as number) - given * along(x, i)],
    [
      { op: "wgsl", expression: "tanh(x) + f32(p) * 0.1" },
      (x, i) => Math.tanh(x[i] as number) + Math.floor(i / v.length) * 0.1,
    ],
  ];
  let worst = 0;
  for (const [edit, change] of changes) {
    const call = async (x: Float32Array) => x.map((_, i) => change(x, i, v[i % v.length] as number));
    using called = await model.runWithHooks(IDS, [[at, call]]);
    worst = Math.max(worst, checkClose(await logitsOf(model, [{ ...edit, at }]), await called.logits.read(), edit.op));
  }
  return showWorst(worst);
};

const sweepAsPasses: Body = async (model) => {
  const points = ["hook_resid_pre", "hook_q_input", "hook_mlp_in", "attn.hook_z", "hook_attn_out", "attn.hook_pattern"];
  const cells = points.flatMap((point) =>
    model.spec.layers.map((_, layer): Edit[] => [
      {
        at: `blocks.${layer}.${point}`,
        op: "scale",
        value: 0.3,
        positions: [2 + layer, -1],
        ...(/attn\.|_input/.test(point) && { heads: [1] }),
      },
    ]),
  );
  const { values } = await model.sweep({ input: IDS, cells, metric: metric.logits([1, 2, 3]) });
  const rows = [];
  for (const edits of cells) rows.push(...(await logitsOf(model, edits)).slice(-model.spec.vocabSize).slice(1, 4));
  return showWorst(checkClose(values, Float32Array.from(rows), "values"));
};

/** Folded and centred: the same probabilities from a residual stream of mean 0. */
const processedModel: Body = async (model) => {
  using processed = await model.processed();
  const point = "blocks.1.hook_resid_post";
  const run = async (each: HookedModel) => {
    using result = await each.forward(IDS, { capture: point });
    return { logits: await result.logits.read(), residual: await result.cache.read(point) };
  };
  const [raw, now] = [await run(model), await run(processed)];
  const without = (values: Float32Array, width: number) =>
    values.map((value, at) => {
      const row = values.subarray(at - (at % width), at - (at % width) + width);
      return value - row.reduce((sum, each) => sum + each, 0) / width;
    });
  const { vocabSize, dModel } = model.spec;
  const logits = checkClose(now.logits, without(raw.logits, vocabSize), "logits");
  return showWorst(Math.max(logits, checkClose(now.residual, without(raw.residual, dModel), "residual")));
};

const compileErrors: Body = async (model) => {
  const plain = await logitsOf(model);
  const error = await logitsOf(model, [{ at: "logits", op: "wgsl", expression: "x + nowhere" }]).then(
    () => undefined,
    (caught: unknown) => caught as { code: string; message: string },
  );
  expectSame(error?.code, "gpu/shader", "code");
  if (!error?.message.includes("x + nowhere"))
    throw new Error(`the message does not name the expression: ${error?.message}`);
  return showWorst(checkClose(await logitsOf(model), plain, "logits afterwards"));
};

/** Metrics of one's own in a sweep, against what full passes show; and a pass that begins with a residual. */
const ownMetrics: Body = async (model) => {
  const { dModel, vocabSize, nHeads } = model.spec;
  const direction = Float32Array.from({ length: dModel }, (_, d) => Math.cos(3 * d));
  const at = "blocks.1.hook_resid_post";
  const cells = Array.from(
    { length: nHeads },
    (_, head): Edit => ({ at: "blocks.1.attn.hook_z", op: "zero", heads: [head] }),
  );
  const own = [
    metric.project(at, direction),
    metric.wgsl({ term: "-p * logP" }),
    metric.weighted(new Float32Array(vocabSize).fill(0.5)),
  ];
  const { values } = await model.sweep({ input: IDS, cells, metric: own });
  const expected: number[] = [];
  for (const edits of cells) {
    using result = await model.forward(IDS, { edits, capture: at, positions: [-1] });
    const residual = await result.cache.read(at);
    const logits = Array.from(await result.logits.at(0, -1));
    const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
    expected.push(
      residual.reduce((sum, value, d) => sum + value * (direction[d] as number), 0),
      logits.reduce((sum, logit) => sum - Math.exp(logit - total) * (logit - total), 0),
      logits.reduce((sum, logit) => sum + 0.5 * logit, 0),
    );
  }
  const worst = [0, 1, 2].map((column) => {
    const pick = (list: ArrayLike<number>) => Float32Array.from(list).filter((_, i) => i % 3 === column);
    return checkClose(pick(values), pick(expected), `metric ${column}`);
  });
  const name = "blocks.1.hook_resid_pre";
  using whole = await model.forward(IDS, { capture: name });
  using begun = await model.forward({ residual: [await whole.cache.read(name)], startAtLayer: 1 });
  worst.push(checkClose(await begun.logits.read(), await whole.logits.read(), "logits of a residual"));
  return showWorst(Math.max(...worst));
};

/** Each head at each position, against one edited pass a cell. */
const headsByPosition: Body = async (model) => {
  const corrupted = IDS.map((id, position) => (position % 3 === 1 ? id + 1 : id));
  const own = metric.logitDiff(1, 2);
  const options = {
    clean: IDS,
    corrupted,
    metric: own,
    at: "z",
    layers: [1],
    positions: [1, -1],
    byPosition: true,
  } as const;
  const grid = await activationPatch(model, options);
  const at = "blocks.1.attn.hook_z";
  using clean = await model.forward(IDS, { capture: at });
  const expected: number[] = [];
  for (let head = 0; head < model.spec.nHeads; head++) {
    for (const position of [1, IDS.length - 1]) {
      const edits: Edit = { at, op: "set", heads: [head], positions: [position], value: clean.cache.at(at) };
      using result = await model.forward(corrupted, { edits, logits: "last" });
      const logits = await result.logits.at(0, -1);
      expected.push((logits[1] as number) - (logits[2] as number));
    }
  }
  return showWorst(checkClose(grid.values, Float32Array.from(expected), "values"));
};

export const hookChecks: Check[] = [
  ...["gemma2", "gptj", "bloom"].map((family) =>
    hookCheck(family, "every point can be looked at, at some positions", lookAtEverything),
  ),
  hookCheck("llama", "a cache survives its file", saveAndLoad),
  hookCheck("gpt_neox", "each edit equals the JavaScript hook that does the same", editsAsCallbacks),
  ...["gemma2", "gpt_neox", "bloom"].map((family) => hookCheck(family, "a sweep equals full passes", sweepAsPasses)),
  hookCheck("gemma2", "metrics of one's own, and passes that begin with a residual, equal full passes", ownMetrics),
  hookCheck("gpt2", "each head patched at each position equals full passes", headsByPosition),
  hookCheck("gpt2", "a processed model gives the same probabilities", processedModel),
  hookCheck("gpt2", "an expression that does not compile is named, and breaks nothing", compileErrors),
];
