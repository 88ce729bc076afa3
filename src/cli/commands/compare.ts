/** `superlens compare`: what it costs to keep a model's weights in fewer bits, on a text. */
import { Command } from "commander";
import { compareModels } from "../../hooks/compare-models.ts";
import type { HookedModel } from "../../hooks/index.ts";
import { weightBuffers } from "../../model/weights/weights.ts";
import { oneInput } from "../input.ts";
import {
  addBosOption,
  bosOption,
  examples,
  type GlobalOptions,
  type InputOptions,
  idsOption,
  usageError,
} from "../options.ts";
import { bytes, percent, print, printJson, table } from "../output.ts";
import { load } from "../session.ts";
import { stop } from "../stop.ts";

interface CompareOptions extends GlobalOptions, InputOptions {}

export function compareCommand(): Command {
  return addBosOption(new Command("compare"))
    .summary("measure what weights of fewer bits cost on a text")
    .description(
      "Loads MODEL twice, with its weights as they are stored and as --weights-as says, and compares the predictions at every position of TEXT: the mean Kullback-Leibler divergence in nats, the largest, and how often both expect the same token most.",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .argument("[text]", "the text; quote it for the shell")
    .addOption(idsOption())
    .addHelpText(
      "after",
      examples(
        ['compare ./model "The quick brown fox jumps over the lazy dog" --weights-as q8_0', "eight bits a weight"],
        ['compare ./model --ids "5 6 7 8" --weights-as q4_0 --json', "{ positions, kl, largestKl, topAgreement, ... }"],
      ),
    )
    .action((model: string, text: string | undefined, _options: unknown, command: Command) =>
      stop.until(compare(model, text, command)),
    );
}

async function compare(source: string, text: string | undefined, command: Command): Promise<void> {
  const { weightsAs, ...options } = command.optsWithGlobals<CompareOptions>();
  if (weightsAs === undefined || weightsAs === "as stored")
    usageError(command, "say which weights to compare: --weights-as q8_0, q4_0 or f16");
  const input = oneInput(command, text, options);
  using stored = await load(source, options);
  using other = await load(source, { ...options, weightsAs });
  const ids = typeof input === "string" ? stored.toTokens(input, bosOption(options)) : input;
  const comparison = await compareModels(stored, other, ids, { signal: stop.signal });
  const result = { ...comparison, storedBytes: weightBytes(stored), bytes: weightBytes(other) };
  if (options.json) return printJson(result);
  print(
    ...table([
      ["positions", String(result.positions)],
      ["mean KL", `${result.kl.toPrecision(3)} nats`],
      ["largest KL", `${result.largestKl.toPrecision(3)} nats`],
      ["same top token", percent(result.topAgreement)],
      ["weights as stored", bytes(result.storedBytes)],
      [`weights in ${weightsAs}`, bytes(result.bytes)],
    ]),
  );
}

function weightBytes({ engine }: HookedModel): number {
  return [...weightBuffers(engine.weights)].reduce((sum, { size }) => sum + size, 0);
}
