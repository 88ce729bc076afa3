/** `superlens attribute`: which parts of a model make the difference between two prompts? */
import { Command, Option } from "commander";
import { SITE_NAMES, type SiteName } from "../../hooks/patching/sites.ts";
import { checkForward } from "../../hooks/plan.ts";
import { METHOD_NAMES, type MethodName, methodOf } from "../attribution-methods.ts";
import { addPairOptions, twoPrompts } from "../input.ts";
import { type MetricOption, resolveMetric } from "../metric-option.ts";
import {
  addBosOption,
  bosOption,
  examples,
  type GlobalOptions,
  type InputOptions,
  refuseIdleBos,
  usageError,
  wholeNumber,
} from "../options.ts";
import { bytes, print, printJson } from "../output.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";
import { checkWritable, writeFileWhole } from "../write-file.ts";

interface AttributeOptions extends GlobalOptions, Omit<InputOptions, "ids"> {
  clean: string;
  corrupted: string;
  ids?: boolean;
  metric: MetricOption;
  method: MethodName;
  check: number;
  at?: string;
  position?: number;
  out?: string;
}

export function attributeCommand(): Command {
  return addPairOptions(addBosOption(new Command("attribute")))
    .summary("say which parts of a model make the difference between two prompts")
    .description(
      "Runs a clean and a corrupted prompt of as many tokens, whose METRIC differs, and says which activations carry the difference: how far the metric moves from the corrupted run (0) to the clean one (1) when one of them gets its clean value.",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .addOption(
      new Option("--method <method>", METHOD_NAMES.map((name) => `${name}: ${methodOf(name).meaning}`).join("; "))
        .choices(METHOD_NAMES)
        .default("attribution"),
    )
    .option(
      "--at <site>",
      `what is patched: ${SITE_NAMES.join(", ")} (default: resid_pre); for ig a point (default: hook_embed)`,
    )
    .addOption(
      new Option("--check <n>", "of attribution: cells that are patched exactly to compare, 0 for none")
        .argParser(wholeNumber(0))
        .default(32),
    )
    .option("--out <file>", "also write the numbers to this file, as JSON")
    .addHelpText(
      "after",
      examples(
        [
          'attribute ./model --clean "The capital of France is" --corrupted "The capital of Italy is" --metric "logitDiff( Paris, Rome)"',
          "the residual before each layer, at each position",
        ],
        [
          'attribute ./model --clean "The capital of France is" --corrupted "The capital of Italy is" --metric "logitDiff( Paris, Rome)" --method eap-ig --out graph.json',
          "every edge between heads, MLPs and logits, as a graph that EAP-IG reads",
        ],
        ['attribute ./model --clean "5 6 7" --corrupted "5 8 7" --ids --metric "logit(9)" --at z', "each head"],
      ),
    )
    .action(async (model: string, _options: unknown, command: Command) => attribute(model, command));
}

async function attribute(source: string, command: Command): Promise<void> {
  const options = command.optsWithGlobals<AttributeOptions>();
  const { metric, position: metricPosition, check, out } = options;
  const method = methodOf(options.method);
  const at = options.at ?? method.at;
  refuseIdleBos(command, options, options.ids);
  if (options.method !== "attribution" && command.getOptionValueSource("check") === "cli")
    usageError(command, `--check is for --method attribution; ${options.method} is not compared with exact patching`);
  if (options.at !== undefined && method.at === undefined)
    usageError(command, `--at is for methods of one place; ${options.method} looks at every edge`);
  if (at !== undefined && method.takes === "site" && !SITE_NAMES.includes(at as SiteName))
    usageError(command, `--at is "${at}"; with --method ${options.method} it must be ${SITE_NAMES.join(", ")}`);
  const prompts = twoPrompts(command, options);
  if (out !== undefined) await checkWritable(out);
  const answer = await withModel(source, options, {
    prepare(facts) {
      const idsOf = (prompt: string | number[]) => checkForward(facts, prompt, bosOption(options))[0] as number[];
      const ids = { clean: idsOf(prompts.clean), corrupted: idsOf(prompts.corrupted) };
      const question = { ...ids, metric: resolveMetric(metric, facts), metricPosition, at, check };
      method.check(facts, question);
      return question;
    },
    run: (model, question) => method.answer(model, question, stop.signal),
  });
  if (options.json) printJson(answer.json);
  else print(...answer.lines);
  if (out === undefined) return;
  const size = await writeFileWhole(out, [new TextEncoder().encode(`${JSON.stringify(answer.json)}\n`)]);
  if (!options.json) print(`${out}: ${bytes(size)}`);
}
