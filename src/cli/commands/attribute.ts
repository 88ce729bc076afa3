/**
 * `superlens attribute`: where does the difference between two prompts come from? One command for the methods that answer it,
 * from exact patching to gradients. A method is a row of `METHODS`.
 */
import { Command, Option } from "commander";
import { activationPatch, type HookedModel, type Metric, type PatchGrid, type Site } from "../../hooks/index.ts";
import { checkForward } from "../../hooks/plan.ts";
import { type MetricOption, metricOption, resolveMetric } from "../metric-option.ts";
import {
  addBosOption,
  bosOption,
  examples,
  type GlobalOptions,
  type InputOptions,
  parseIds,
  refuseIdleBos,
  usageError,
  wholeNumber,
} from "../options.ts";
import { bytes, print, printJson } from "../output.ts";
import { type ModelFacts, withModel } from "../session.ts";
import { stop } from "../stop.ts";
import { checkWritable, writeFileWhole } from "../write-file.ts";

interface AttributeOptions extends GlobalOptions, Omit<InputOptions, "ids"> {
  clean: string;
  corrupted: string;
  ids?: boolean;
  metric: MetricOption;
  method: keyof typeof METHODS;
  at?: string;
  position?: number;
  out?: string;
}

/** What every method takes. */
interface Question {
  clean: number[];
  corrupted: number[];
  metric: Metric;
  /** Of the metric. */
  metricPosition: number | undefined;
  at: string | undefined;
  signal: AbortSignal;
}

/** What a method found: for people, and for programs. */
interface Answer {
  lines: string[];
  json: object;
}

const METHODS = {
  exact: async (model: HookedModel, question: Question) => gridAnswer(await activationPatch(model, patchOf(question))),
} as const satisfies Record<string, (model: HookedModel, question: Question) => Promise<Answer>>;

export function attributeCommand(): Command {
  return addBosOption(new Command("attribute"))
    .summary("say which parts of a model make the difference between two prompts")
    .description(
      "Compares a clean and a corrupted prompt of as many tokens: how far does METRIC move from the corrupted run (0) to the clean one (1) when one activation is set to its clean value?",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .requiredOption("--clean <text>", "the prompt whose answer counts")
    .requiredOption("--corrupted <text>", "the prompt it is compared with, of as many tokens")
    .option("--ids", 'both prompts are token ids, as "5 6 7"')
    .addOption(metricOption(["logit", "logitDiff", "logProb", "prob", "kl"]))
    .addOption(
      new Option("--position <n>", "whose logits are measured; negative from the end (default: -1)").argParser(
        wholeNumber(),
      ),
    )
    .addOption(
      new Option("--method <method>", "exact: every activation is patched")
        .choices(Object.keys(METHODS))
        .default("exact"),
    )
    .option(
      "--at <site>",
      "what is patched: resid_pre, resid_mid, resid_post, attn_out, mlp_out, mlp_post, q, k, v, z, pattern (default: resid_pre)",
    )
    .option("--out <file>", "also write the numbers to this file, as JSON")
    .addHelpText(
      "after",
      examples(
        [
          'attribute ./model --clean "The capital of France is" --corrupted "The capital of Italy is" --metric "logitDiff( Paris, Rome)"',
          "the residual before each layer, at each position",
        ],
        ['attribute ./model --clean "5 6 7" --corrupted "5 8 7" --ids --metric "logit(9)" --at z', "each head"],
      ),
    )
    .action(async (model: string, _options: unknown, command: Command) => attribute(model, command));
}

async function attribute(source: string, command: Command): Promise<void> {
  const options = command.optsWithGlobals<AttributeOptions>();
  const { method, metric, position: metricPosition, at, out } = options;
  refuseIdleBos(command, options, options.ids);
  const prompts = promptsOf(command, options);
  if (out !== undefined) await checkWritable(out);
  const answer = await withModel(source, options, {
    prepare: (facts) => ({ ...idsOf(facts, prompts, options), metric: resolveMetric(metric, facts) }),
    run: (model, given) => METHODS[method](model, { ...given, metricPosition, at, signal: stop.signal }),
  });
  const json = { method, metric: metric.text, ...answer.json };
  if (out !== undefined) {
    const size = await writeFileWhole(out, [new TextEncoder().encode(`${JSON.stringify(json)}\n`)]);
    if (!options.json) print(`${out}: ${bytes(size)}`);
  }
  if (options.json) printJson(json);
  else print(...answer.lines);
}

/** Both prompts, as text or ids. */
function promptsOf(command: Command, { clean, corrupted, ids }: AttributeOptions) {
  if (!ids) return { clean, corrupted };
  try {
    return { clean: parseIds(clean), corrupted: parseIds(corrupted) };
  } catch (error) {
    return usageError(command, `with --ids the prompts are ids. ${(error as Error).message}`);
  }
}

function idsOf(
  facts: ModelFacts,
  prompts: { clean: string | number[]; corrupted: string | number[] },
  options: AttributeOptions,
) {
  const of = (prompt: string | number[]) => checkForward(facts, prompt, bosOption(options))[0] as number[];
  return { clean: of(prompts.clean), corrupted: of(prompts.corrupted) };
}

/** A method that patches sites. */
const patchOf = ({ at = "resid_pre", ...rest }: Question) => ({ ...rest, at: at as Site });

function gridAnswer(grid: PatchGrid): Answer {
  const lines = [
    `clean ${grid.clean.toFixed(4)}, corrupted ${grid.corrupted.toFixed(4)}; 0 is the corrupted run, 1 the clean one`,
    grid.toTable(grid.normalized()),
  ];
  return { lines, json: grid.toJSON() };
}
