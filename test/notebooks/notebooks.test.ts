/**
 * The notebooks of examples/notebooks are their scripts, and the scripts' numbers are the definitions written out here. The
 * scripts run as a user's do, with the built package, on a fixture with random weights and a vocabulary of the prompts' pieces.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { buildNode, isStale } from "../../scripts/build.mjs";
import { NOTEBOOKS, names, notebookOf } from "../../scripts/notebooks.ts";
import { type Edit, type HookedModel, loadModel } from "../../src/node.ts";
import { testGpu } from "../support/gpu.ts";
import { pieceTokenizer } from "../support/piece-tokenizer.ts";
import { runScript } from "../support/script.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PIECES = [
  ..." Mary| John| Tom| James| Dan| Sid| Martin| Amy| and| went| to| the| shops| park|,| gave| bag| ball| an".split(
    "|",
  ),
  ..." apple| a| drink|When|After| store| bottle| of| milk|A| transformer| reads| text| from| left| right".split("|"),
  ..." guesses| next| word| at| every| place|.".split("|"),
];

let folder: string;
let model: HookedModel;
beforeAll(async () => {
  if (isStale()) await buildNode();
  folder = mkdtempSync(join(tmpdir(), "superlens-notebooks-"));
  for (const name of ["config.json", "model.safetensors"])
    cpSync(join(ROOT, "test/fixtures/families/gpt2", name), join(folder, name));
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(pieceTokenizer(PIECES, 96)));
  model = await loadModel(folder, { gpu: await testGpu() });
});
afterAll(() => {
  model.destroy();
  rmSync(folder, { recursive: true });
});

/** A grid as JSON has it. */
interface GridValues {
  values: number[][];
  clean: number;
  corrupted: number;
}

/** What the main demo exports. */
interface MainDemo {
  text: string;
  loss: number;
  ablatedLoss: number;
  scopedLoss: number;
  head: number;
  hookedLogits: number[];
  patternShape: number[];
  prompts: { clean: string; corrupted: string };
  positions: number[];
  swept: { values: number[] };
  patched: GridValues;
  repeated: number[][];
  induction: { values: number[] };
}

/** A readout's parts, [component, prompt]. */
interface Parts {
  labels: string[];
  values: number[];
}

/** What the exploratory analysis exports. */
interface Analysis {
  prompts: string[];
  answers: [right: number, wrong: number][];
  differences: number[];
  average: number;
  byLayer: Parts;
  byHead: Parts;
  headParts: number[];
  ablated: GridValues;
}
const GRIDS = ["residual", "attention", "mlps", "z", "values", "pattern"] as const;
type Grids = Record<(typeof GRIDS)[number], GridValues>;

/** What a notebook exports, as JSON has it, and prints. */
async function run<Values>(name: string): Promise<{ values: Values; printed: string }> {
  vi.stubEnv("MODEL", folder);
  const { exported, printed } = await runScript<{ model: HookedModel }>(`${NOTEBOOKS}${name}.ts`);
  vi.unstubAllEnvs();
  const { model: theirs, ...values } = exported;
  theirs.destroy();
  const plain = (_: string, value: unknown) => (ArrayBuffer.isView(value) ? Array.from(value as Float32Array) : value);
  return { values: JSON.parse(JSON.stringify(values, plain)), printed };
}

it.each(names())("%s.ipynb is what its script says", (name) => {
  const script = readFileSync(`${NOTEBOOKS}${name}.ts`, "utf8");
  const notebook = readFileSync(`${NOTEBOOKS}${name}.ipynb`, "utf8");
  expect(notebook, "npm run docs:notebooks writes it").toBe(notebookOf(script));
  const { cells } = JSON.parse(notebook);
  const code = cells.filter(({ cell_type }: { cell_type: string }) => cell_type === "code");
  expect(code.length).toBeGreaterThan(8);
  expect(code.map(({ source }: { source: string[] }) => source.join("")).join("\n")).not.toMatch(/^export /m);
});

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const close = (values: readonly number[], expected: readonly number[], digits = 4) => {
  expect(values).toHaveLength(expected.length);
  expected.forEach((value, index) => {
    expect(values[index]).toBeCloseTo(value, digits);
  });
};

/** Logits of one position after a pass of its own. */
async function logitsOf(text: string | number[], edits: Edit[] = [], position = -1): Promise<Float32Array> {
  using result = await model.forward(text, { edits });
  return result.logits.at(0, position);
}

