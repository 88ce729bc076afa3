/**
 * `superlens backward`: gradients of a metric into a file, at any point and of any weight. The file is safetensors, which Python
 * opens as well.
 */
import { Command, Option } from "commander";
import { type LazyTensorEntry, streamSafetensors } from "../../checkpoint/index.ts";
import { checkBackward } from "../../hooks/backward.ts";
import type { BackwardResult, HookedModel } from "../../hooks/index.ts";
import { checkForward } from "../../hooks/plan.ts";
import { checkEach, type EditOption, editOption, readEdits } from "../edit-option.ts";
import { type MetricOption, metricOption, resolveMetric } from "../metric-option.ts";
import {
  addBatchOptions,
  addBosOption,
  type BatchOptions,
  bosOption,
  collect,
  examples,
  type GlobalOptions,
  usageError,
  wholeNumber,
} from "../options.ts";
import { bytes, print, printJson, table } from "../output.ts";
import { promptsOption, readBatch } from "../prompts.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";
import { checkWritable, writeFileWhole } from "../write-file.ts";

interface BackwardCommandOptions extends GlobalOptions, BatchOptions {
  prompts?: string;
  metric: MetricOption;
  position?: number;
  at?: string[];
  weights?: string[];
  edit?: EditOption[];
  out: string;
}

export function backwardCommand(): Command {
  return addBatchOptions(addBosOption(new Command("backward")))
    .addOption(promptsOption())
    .summary("write the gradients of a metric at points, and of weights, to a file")
    .description(
      "Runs MODEL forwards and backwards and writes `value` [batch], the gradient of the metric at each point under its name, and that of each weight as weight:NAME, to a safetensors file (F32). The gradient is that of the sum over the batch; of loss, the mean cross entropy of the next token, that of the mean.",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .addOption(metricOption(["logit", "logitDiff", "logProb", "prob", "kl", "loss"]))
    .addOption(
      new Option(
        "--position <n>",
        "whose logits are measured; negative from each sequence's end (default: -1)",
      ).argParser(wholeNumber()),
    )
    .addOption(
      new Option("--at <name>", "a point whose gradient is wanted, or a pattern with *; repeatable").argParser(
        collect(String),
      ),
    )
    .addOption(
      new Option(
        "--weights <name>",
        "a tensor of the checkpoint whose gradient is wanted, or a pattern with *; repeatable",
      ).argParser(collect(String)),
    )
    .addOption(editOption("an intervention, as of `superlens forward`; the gradient is the edited model's"))
    .requiredOption("--out <file>", "the .safetensors file to write")
    .addHelpText(
      "after",
      examples(
        [
          'backward ./model --text "The capital of France is" --metric "logitDiff( Paris, Rome)" --at \'*.hook_resid_pre\' --out grads.safetensors',
          "what the residual stream would have to change; most tokenizers want the space before a word",
        ],
        [
          'backward ./model --ids "5 6 7" --ids "8 9" --metric "logProb(5)" --position 1 --at logits --out grads.safetensors',
          "a batch of two, at their second position",
        ],
        [
          "backward ./model --text \"Hello\" --metric loss --weights '*' --out grads.safetensors",
          "every weight's gradient, as training would have it",
        ],
        [
          'backward ./model --text "Hello" --metric kl --edit \'{"at": "blocks.0.attn.hook_z", "op": "zero", "heads": [3]}\' --at blocks.0.hook_resid_post --out grads.safetensors',
          "of the distance between the edited run and the unedited one",
        ],
      ),
    )
    .action(async (model: string, _options: unknown, command: Command) => backward(model, command));
}

async function backward(source: string, command: Command): Promise<void> {
  const options = command.optsWithGlobals<BackwardCommandOptions>();
  const input = await readBatch(command, options);
  refuseContradictions(command, options);
  await checkWritable(options.out);
  const edits = await readEdits(options.edit ?? []);
  await withModel(source, options, {
    prepare(facts) {
      const { at, weights, position } = options;
      const ids = checkForward(facts, input, { capture: at, ...bosOption(options) });
      checkEach(edits, (edit) => checkForward(facts, ids, { edits: [edit] }));
      const metric = resolveMetric(options.metric, facts);
      const settings = { metric, position, at, weights, edits: edits.map(({ edit }) => edit) };
      checkBackward(facts, ids, settings);
      return { ids, settings };
    },
    async run(model, { ids, settings }) {
      using result = await model.backward(ids, { ...settings, signal: stop.signal });
      await writeResult(model, result, options);
    },
  });
}

function refuseContradictions(command: Command, { at, weights, metric, position, edit }: BackwardCommandOptions): void {
  if (!at && !weights)
    usageError(command, "give the points whose gradients are wanted with --at, or the weights with --weights");
  if (metric.name === "loss" && position !== undefined)
    usageError(command, "--position is for a metric of one position; --metric loss counts them all");
  if (metric.name === "kl" && !edit)
    usageError(command, "--metric kl compares an edited run with the unedited one; give an --edit");
}

async function writeResult(model: HookedModel, result: BackwardResult, options: BackwardCommandOptions): Promise<void> {
  const entries = entriesOf(result);
  const metadata = {
    format: "pt",
    model: model.label,
    metric: options.metric.text,
    positions: JSON.stringify(result.grads.positions),
  };
  const size = await writeFileWhole(options.out, streamSafetensors(entries, metadata));
  const tensors = entries.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const value = [...result.value];
  const { zeros } = result;
  if (options.json) printJson({ file: options.out, bytes: size, metric: options.metric.text, value, zeros, tensors });
  else
    print(
      `${options.metric.text}: ${value.map((each) => each.toFixed(4)).join(", ")}`,
      `${options.out}: ${bytes(size)}`,
      ...table(tensors.map(({ name, dtype, shape }) => [`  ${name}`, dtype, `[${shape.join(", ")}]`])),
      ...(zeros.length > 0 ? [`0 in every entry, for the metric does not depend on them: ${zeros.join(", ")}`] : []),
    );
}

/** Read from the GPU when their turn to be written comes, so that only one is in memory at a time. */
function entriesOf({ value, grads, weights }: BackwardResult): LazyTensorEntry[] {
  const entry = (name: string, shape: readonly number[], data: LazyTensorEntry["data"]): LazyTensorEntry => ({
    name,
    dtype: "F32",
    shape,
    data,
  });
  return [
    entry("value", [value.length], value),
    ...grads.names.map((name) => entry(name, grads.shape(name), () => grads.read(name))),
    ...weights.names.map((name) => entry(`weight:${name}`, weights.shape(name), () => weights.read(name))),
  ];
}
