/** Direct path patching: by its definition, one run at a time; by matrices, where the model has no norms; and what is refused. */
import { afterAll, describe, expect, it } from "vitest";
import {
  activationPatch,
  type Edit,
  HookedModel,
  metric,
  type PathPatchOptions,
  pathPatch,
  type Receiver,
} from "../../src/hooks/index.ts";
import { furthest, largest, logitsOf, measure, promptPair } from "../patching/support.ts";
import { loadFixture } from "../support/fixtures.ts";
import { matrix, plainModel, times } from "./support.ts";

const open: HookedModel[] = [];
afterAll(() => {
  for (const model of open) model.destroy();
});
const kept = (model: HookedModel) => {
  open.push(model);
  return model;
};

const METRIC = metric.logitDiff(5, 7);
/** The point of a receiver's input. */
const POINTS = { q: ["attn.hook_q"], k: ["attn.hook_k"], v: ["attn.hook_v"] } as const;

function inputsOf(model: HookedModel, { at, layer }: Receiver): string[] {
  if (at === "logits") return ["ln_final.hook_normalized", "ln_final.hook_scale"];
  const gated = model.spec.mlp.kind === "gated" ? ["mlp.hook_pre", "mlp.hook_pre_linear"] : ["mlp.hook_pre"];
  return (at === "mlp" ? gated : POINTS[at]).map((name) => `blocks.${layer}.${name}`);
}

/** Every head's z and every MLP's output is clean but for the sender's; then receivers, and they alone, see what it sends. */
async function byDefinition(
  model: HookedModel,
  { clean, corrupted }: { clean: number[]; corrupted: number[] },
  [layer, head]: readonly [number, number | undefined],
  receivers: readonly Receiver[],
  positions: number[],
): Promise<Float32Array> {
  const nodes = ["*.hook_z", "*.hook_mlp_out"];
  using kept = await model.forward([clean], { capture: nodes });
  using other = await model.forward([corrupted], { capture: nodes });
  const at = `blocks.${layer}.${head === undefined ? "hook_mlp_out" : "attn.hook_z"}`;
  const edits: Edit[] = kept.cache.names.map((name) => ({ at: name, op: "set", value: kept.cache.at(name) }));
  edits.push({ at, op: "set", positions, value: other.cache.at(at), ...(head !== undefined && { heads: [head] }) });
  using sent = await model.forward([clean], { edits, capture: receivers.flatMap((each) => inputsOf(model, each)) });
  const received = receivers.flatMap((receiver) =>
    inputsOf(model, receiver).map(
      (name): Edit => ({
        at: name,
        op: "set",
        value: sent.cache.at(name),
        ...(receiver.heads !== undefined && { heads: receiver.heads }),
      }),
    ),
  );
  return await logitsOf(model, clean, received);
}

const CASES: readonly (readonly [string, Pick<PathPatchOptions, "senders" | "positions">, readonly Receiver[]])[] = [
  ["heads to the logits", {}, [{ at: "logits" }]],
  ["all nodes to an MLP", { senders: "all" }, [{ at: "mlp", layer: 1 }]],
  ["all nodes to queries of one head", { senders: "all", positions: [2, -1] }, [{ at: "q", layer: 1, heads: 2 }]],
  [
    "MLPs to keys and values",
    { senders: "mlps" },
    [
      { at: "k", layer: 1 },
      { at: "v", layer: 1, heads: [0] },
    ],
  ],
];

// Post-norms, soft caps and grouped heads; parallel blocks.
describe.each(["gemma2", "gptj"])("in %s", (family) => {
  const loading = loadFixture(family).then((model) => kept(new HookedModel(model)));

  it.each(CASES)("%s: every cell is what the definition gives", async (_, options, receivers) => {
    const model = await loading;
    const prompts = promptPair(3, 6);
    const grid = await pathPatch(model, { ...prompts, ...options, receivers, metric: METRIC, layers: [0, 1] });
    const positions = [...((options.positions as number[] | undefined) ?? [0, 1, 2, 3, 4, 5])];
    const { nHeads } = model.spec;
    const nodes = {
      heads: [0, nHeads - 1],
      mlps: [undefined],
      all: [1, undefined],
    }[options.senders ?? "heads"];
    const clean = await logitsOf(model, prompts.clean);
    const corrupted = await logitsOf(model, prompts.corrupted);
    const scale = largest(clean);
    expect(
      furthest(
        [grid.base, grid.clean, grid.corrupted],
        [clean, clean, corrupted].map((logits) => measure(METRIC, logits)),
        scale,
      ),
    ).toBeLessThan(1e-5);
    for (const layer of [0, 1]) {
      for (const head of nodes) {
        const column = head ?? (options.senders === "all" ? nHeads : 0);
        const expected = measure(METRIC, await byDefinition(model, prompts, [layer, head], receivers, positions));
        expect(furthest([grid.at(layer, column)], [expected], scale), `${layer}.${head}`).toBeLessThan(1e-5);
      }
    }
    // Some path carries something, or the comparison says nothing.
    expect(Math.max(...grid.change().map(Math.abs))).toBeGreaterThan(2e-4 * scale);
  });
});

