/** The declarations that the package ships compile in a user's program, and take what the calls take at run time. */
import { join } from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { emitDeclarations, programOf, ROOT } from "./emit.ts";

const SCRIPT = join(ROOT, "user.ts");

const NODE = {
  skipDefaultLibCheck: true,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
};

/** What a user writes. It is compiled, never run. */
const SOURCE = `
import { ablate, type Edit, type HookedModel, type KvCache, loadModel, metric, type Tensor } from "superlens";
import { DEFAULT_OPTIONS, runBench } from "superlens/bench";
import { loadSuperposition, type TaskDefinition } from "superlens/theory";

const model = await loadModel("folder");
const ids = Int32Array.of(1, 2, 3);
await model.forward(ids);
await model.forward([ids, [1, 2]], { logits: Int32Array.of(0), positions: ids, capture: "*" });
await model.forward({ inputsEmbeds: [[1, 2], new Float64Array(2)] });
await model.logProbs(ids, [ids, " text", [1]]);
for await (const { text } of model.generate(ids, { eos: Uint32Array.of(2), history: [ids] })) text.trim();
const edit: Edit = { at: "*.hook_z", op: "set", value: new Float64Array(2), heads: Uint8Array.of(0), dims: 1 };
const three: number = await model.withEdits(edit, () => 3);
const also: number = await model.withEdits(edit, async (edited) => (await edited.forward(ids)).logits.vocabSize);
await model.runWithHooks(ids, { hook_embed: (x) => Float64Array.from(x) });
await model.runWithHooks(ids, { hook_embed: async (x) => Array.from(x) });
await ablate(model, { input: ids, kind: "zero", metric: metric.kl(new Float64Array(3)), layers: ids });
metric.logits(ids);
using kv: KvCache = model.createKvCache({ sequences: 2 });
const [one, several]: [number[], number[][]] = [model.toTokens("text"), model.toTokens(["text", "more"])];
const [text, texts]: [string, string[]] = [model.toText(ids), model.toText(several)];
const [words, lists]: [string[], string[][]] = [model.toStrTokens(one), model.toStrTokens([text, ids])];
await model.forward(several, { kv });
using tensor: Tensor = model.gpu.tensor([three, also], "mine");
const device: GPUDevice = model.gpu.device;
const { shape, data }: { shape: readonly number[]; data: Float32Array } = await model.weight(model.weightNames()[0] ?? "W_E");
const theirs: HookedModel = (await loadSuperposition("folder")).model;
const definition: TaskDefinition = (await loadSuperposition("folder")).blueprint.program.definition;
const report = await runBench({ shape: "mini" }, { ...DEFAULT_OPTIONS, runs: definition.tasks.length, commit: "1" });
theirs.gpu.device.label = report.commit;
// @ts-expect-error The theory is an entry of its own.
import { verify } from "superlens";
// @ts-expect-error The key-value cache is kv.
await model.forward(ids, { cache: kv });
// @ts-expect-error There is no such option.
await model.forward(ids, { position: 3 });
// @ts-expect-error Ids are numbers.
await model.forward([true]);
// @ts-expect-error 64-bit integers are no ids.
await model.forward(BigInt64Array.of(1n));
`;

/** What the compiler says of the script, with the declarations where the package's `exports` look for them. */
function errorsOf(declarations: ReadonlyMap<string, string>): string[] {
  const files = new Map([...declarations, [SCRIPT, SOURCE]]);
  const settings = { ...NODE, strict: true, noEmit: true, types: [], target: ts.ScriptTarget.ES2022 };
  const program = programOf([SCRIPT], files, settings);
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file && start !== undefined ? file.getLineAndCharacterOfPosition(start).line + 1 : 0;
    return `${file?.fileName}:${line} ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
  });
}

describe("the package's declarations", () => {
  it("compile in a user's program, without types of its own", () => {
    expect(errorsOf(emitDeclarations())).toEqual([]);
  }, 60_000);
});
