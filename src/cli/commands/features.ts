/**
 * `superlens features`: the strongest features of a dictionary at each token of a prompt, what a metric owes them, or the places of a
 * text where each feature is strongest.
 */
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { Command, Option } from "commander";
import {
  type ActiveFeatures,
  attributionGraph,
  type Dictionary,
  type FeatureAttribution,
  featureAttribution,
  type HookedModel,
  inspectDictionary,
  loadDictionary,
  MaxActivating,
  maxActivating,
  topFeatures,
} from "../../hooks/index.ts";
import { splicedSpec } from "../../hooks/modules/splice.ts";
import { positionAxis } from "../../hooks/patching/sites.ts";
import { checkForward } from "../../hooks/plan.ts";
import { toIds } from "../../model/input.ts";
import { addToGraphList, GRAPH_LIST, graphListBeside, scanOf } from "../graph-list.ts";
import { oneInput } from "../input.ts";
import { type MetricOption, metricOption, resolveMetric } from "../metric-option.ts";
import {
  addBosOption,
  bosOption,
  examples,
  type GlobalOptions,
  type InputOptions,
  idsOption,
  usageError,
  wholeNumber,
} from "../options.ts";
import { print, printJson, quoted, table } from "../output.ts";
import { showWork } from "../progress.ts";
import { readPrompts } from "../prompts.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";
import { checkWritable, writeFileWhole } from "../write-file.ts";

interface FeaturesOptions extends GlobalOptions, InputOptions {
  sae: string[];
  top: number;
  graph?: string;
  maxFeatures?: number;
  metric?: MetricOption;
  file?: string;
  out?: string;
  resume?: string;
}