/**
 * The residual that the receiver reads of the sender's run is the clean one and what the sender's output changes: set as the input of the
 * receiver alone, in an ordinary pass, it gives the patched path.
 */
describe.each(["gpt2", "llama", "gptj", "gemma2"])("in %s", (family) => {
  it("equals an edit of the input that a head or an MLP reads", async () => {
    const model = kept(new HookedModel(await loadFixture(family)));
    const prompts = promptPair(4, 6);
    const isParallel = model.spec.block.residual === "parallel";
    const capture = [
      "*.hook_z",
      "blocks.1.hook_resid_pre",
      "blocks.1.hook_resid_mid",
      "*.hook_attn_out",
      "*.hook_mlp_out",
    ];
    const points = capture.filter((name) => !isParallel || !name.includes("mid"));
    using clean = await model.forward([prompts.clean], { capture: points });
    using other = await model.forward([prompts.corrupted], { capture: points });
    const base = await logitsOf(model, prompts.clean);
    // MLPs send, so that what is sent is a difference of the residual.
    const sent = async (name: string) => {
      const [before, after] = [await clean.cache.read(name), await other.cache.read(name)];
      return after.map((value, i) => value - (before[i] as number));
    };
    const change = await sent("blocks.0.hook_mlp_out");
    const receivers = [
      [{ at: "q", layer: 1, heads: [1] }, "hook_q_input"],
      [{ at: "k", layer: 1, heads: [0] }, "hook_k_input"],
      [{ at: "v", layer: 1 }, "hook_v_input"],
      [{ at: "mlp", layer: 1 }, "hook_mlp_in"],
    ] as const;
    const changes: number[] = [];
    for (const [receiver, input] of receivers) {
      const grid = await pathPatch(model, {
        ...prompts,
        senders: "mlps",
        receivers: receiver,
        metric: METRIC,
        layers: 0,
      });
      const residual = `blocks.1.${input === "hook_mlp_in" && !isParallel ? "hook_resid_mid" : "hook_resid_pre"}`;
      const value = (await clean.cache.read(residual)).map((x, i) => x + (change[i] as number));
      const at = `blocks.1.${input}`;
      const edits: Edit[] = ("heads" in receiver ? receiver.heads : [0, 1, 2, 3]).flatMap((head): Edit[] => {
        if (input === "hook_mlp_in") return head === 0 ? [{ at, op: "set", value }] : [];
        return head < (input === "hook_q_input" ? model.spec.nHeads : model.spec.nKvHeads)
          ? [{ at, op: "set", value, heads: [head] }]
          : [];
      });
      const expected = measure(METRIC, await logitsOf(model, prompts.clean, edits));
      expect(furthest([grid.at(0)], [expected], largest(base)), input).toBeLessThan(1e-5);
      changes.push(Math.abs(expected - measure(METRIC, base)));
    }
    // Not all paths carry much in a model that was not trained.
    expect(changes.filter((change) => change > 1e-4 * largest(base)).length).toBeGreaterThan(1);
  });
});

