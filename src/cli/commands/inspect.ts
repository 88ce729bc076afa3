/**
 * `superlens inspect`: what a model is, before it is loaded. Only headers and JSON are read, so this is fast for a model of
 * any size and needs no GPU. A damaged or unsupported model is refused here as it would be by loading.
 */
import { Command, Option } from "commander";
import { type Checkpoint, isFloat, type TensorInfo } from "../../checkpoint/index.ts";
import { type Quantization, readQuantization } from "../../checkpoint/quantized/config.ts";
import type { TextModel } from "../../model/input.ts";
import { openModelSource, openTokenizer, readFitted } from "../../model/load.ts";
import type { ModelSpec } from "../../model/spec.ts";
import { assertFinite } from "../../model/weights/finite.ts";
import { listTensors, type UnusedTensor } from "../../model/weights/fit.ts";
import { WEIGHTS_AS, type WeightsAs } from "../../model/weights/plan.ts";
import { type GpuMemory, gpuMemory } from "../../model/weights/residency.ts";
import type { Tokenizer } from "../../tokenizer/index.ts";
import { describeSpec } from "../describe-spec.ts";
import { collect, examples, type GlobalOptions, usageError, wholeNumber } from "../options.ts";
import { bytes, grouped, note, print, printJson, table } from "../output.ts";
import { whileOpening } from "../session.ts";
import { LOGIT_ROWS, type ShowGraphOptions, showGraph } from "../show-graph.ts";
import { stop } from "../stop.ts";
import { checkWritable } from "../write-file.ts";

const PIECE_BYTES = 16 << 20;

export function inspectCommand(): Command {
  return new Command("inspect")
    .summary("show what a model or a .safetensors file holds")
    .description(
      "Shows the architecture, tokenizer and tensors of MODEL and the GPU memory it will take, or the tensors of one .safetensors file. Nothing is loaded and no GPU is needed. With --check-finite it reads every element. With --graph it shows the operations of a forward pass instead, and reads only config.json.",
    )
    .argument("<model>", "folder, address, hf:owner/name or .gguf file; or one file ending in .safetensors")
    .option("--graph", "show the operations of a forward pass, before and after fusion, with their memory")
    .option(
      "--capture <name>",
      "with --graph: a point to capture, or a pattern with *; shows what is then not fused; repeatable",
      collect(String),
    )
    .addOption(
      new Option(
        "--rows <which>",
        "with --graph: the rows that give logits; the others are dropped (default: all)",
      ).choices(LOGIT_ROWS),
    )
    .option("--layer <n>", "with --graph: the block to show (default: 0; the last with --rows)", wholeNumber(0))
    .option("--svg <file>", "with --graph: also draw the block, before and after side by side, into this file")
    .addHelpText(
      "after",
      examples(
        ["inspect hf:openai-community/gpt2", "architecture, memory, tensors"],
        ["inspect activations.safetensors", "names, dtypes and shapes in any safetensors file"],
        ["inspect ./model --json | jq .gpu.weights", "one number, for a program"],
        ["inspect ./model --graph --capture 'blocks.0.attn.hook_pattern'", "what runs when the pattern is captured"],
      ),
    )
    .action((model: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<InspectOptions>();
      return stop.until(options.graph ? graph(model, options, command) : inspect(model, options, command));
    });
}

interface InspectOptions extends GlobalOptions, ShowGraphOptions {
  json?: boolean;
  quiet?: boolean;
  graph?: boolean;
}

async function graph(name: string, options: InspectOptions, command: Command): Promise<void> {
  if (options.checkFinite) usageError(command, "--graph reads no weights; leave out --check-finite, or --graph");
  if (isTensorFile(name)) usageError(command, "--graph needs a model; one .safetensors file has no config.json");
  if (options.svg !== undefined) await checkWritable(options.svg);
  await showGraph(name, options, (message) => usageError(command, message));
}