export function featuresCommand(): Command {
  const metric = metricOption(["logit", "logitDiff", "logProb", "prob"]);
  metric.mandatory = false;
  return addBosOption(new Command("features"))
    .addOption(idsOption())
    .summary("show the features of a dictionary: of a prompt, of a metric, or over a text")
    .description(
      "The strongest features of a dictionary (SAE or transcoder) at each token of a prompt; with --metric those that the metric depends on; with --file the places of a text where each feature is strongest.",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .argument("[prompt]", "the text; quote it for the shell")
    .requiredOption(
      "--sae <dir>",
      "the dictionary: folder, address or hf:owner/name/path; with --graph repeatable",
      (dir: string, before: string[] = []) => [...before, dir],
    )
    .addOption(
      new Option("--top <n>", "features of each token, of the metric, or places of each feature")
        .argParser(wholeNumber(1))
        .default(10),
    )
    .addOption(metric)
    .option(
      "--file <file>",
      "a text a line, or a .json list of texts or of token ids: the places where each feature is strongest",
    )
    .option("--out <file>", "with --file: the .safetensors file to write")
    .option(
      "--graph <file>",
      "writes the attribution graph of the prompt, as circuit-tracer's JSON; --sae are transcoders of all blocks",
    )
    .addOption(
      new Option("--max-features <n>", "with --graph: features in it at most; all active ones when absent").argParser(
        wholeNumber(1),
      ),
    )
    .option("--resume <file>", "with --file: what an earlier run wrote, to go on after its lines")
    .addHelpText(
      "after",
      examples(
        ['features ./model --sae ./sae "The capital of France is"', "the ten strongest features of each token"],
        [
          'features ./model --sae ./sae "The capital of France is" --metric "logitDiff( Paris, Rome)"',
          "activation times gradient, and what the metric loses without the feature",
        ],
        [
          'features ./model --sae ./transcoders "The capital of France is" --graph france.json',
          "which features the next token comes from, for circuit-tracer's viewer",
        ],
        ["features ./model --sae ./sae --file lines.txt --out places.safetensors", "over a text"],
      ),
    )
    .action(async (model: string, prompt: string | undefined, _options: unknown, command: Command) =>
      features(model, prompt, command),
    );
}

async function features(source: string, prompt: string | undefined, command: Command): Promise<void> {
  const options = command.optsWithGlobals<FeaturesOptions>();
  checkOptions(command, prompt, options);
  const lines = options.file === undefined ? undefined : await readPrompts(options.file);
  const input = lines ?? oneInput(command, prompt, options);
  for (const written of [options.out, options.graph]) if (written !== undefined) await checkWritable(written);
  // The viewer asks for NAME.json, so that nothing else can be in its list.
  const list = options.graph?.endsWith(".json") ? await graphListBeside(options.graph) : undefined;
  const resume = options.resume === undefined ? undefined : await MaxActivating.load(await readFile(options.resume));
  await withModel(source, options, {
    async prepare(facts) {
      const known = [];
      for (const sae of options.sae) known.push(await inspectDictionary(sae, { signal: stop.signal }));
      splicedSpec(facts.spec, known, true);
      const ids = lines ? toIds(lines, facts, bosOption(options)) : checkForward(facts, input, bosOption(options));
      return { ids, metric: options.metric && resolveMetric(options.metric, facts) };
    },
    async run(model, { ids, metric }) {
      if (options.graph !== undefined) {
        await writeGraph(model, ids[0] as number[], list, options);
        return;
      }
      using dictionary = await loadDictionary(model, options.sae[0] as string, { signal: stop.signal });
      if (lines) await overText(model, dictionary, ids, resume, options);
      else if (metric) {
        const [own] = ids as [number[]];
        const asked = { input: own, metric, count: options.top, exact: true, signal: stop.signal };
        printAttribution(model, own, await featureAttribution(model, dictionary, asked), options);
      } else {
        const top = await topFeatures(model, dictionary, ids, { count: options.top, signal: stop.signal });
        printTop(model, ids[0] as number[], top, options);
      }
    },
  });
}

function checkOptions(
  command: Command,
  prompt: string | undefined,
  { file, out, resume, metric, ids, sae, graph, maxFeatures }: FeaturesOptions,
): void {
  if (graph === undefined && (sae.length > 1 || maxFeatures !== undefined))
    usageError(command, "several --sae, and --max-features, are about --graph; give it, or leave them out");
  if (graph !== undefined && basename(graph) === GRAPH_LIST)
    usageError(
      command,
      `${GRAPH_LIST} lists the graphs of a folder for circuit-tracer's viewer; give the graph another name`,
    );
  if (graph !== undefined && (file !== undefined || metric))
    usageError(command, "--graph is of a prompt's likeliest tokens; leave out --file and --metric");
  if (file === undefined && (out !== undefined || resume !== undefined))
    usageError(command, "--out and --resume are about --file; give one, or leave them out");
  if (file === undefined) return;
  if (prompt !== undefined || ids || metric)
    usageError(command, "--file takes the place of a prompt, of --ids and of --metric; leave them out");
  if (out === undefined) usageError(command, "--file needs --out, the file to write");
}

async function writeGraph(
  model: HookedModel,
  ids: readonly number[],
  list: string | undefined,
  options: FeaturesOptions,
): Promise<void> {
  const { sae, graph: file = "", maxFeatures, json, quiet = false } = options;
  const { signal } = stop;
  const transcoders: Dictionary[] = [];
  const display = showWork({ doing: "attributing", parts: "features" }, quiet);
  try {
    for (const each of sae) transcoders.push(await loadDictionary(model, each, { signal }));
    const started = performance.now();
    const onProgress = ({ done, total }: { done: number; total: number }) => {
      const perFeature = (performance.now() - started) / 1000 / done;
      display.update({ done, total, secondsLeft: perFeature * (total - done) });
    };
    const asked = { input: [ids], signal, onProgress, ...(maxFeatures !== undefined && { maxFeatures }) };
    const graph = await attributionGraph(model, transcoders, asked);
    display.end();
    const scan = scanOf(sae);
    const slug = basename(file).replace(/\.json$/, "");
    const content = graph.toCircuitTracer({ slug, ...(scan !== undefined && { scan }) });
    const size = await writeFileWhole(file, [new TextEncoder().encode(JSON.stringify(content))]);
    if (list) await addToGraphList(list, content.metadata);
    const [nodes, links] = [content.nodes.length, content.links.length];
    if (json) printJson({ file, bytes: size, nodes, links, ...(list && { list }) });
    else
      print(
        `${file}: ${nodes} of ${graph.nodes.length} nodes, ${links} edges`,
        ...(list ? [`${list}: names it to circuit-tracer's viewer`] : []),
      );
  } finally {
    display.end();
    for (const each of transcoders) each.destroy();
  }
}

function printTop(
  model: HookedModel,
  ids: readonly number[],
  top: readonly ActiveFeatures[],
  { json }: FeaturesOptions,
): void {
  const tokens = positionAxis(model, ids, [...ids.keys()]).labels;
  if (json) {
    const places = top.map(({ hook, position, features: own, activations }) => ({
      ...{ hook, position, token: tokens[position] },
      features: Array.from(own, (feature, index) => ({ feature, activation: activations[index] })),
    }));
    printJson({ places });
    return;
  }
  const rows = top.map(({ position, features: own, activations }) => [
    `${position}`,
    quoted(tokens[position] as string),
    Array.from(own, (feature, index) => `${feature} (${(activations[index] as number).toPrecision(3)})`).join("  "),
  ]);
  print(...table(rows, ["right"]));
}

function printAttribution(
  model: HookedModel,
  ids: readonly number[],
  { value, features: own }: FeatureAttribution,
  { json, metric }: FeaturesOptions,
): void {
  const tokens = positionAxis(model, ids, [...ids.keys()]).labels;
  if (json) {
    printJson({ value, features: own.map((each) => ({ ...each, token: tokens[each.position] })) });
    return;
  }
  const rows = own.map(({ feature, position, activation, attribution, exact }) => [
    ...[`${feature}`, quoted(tokens[position] as string), `${position}`],
    ...[activation, attribution, exact as number].map((number) => number.toPrecision(3)),
  ]);
  const head = ["feature", "token", "position", "activation", "attribution", "exact"];
  print(
    `${metric?.text}: ${value.toFixed(4)}`,
    ...table([head, ...rows], ["right", "left", "right", "right", "right", "right"]),
  );
}

async function overText(
  model: HookedModel,
  dictionary: Dictionary,
  ids: number[][],
  resume: MaxActivating | undefined,
  { top, out, quiet = false, json }: FeaturesOptions,
): Promise<void> {
  const display = showWork({ doing: "reading", parts: "lines" }, quiet);
  const started = performance.now();
  const first = resume?.done ?? 0;
  const onProgress = ({ done, total }: { done: number; total: number }) => {
    const rate = (performance.now() - started) / 1000 / Math.max(1, done - first);
    display.update({ done, total, secondsLeft: rate * (total - done) });
  };
  const found = await maxActivating(model, dictionary, ids, {
    ...(resume ? { resume } : { count: top }),
    ...{ onProgress, signal: stop.signal },
  }).finally(() => display.end());
  const size = await writeFileWhole(out as string, [found.save()]);
  const active = found.frequencies.filter((count) => count > 0).length;
  if (json) printJson({ file: out, bytes: size, lines: found.done, features: found.dSae, active });
  else print(`${out}: ${found.done} lines, ${active} of ${found.dSae} features active`);
}