/** -log p of each token but the first, in float64. */
async function lossesOf(text: string, edits: Edit[] = []): Promise<number[]> {
  const ids = model.toTokens(text);
  using result = await model.forward(ids, { edits });
  return Promise.all(
    ids.slice(1).map(async (id, position) => {
      const logits = [...(await result.logits.at(0, position))];
      const largest = Math.max(...logits);
      return (
        largest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)) - (logits[id] as number)
      );
    }),
  );
}

async function captured(
  text: string | number[],
  name: string,
): Promise<{ data: Float32Array; shape: readonly number[] }> {
  using result = await model.forward(text, { capture: name });
  return { data: await result.cache.read(name), shape: result.cache.shape(name) };
}

/** The logit difference of `corrupted` when `positions` of a point are set to what they are in `clean`. */
async function patchedDifference(
  [clean, corrupted]: [string, string],
  at: string,
  [right, wrong]: [number, number],
  part: Pick<Edit, "positions" | "heads"> = {},
): Promise<number> {
  using source = await model.forward(clean, { capture: at });
  const logits = await logitsOf(corrupted, [{ at, op: "set", value: source.cache.at(at), ...part }]);
  return (logits[right] as number) - (logits[wrong] as number);
}

describe("main-demo", () => {
  let values: MainDemo;
  let printed: string;
  beforeAll(async () => ({ values, printed } = await run<MainDemo>("main-demo")));

  it("has the mean loss, of the model and without a head in three ways", async () => {
    expect(values.loss).toBeCloseTo(mean(await lossesOf(values.text)), 5);
    const z = await captured(values.text, "blocks.0.attn.hook_z");
    const { dHead, nHeads } = model.spec;
    const without = z.data.map((value, index) => (Math.floor(index / dHead) % nHeads === values.head ? 0 : value));
    const edit: Edit = { at: "blocks.0.attn.hook_z", op: "set", value: without };
    const expected = mean(await lossesOf(values.text, [edit]));
    expect(Math.abs(expected - values.loss)).toBeGreaterThan(1e-3);
    expect(values.ablatedLoss).toBeCloseTo(expected, 5);
    expect(values.scopedLoss).toBeCloseTo(expected, 5);
    close(values.hookedLogits, [...(await logitsOf(values.text, [edit]))]);
    expect(values.patternShape).toEqual([1, nHeads, z.shape[1], z.shape[1]]);
  });

  it("patches the residual of each layer and position", async () => {
    const { clean, corrupted } = values.prompts;
    const pair: [number, number] = [model.toSingleToken(" Mary"), model.toSingleToken(" John")];
    const width = values.positions.length;
    expect(values.swept.values).toHaveLength(model.spec.nLayers * width);
    const [top, bottom] = await Promise.all(
      [clean, corrupted].map(async (text) => {
        const logits = await logitsOf(text);
        return (logits[pair[0]] as number) - (logits[pair[1]] as number);
      }),
    );
    for (const [layer, position] of [
      [0, 8],
      [1, width - 1],
      [2, 3],
    ] as const) {
      const at = `blocks.${layer}.hook_resid_pre`;
      const expected = await patchedDifference([clean, corrupted], at, pair, { positions: [position] });
      expect(values.swept.values[layer * width + position]).toBeCloseTo(expected, 4);
      expect(values.patched.values[layer]?.[position]).toBeCloseTo(expected, 4);
    }
    expect(values.patched.clean).toBeCloseTo(top as number, 4);
    expect(values.patched.corrupted).toBeCloseTo(bottom as number, 4);
  });

  it("scores induction heads by their patterns on repeated tokens", async () => {
    const length = 30;
    for (const [layer, head] of [
      [0, 0],
      [2, 3],
    ] as const) {
      const shares: number[] = [];
      for (const ids of values.repeated as number[][]) {
        const { data } = await captured(ids, `blocks.${layer}.attn.hook_pattern`);
        const n = ids.length;
        for (let query = n - length; query < n; query++)
          shares.push(data[(head * n + query) * n + query - (length - 1)] as number);
      }
      expect(values.induction.values[layer * model.spec.nHeads + head]).toBeCloseTo(mean(shares), 5);
    }
  });

  it("prints each cell", () => {
    for (const part of [/^loss \d/m, /Mary/, /OV is \[ 32, 32 \] of rank 8/, /L\d(H\d)? /])
      expect(printed).toMatch(part);
    expect(printed).not.toMatch(/NaN|undefined|Infinity|\[object/);
  });
});

describe("exploratory-analysis", () => {
  let values: Analysis & Grids;
  let printed: string;
  beforeAll(async () => ({ values, printed } = await run<Analysis & Grids>("exploratory-analysis")));

  const pairsOf = () =>
    values.prompts.map((prompt, index): [string, string] => [prompt, values.prompts[index ^ 1] as string]);
  const answersOf = (prompt: number) => values.answers[prompt] as [right: number, wrong: number];

  it("has eight prompts, whose answers are the other name", () => {
    expect(values.prompts).toHaveLength(8);
    values.prompts.forEach((prompt: string, index: number) => {
      const [right, wrong] = answersOf(index).map((id) => model.toText([id]));
      expect(prompt.split(right as string)).toHaveLength(2);
      expect(prompt.split(wrong as string)).toHaveLength(3);
    });
  });

  it("has each prompt's logit difference, of which layers and heads are parts", async () => {
    const expected = await Promise.all(
      values.prompts.map(async (prompt: string, index: number) => {
        const logits = await logitsOf(prompt);
        const [right, wrong] = answersOf(index);
        return (logits[right] as number) - (logits[wrong] as number);
      }),
    );
    close(values.differences, expected);
    expect(values.average).toBeCloseTo(mean(expected), 4);
    for (const parts of [values.byLayer, values.byHead]) {
      const sums = expected.map(
        (_, sequence) =>
          mean(parts.values.filter((_: number, index: number) => index % 8 === sequence)) * parts.labels.length,
      );
      close(sums, expected, 3);
    }
  });

  it("has a head's part by its definition: W_O z through the final norm", async () => {
    const [layer, head] = [1, 2];
    const [W_O, W_U, w] = (await Promise.all(
      [`blocks.${layer}.attn.W_O`, "W_U", "ln_final.w"].map(async (name) => (await model.weight(name)).data),
    )) as [Float32Array, Float32Array, Float32Array];
    const { dHead, dModel, nHeads, vocabSize } = model.spec;
    const parts = await Promise.all(
      values.prompts.map(async (prompt: string, index: number) => {
        const z = (await captured(prompt, `blocks.${layer}.attn.hook_z`)).data;
        const scales = (await captured(prompt, "ln_final.hook_scale")).data;
        const last = scales.length - 1;
        const written = Array.from({ length: dModel }, (_, d) => {
          let sum = 0;
          for (let i = 0; i < dHead; i++)
            sum += (z[(last * nHeads + head) * dHead + i] as number) * (W_O[(head * dHead + i) * dModel + d] as number);
          return sum;
        });
        const centre = mean(written);
        const [right, wrong] = answersOf(index);
        return written.reduce((sum, value, d) => {
          const direction = (W_U[d * vocabSize + right] as number) - (W_U[d * vocabSize + wrong] as number);
          return sum + (((value - centre) * (w[d] as number)) / (scales[last] as number)) * direction;
        }, 0);
      }),
    );
    expect(values.headParts[layer * nHeads + head]).toBeCloseTo(mean(parts), 4);
  });

  it.each([
    ["residual", "blocks.1.hook_resid_pre", 1, { positions: [9] }, 9],
    ["attention", "blocks.0.hook_attn_out", 0, { positions: [-1] }, -1],
    ["mlps", "blocks.2.hook_mlp_out", 2, { positions: [9] }, 9],
    ["z", "blocks.1.attn.hook_z", 1, { heads: [3] }, 3],
    ["values", "blocks.0.attn.hook_v", 0, { heads: [1] }, 1],
    ["pattern", "blocks.2.attn.hook_pattern", 2, { heads: [0] }, 0],
  ] as const)("patches %s over all pairs of prompts", async (name, at, layer, part, column) => {
    const each = await Promise.all(pairsOf().map((pair, index) => patchedDifference(pair, at, answersOf(index), part)));
    const grid = values[name].values[layer] as number[];
    expect(grid.at(column)).toBeCloseTo(mean(each), 4);
  });

  it("ablates a head in all prompts", async () => {
    const edit: Edit = { at: "blocks.1.attn.hook_z", op: "zero", heads: [2] };
    const each = await Promise.all(
      values.prompts.map(async (prompt: string, index: number) => {
        const logits = await logitsOf(prompt, [edit]);
        const [right, wrong] = answersOf(index);
        return (logits[right] as number) - (logits[wrong] as number);
      }),
    );
    expect(values.ablated.values[1]?.[2]).toBeCloseTo(mean(each), 4);
  });

  it("prints each cell", () => {
    for (const part of [/^logit differences( -?\d\.\d{3}){8}$/m, /^previous token L\d/m, /^clean -?\d/m])
      expect(printed).toMatch(part);
    expect(printed).not.toMatch(/NaN|undefined|Infinity|\[object/);
  });
});
