/**
 * `superlens construct`: builds the transformer that performs the tasks of a definition in superposition, and writes it
 * as an ordinary model folder.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Command, Option } from "commander";
import { streamSafetensors } from "../../checkpoint/index.ts";
import { SuperlensError } from "../../errors.ts";
import {
  asDefinition,
  buildSuperposition,
  loadPreset,
  PRESET_NAMES,
  type SuperpositionModel,
  type TaskDefinition,
} from "../../theory/index.ts";
import { configText, FILE_METADATA, tensorEntries } from "../../theory/model-folder.ts";
import { readJsonFile } from "../json-file.ts";
import { examples, type GlobalOptions, wholeNumber } from "../options.ts";
import { bytes, print, printJson, table } from "../output.ts";
import { checkFolder, makeFolder, writeFileWhole } from "../write-file.ts";

interface ConstructOptions extends GlobalOptions {
  examples: number;
  layers: "4" | "7";
  heads?: number;
  out: string;
}

const DEFAULT_EXAMPLES = 12;

export function constructCommand(): Command {
  return new Command("construct")
    .summary("build a transformer that performs several tasks at once")
    .description(
      `Builds, without training, a transformer that performs all tasks of a definition in superposition, and writes it as a model folder. The other commands take that folder: demo --model with words, the others with token ids (--ids). PRESET is ${PRESET_NAMES.join(", ")}; FILE is a definition of your own as JSON. docs/theory.md explains both.`,
    )
    .argument("<preset|file>", "a preset's name, or a .json file")
    .option("--examples <m>", "examples in a prompt", wholeNumber(1), DEFAULT_EXAMPLES)
    .addOption(new Option("--layers <count>", "4, or 7 with one operation a layer").choices(["4", "7"]).default("4"))
    .option("--heads <count>", "heads in a layer (default: as few as the tasks need)", wholeNumber(1))
    .requiredOption("--out <folder>", "the folder to write")
    .addHelpText(
      "after",
      examples(
        ["construct country --out ./country", "a country's capital, continent and name in capitals"],
        ["construct languages --examples 20 --layers 7 --out ./languages", "seven layers, prompts of 20 examples"],
        ["construct ./my-tasks.json --out ./mine", "tasks of your own"],
      ),
    )
    .action(async (name: string, _options: unknown, command: Command) => construct(name, command.optsWithGlobals()));
}

async function construct(name: string, options: ConstructOptions): Promise<void> {
  const definition = await readDefinition(name);
  await refuseOtherModel(options.out);
  await checkFolder(options.out);
  const layers = options.layers === "7" ? 7 : 4;
  const model = buildSuperposition(definition, { examples: options.examples, heads: options.heads, layers });
  await makeFolder(options.out);
  // The weights first: a folder with a config is a whole one.
  const weights = join(options.out, "model.safetensors");
  const size = await writeFileWhole(weights, streamSafetensors(tensorEntries(model), FILE_METADATA));
  await writeFileWhole(join(options.out, "config.json"), [new TextEncoder().encode(configText(model))]);
  if (options.json) printJson({ folder: options.out, bytes: size, ...facts(model) });
  else printFacts(options.out, size, model);
}

/** A folder that holds another model must not lose it; one that was constructed may be built again. */
async function refuseOtherModel(folder: string): Promise<void> {
  const text = await readFile(join(folder, "config.json"), "utf8").catch(() => undefined);
  if (text === undefined || /"superposition"\s*:/.test(text)) return;
  throw new SuperlensError(
    "cli/other-model",
    `${folder} holds another model: its config.json was not written by construct. Give --out another folder.`,
  );
}

async function readDefinition(name: string): Promise<TaskDefinition> {
  if (!/\.json$|[/\\]/.test(name)) return loadPreset(name);
  const remedy = `Give a preset (${PRESET_NAMES.join(", ")}) or a definition as .json.`;
  return asDefinition(await readJsonFile(name, remedy), name);
}

function facts({ spec, program, examples: m }: SuperpositionModel) {
  return {
    name: program.definition.name,
    tasks: program.tasks.map((task) => task.name),
    size: { d: program.vocabularySize, m, n: program.exampleLength, K: program.tasks.length },
    layers: spec.nLayers,
    heads: spec.nHeads,
    dModel: spec.dModel,
  };
}

function printFacts(folder: string, size: number, model: SuperpositionModel): void {
  const { tasks, layers, heads, dModel, size: theorem } = facts(model);
  const { d, m, n } = theorem;
  print(
    ...table([
      ["written", `${folder}: ${bytes(size)}`],
      ["tasks", tasks.join(", ")],
      ["prompt", `${m} examples of ${n} tokens and a query of ${n - 1}; ${d} words`],
      ["model", `${layers} layers of ${heads} heads, residual ${dModel} wide`],
    ]),
    "",
    `See it at work: superlens demo --model ${folder}`,
  );
}
