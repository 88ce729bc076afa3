/**
 * `superlens forward`: one forward pass into a file. Logits and captured activations go into one safetensors file, which
 * Python opens as well. Edits are given as JSON.
 */
import { Command, Option } from "commander";
import { type LazyTensorEntry, streamSafetensors } from "../../checkpoint/index.ts";
import type { ForwardResult, HookedModel } from "../../hooks/index.ts";
import { checkForward } from "../../hooks/plan.ts";
import { resolvePoints } from "../../hooks/points.ts";
import { checkEach, type EditOption, editOption, readEdits } from "../edit-option.ts";
import {
  addModuleOptions,
  checkModuleOptions,
  type ModuleOptions,
  moduleFacts,
  withDictionaries,
} from "../module-option.ts";
import {
  addBatchOptions,
  addBosOption,
  type BatchOptions,
  bosOption,
  collect,
  examples,
  type GlobalOptions,
  usageError,
} from "../options.ts";
import { bytes, print, printJson, table } from "../output.ts";
import { promptsOption, readBatch } from "../prompts.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";
import { checkWritable, writeFileWhole } from "../write-file.ts";

interface ForwardCommandOptions extends GlobalOptions, BatchOptions, ModuleOptions {
  prompts?: string;
  capture?: string[];
  edit?: EditOption[];
  last?: boolean;
  out: string;
}

export function forwardCommand(): Command {
  return addModuleOptions(addBatchOptions(addBosOption(new Command("forward"))))
    .addOption(promptsOption())
    .summary("run a forward pass and write logits and activations to a file")
    .description(
      "Runs MODEL on token ids or text, and writes `logits` [batch, pos, vocab] and each captured activation, under its name, to a safetensors file (F32). Sequences shorter than the longest have zeros at their end.",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .addOption(
      new Option("--capture <name>", "a point to write, or a pattern with *; repeatable").argParser(collect(String)),
    )
    .addOption(editOption("an edit, as one JSON object; repeatable, applied in order"))
    .option("--last", "write the logits of each sequence's last position only: [batch, 1, vocab]")
    .requiredOption("--out <file>", "the .safetensors file to write")
    .addHelpText(
      "after",
      examples(
        ['forward ./model --text "Hello" --out out.safetensors', "logits of every position"],
        ['forward ./model --ids "5 6 7" --ids "8 9" --last --out out.safetensors', "a batch of two, last positions"],
        [
          "forward ./model --text \"Hello\" --capture 'blocks.*.hook_resid_post' --out out.safetensors",
          "the residual after each block as well",
        ],
        [
          'forward ./model --text "Hello" --edit \'{"at": "blocks.0.attn.hook_z", "op": "zero", "heads": [3]}\' --out out.safetensors',
          "without head 3 of the first layer",
        ],
        [
          'forward ./model --text "Hello" --edit \'{"at": "blocks.4.hook_resid_post", "op": "add", "positions": [-1], "value": {"file": "v.safetensors", "tensor": "v"}}\' --out out.safetensors',
          "with a vector from a file added at the last position",
        ],
        [
          'forward ./model --text "Hello" --module ./sae --edit \'{"at": "blocks.4.hook_resid_post.hook_sae_acts_post", "op": "zero", "dims": [123]}\' --out out.safetensors',
          "without feature 123 of a dictionary",
        ],
      ),
    )
    .action(async (model: string, _options: unknown, command: Command) => forward(model, command));
}

async function forward(source: string, command: Command): Promise<void> {
  const options = command.optsWithGlobals<ForwardCommandOptions>();
  checkModuleOptions(command, options);
  const input = await readBatch(command, options);
  await checkWritable(options.out);
  const edits = await readEdits(options.edit ?? []);
  const logits = options.last ? "last" : "all";
  await withModel(source, options, {
    async prepare(plain) {
      const facts = await moduleFacts(plain, options);
      const looksAtLogits = resolvePoints(facts.spec, options.capture ?? []).some(({ name }) => name === "logits");
      if (options.last && looksAtLogits)
        usageError(command, '--capture takes in "logits" of every position; leave out --last, or capture fewer points');
      const ids = checkForward(facts, input, { logits, capture: options.capture, ...bosOption(options) });
      checkEach(edits, (edit) => checkForward(facts, ids, { edits: [edit] }));
      return ids;
    },
    async run(model, ids) {
      const { capture } = options;
      const all = edits.map(({ edit }) => edit);
      await withDictionaries(model, options, async (spliced) => {
        using result = await spliced.forward(ids, { logits, capture, edits: all, signal: stop.signal });
        await writeResult(model, result, options);
      });
    },
  });
}

async function writeResult(model: HookedModel, result: ForwardResult, options: ForwardCommandOptions): Promise<void> {
  const entries = entriesOf(result);
  // `positions` says which of a padded batch's positions are real; `ActivationCache.load` wants it.
  const metadata = { format: "pt", model: model.label, positions: JSON.stringify(result.cache.positions) };
  const size = await writeFileWhole(options.out, streamSafetensors(entries, metadata));
  const tensors = entries.map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  if (options.json) printJson({ file: options.out, bytes: size, tensors });
  else
    print(
      `${options.out}: ${bytes(size)}`,
      ...table(tensors.map(({ name, dtype, shape }) => [`  ${name}`, dtype, `[${shape.join(", ")}]`])),
    );
}

/** Read from the GPU when their turn to be written comes, so that only one is in memory at a time. */
function entriesOf({ logits, cache }: ForwardResult): LazyTensorEntry[] {
  const captured = cache.names.filter((name) => name !== "logits");
  return [
    { name: "logits", dtype: "F32", shape: logits.shape, data: () => logits.read() },
    ...captured.map(
      (name): LazyTensorEntry => ({ name, dtype: "F32", shape: cache.shape(name), data: () => cache.read(name) }),
    ),
  ];
}