const isTensorFile = (name: string) => /\.safetensors(\?|#|$)/.test(name);

async function inspect(name: string, options: InspectOptions, command: Command): Promise<void> {
  const idle = (["capture", "rows", "layer", "svg"] as const).find((option) => options[option] !== undefined);
  if (idle) usageError(command, `--${idle} is for --graph`);
  const opening = whileOpening(options.quiet);
  const checkpoint = await openModelSource(name, opening);
  try {
    const model = isTensorFile(name) ? undefined : await describeModel(checkpoint, options, opening.onNotice);
    if (options.checkFinite) await checkFinite(checkpoint, options.quiet);
    if (options.json) printJson(asJson(name, checkpoint, model));
    else printText(name, checkpoint, model);
  } finally {
    await checkpoint.close();
  }
}

/** What is known of a model beyond its tensors. */
interface ModelFacts {
  spec: ModelSpec;
  memory: GpuMemory;
  /** The same with weights that are kept otherwise, if in fewer bytes. */
  smaller: readonly { as: WeightsAs; memory: GpuMemory }[];
  unused: readonly UnusedTensor[];
  text: TextModel;
  /** How the weights are quantised, and what each kind of them is read as. */
  quantization: { name: string; tensors: Record<string, number> } | undefined;
}

async function describeModel(
  checkpoint: Checkpoint,
  { weightsAs: weights, residentBytes }: GlobalOptions,
  onNotice: (message: string) => void = () => {},
): Promise<ModelFacts> {
  const { spec, unused, config, checkpoint: fitted } = await readFitted(checkpoint, onNotice);
  const memory = gpuMemory(spec, fitted, { weights, residentBytes });
  const others = WEIGHTS_AS.map((as) => ({ as, memory: gpuMemory(spec, fitted, { weights: as }) }));
  const smaller = others.filter((other) => other.memory.weights < memory.weights);
  const quantization = describeQuantization(readQuantization(config, checkpoint.label), fitted);
  return { spec, memory, smaller, unused, quantization, text: await openTokenizer(checkpoint, spec, onNotice) };
}

function describeQuantization(
  quantization: Quantization | undefined,
  { tensors }: Checkpoint,
): ModelFacts["quantization"] {
  if (!quantization) return undefined;
  const counts: Record<string, number> = {};
  for (const { dtype, storedAs } of tensors.values()) {
    if (storedAs === undefined) continue;
    const kind = `${storedAs} as ${dtype}`;
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return { name: quantization.name, tensors: counts };
}

async function checkFinite(checkpoint: Checkpoint, quiet = false): Promise<void> {
  for (const info of checkpoint.tensors.values()) {
    const { name, file, dtype } = info;
    if (!isFloat(dtype)) continue;
    for (let start = 0; start < info.byteLength; start += PIECE_BYTES) {
      stop.signal.throwIfAborted();
      const bytes = await checkpoint.read(name, start, Math.min(start + PIECE_BYTES, info.byteLength));
      assertFinite(bytes, { name, file, dtype });
    }
  }
  if (!quiet) note("superlens: every element is finite");
}

interface Total {
  tensors: number;
  elements: number;
  bytes: number;
}

function elementsOf(info: TensorInfo): number {
  return info.shape.reduce((product, size) => product * size, 1);
}

function totals({ tensors }: Checkpoint): Map<string, Total> {
  const sums = new Map<string, Total>();
  for (const info of tensors.values()) {
    const sum = sums.get(info.dtype) ?? { tensors: 0, elements: 0, bytes: 0 };
    sums.set(info.dtype, {
      tensors: sum.tensors + 1,
      elements: sum.elements + elementsOf(info),
      bytes: sum.bytes + info.byteLength,
    });
  }
  return sums;
}

function asJson(name: string, checkpoint: Checkpoint, model: ModelFacts | undefined): unknown {
  const tensors = [...checkpoint.tensors.values()].map(({ name, dtype, shape, byteLength, file, storedAs }) => ({
    name,
    dtype,
    ...(storedAs !== undefined && { storedAs }),
    shape,
    bytes: byteLength,
    file,
  }));
  const listing = { tensors, totals: Object.fromEntries(totals(checkpoint)), metadata: checkpoint.metadata };
  if (!model) return { file: name, ...listing };
  const { spec, memory, smaller, unused, quantization } = model;
  const { tokenizer } = model.text;
  const gpu = { ...memory, as: Object.fromEntries(smaller.map(({ as, memory }) => [as, memory])) };
  const facts = {
    spec,
    tokenizer: tokenizer ? tokenizerFacts(tokenizer) : null,
    gpu,
    unused,
    ...(quantization && { quantization }),
  };
  return { model: name, ...facts, ...listing };
}

function tokenizerFacts({ kind, vocabSize, bosId, addsBos, eosIds }: Tokenizer) {
  return { kind, vocabSize, bosId: bosId ?? null, addsBos, eosIds };
}

function printText(name: string, checkpoint: Checkpoint, model: ModelFacts | undefined): void {
  print(...table([[model ? "model" : "file", name], ...(model ? modelLines(model) : [])]));
  const metadata = Object.entries(checkpoint.metadata);
  if (metadata.length > 0) print(...table([["metadata"], ...metadata.map(([key, value]) => [`  ${key}`, value])]));
  const rows = [...checkpoint.tensors.values()].map((info) => [
    `  ${info.name}`,
    info.storedAs === undefined ? info.dtype : `${info.storedAs} as ${info.dtype}`,
    `[${info.shape.join(", ")}]`,
    bytes(info.byteLength),
  ]);
  print("", `${grouped(rows.length)} tensors`, ...table(rows, ["left", "left", "left", "right"]), "");
  const sums = [...totals(checkpoint)].map(([dtype, sum]) => [
    `  ${dtype}`,
    `${grouped(sum.tensors)} tensors`,
    `${grouped(sum.elements)} elements`,
    bytes(sum.bytes),
  ]);
  print("totals", ...table(sums, ["left", "right", "right", "right"]));
}

function modelLines({ spec, memory, smaller, unused, text, quantization }: ModelFacts): [string, string][] {
  const { weights, streamed, streamedBlocks, cachePerToken } = memory;
  const lines: [string, string][] = [
    ...describeSpec(spec),
    ...quantizedLines(quantization),
    ["tokenizer", describeText(text, spec)],
    [
      "GPU memory",
      `${bytes(weights)} of weights, and ${bytes(cachePerToken)} of keys and values a token (${bytes(cachePerToken * spec.maxPositions)} for the longest sequence)`,
    ],
    ["  streamed", `${bytes(streamed)} of weights, ${streamedBlocks} of ${spec.nLayers} blocks read in each pass`],
    ...smaller.map(({ as, memory }): [string, string] => [
      `  as ${as}`,
      `${bytes(memory.weights)} of weights, streamed ${bytes(memory.streamed)}`,
    ]),
  ];
  return [...lines, ...unusedLines(unused)];
}

function quantizedLines(quantization: ModelFacts["quantization"]): [string, string][] {
  if (!quantization) return [];
  const kinds = Object.entries(quantization.tensors).map(([kind, count]) => `${grouped(count)} weights of ${kind}`);
  return [["quantised", `${quantization.name}: ${kinds.join(", ") || "no weight"}`]];
}

/** Tensors that the model does without, those of one reason on one line. */
function unusedLines(unused: readonly UnusedTensor[]): [string, string][] {
  const reasons = [...new Set(unused.map(({ reason }) => reason))];
  return reasons.map((wanted) => {
    const names = unused.filter(({ reason }) => reason === wanted).map(({ name }) => name);
    return ["not used", `${listTensors(names)}${wanted === undefined ? "" : ` (${wanted})`}`];
  });
}

function describeText({ tokenizer, tokenizerError }: TextModel, spec: ModelSpec): string {
  if (!tokenizer) return `none: this model takes token ids${tokenizerError ? ` (${tokenizerError.message})` : ""}`;
  const { kind, vocabSize, bosId, addsBos, eosIds } = tokenizer;
  const source = kind === "gpt2" ? "GPT-2's, built in" : "tokenizer.json";
  const named = (id: number) => `${tokenizer.tokenText(id)} (${id})`;
  // Some models end at an id that their vocabulary does not have.
  const end = (id: number) => (id < Math.max(vocabSize, spec.vocabSize) ? named(id) : String(id));
  const bos = bosId === undefined ? "no BOS" : `BOS ${named(bosId)} ${addsBos ? "added to text" : "not added to text"}`;
  return `${source}, ${grouped(vocabSize)} tokens, ${bos}, ends at ${eosIds.map(end).join(" or ") || "no token"}`;
}