describe("in a model without norms", () => {
  const loading = plainModel("relu").then(kept);
  const prompts = { clean: [1, 4, 2, 8, 5], corrupted: [1, 7, 2, 3, 5] };

  it("a head's direct path to the logits is its change of z through W_O and W_U", async () => {
    const model = await loading;
    const grid = await pathPatch(model, { ...prompts, metric: METRIC, receivers: { at: "logits" } });
    expect(grid.columns.labels).toEqual(["H0", "H1", "H2", "H3"]);
    const W_U = await matrix(model, "W_U");
    const scale = largest(await logitsOf(model, prompts.clean));
    using clean = await model.forward([prompts.clean], { capture: "*.hook_z", positions: [-1] });
    using corrupted = await model.forward([prompts.corrupted], { capture: "*.hook_z", positions: [-1] });
    for (const layer of [0, 1]) {
      const name = `blocks.${layer}.attn.hook_z`;
      const [z, other] = [await clean.cache.read(name), await corrupted.cache.read(name)];
      for (const head of [0, 1, 2, 3]) {
        const change = [...other.subarray(4 * head, 4 * head + 4)].map((x, d) => x - (z[4 * head + d] as number));
        const logits = times(
          times([change], await matrix(model, `blocks.${layer}.attn.W_O`, head)),
          W_U,
        )[0] as number[];
        const expected = grid.base + (logits[5] as number) - (logits[7] as number);
        expect(furthest([grid.at(layer, head)], [expected], scale)).toBeLessThan(2e-6);
      }
    }
    // What goes through the MLPs and heads between is no part of it.
    const total = await activationPatch(model, { ...prompts, metric: METRIC, at: "z", direction: "noising" });
    expect(furthest(grid.values.subarray(0, 4), total.values.subarray(0, 4), scale)).toBeGreaterThan(0.01);
  });

  it("paths to the logits and through the last MLP add up to all that the last heads do", async () => {
    const model = await loading;
    const receivers: Receiver[] = [{ at: "logits" }, { at: "mlp", layer: 1 }];
    const grid = await pathPatch(model, { ...prompts, metric: METRIC, receivers, layers: 1 });
    const total = await activationPatch(model, {
      ...prompts,
      metric: METRIC,
      at: "z",
      direction: "noising",
      layers: 1,
    });
    expect(furthest(grid.values, total.values, largest(await logitsOf(model, prompts.clean)))).toBeLessThan(2e-6);
  });

  it("is the same in passes of few senders, reports them, and is that of the edited model", async () => {
    const model = await loading;
    const options = { ...prompts, metric: METRIC, senders: "all", receivers: { at: "mlp", layer: 1 } } as const;
    const edit: Edit = { at: "blocks.0.hook_mlp_out", op: "scale", value: 0.5, batch: [0] };
    const whole = await model.withEdits(edit, (edited) => pathPatch(edited, options));
    const { engine } = model.base;
    const most = engine.maxRowsPerPass;
    engine.maxRowsPerPass = 10;
    const done: number[] = [];
    const onProgress = (progress: { done: number; total: number }) => void done.push(progress.done, progress.total);
    const few = await model.withEdits(edit, (edited) => pathPatch(edited, { ...options, onProgress }));
    engine.maxRowsPerPass = most;
    expect(done).toEqual([2, 9, 4, 9, 6, 9, 8, 9, 9, 9]);
    const scale = largest(await logitsOf(model, prompts.clean));
    expect(furthest(few.values, whole.values, scale)).toBeLessThan(1e-6);
    expect(furthest([whole.base], [measure(METRIC, await logitsOf(model, prompts.clean, [edit]))], scale)).toBeLessThan(
      1e-6,
    );
    // The last MLP comes after its own input.
    expect(whole.at(1, 4)).toBe(whole.base);
    expect(whole.columns).toEqual({ name: "node", indices: [0, 1, 2, 3, 4], labels: ["H0", "H1", "H2", "H3", "MLP"] });
  });

  it.each([
    ["hook/receiver", { receivers: [] }],
    ["hook/receiver", { receivers: { at: "q" } }],
    ["hook/receiver", { receivers: { at: "logits", layer: 1 } }],
    ["hook/repeated-selection", { receivers: [{ at: "logits" }, { at: "logits" }] }],
    ["hook/layer-range", { receivers: { at: "v", layer: 2 } }],
    ["hook/head-range", { receivers: { at: "k", layer: 1, heads: 2 } }],
    ["hook/head-range", { receivers: { at: "mlp", layer: 1, heads: 0 } }],
    ["hook/head-range", { senders: "mlps", heads: 0 }],
    ["hook/no-path", { layers: 1, receivers: { at: "q", layer: 1 } }],
    ["hook/no-such-point", { receivers: { at: "mlp", layer: 5 } }],
    ["hook/patch-length", { corrupted: [1] }],
    ["hook/position-range", { positions: 5 }],
    ["input/position-range", { metricPosition: 5 }],
    ["hook/metric", { metric: metric.logits([1, 2]) }],
    ["input/unknown-key", { receivers: { at: "q", layer: 0, head: 1 } }],
  ])("refuses with %s: %o", async (code, change) => {
    const model = await loading;
    const before = model.gpu.memory;
    const options = { ...prompts, metric: METRIC, ...change } as PathPatchOptions;
    await expect(pathPatch(model, options)).rejects.toMatchObject({ code });
    expect(model.gpu.memory).toEqual(before);
  });
});
