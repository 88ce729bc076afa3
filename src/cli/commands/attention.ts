/** `superlens attention`: where do the heads look? */
import { Command, Option } from "commander";
import type { ActivationCache, HookedModel } from "../../hooks/index.ts";
import { pickHeads, positionAxis, type ResolvedSite, resolveSite } from "../../hooks/patching/sites.ts";
import { checkForward } from "../../hooks/plan.ts";
import { heatTable } from "../heat-table.ts";
import { oneInput } from "../input.ts";
import {
  addBosOption,
  bosOption,
  examples,
  type GlobalOptions,
  type InputOptions,
  idsOption,
  wholeNumber,
} from "../options.ts";
import { percent, print, printJson, table, terminal } from "../output.ts";
import { addPictureOptions, checkPictureFiles, type PictureOptions, writePictures } from "../picture-files.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";

interface AttentionOptions extends GlobalOptions, InputOptions, PictureOptions {
  layer?: number;
  head?: number;
}

export function attentionCommand(): Command {
  return addPictureOptions(addBosOption(new Command("attention")).addOption(idsOption()))
    .summary("show where the heads look")
    .description(
      "Attention patterns: of one head the whole pattern, queries below each other and keys side by side; of several the tokens that each looks at most from the last one.",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .argument("[prompt]", "the text; quote it for the shell")
    .addOption(new Option("--layer <n>", "only this layer").argParser(wholeNumber(0)))
    .addOption(new Option("--head <n>", "only this head").argParser(wholeNumber(0)))
    .addHelpText(
      "after",
      examples(
        ['attention ./model "The cat sat on the" --svg heads.svg', "every head, and a picture of all patterns"],
        ['attention ./model "The cat sat on the" --layer 0 --head 3', "the pattern of one head"],
      ),
    )
    .action(async (model: string, prompt: string | undefined, _options: unknown, command: Command) =>
      showAttention(model, prompt, command),
    );
}

/** What is shown of which prompt. */
interface Shown {
  ids: number[];
  site: ResolvedSite;
  heads: number[];
}

/** The pattern of one head, [query][key]. */
interface Pattern {
  layer: number;
  head: number;
  weights: number[][];
}

async function showAttention(source: string, prompt: string | undefined, command: Command): Promise<void> {
  const options = command.optsWithGlobals<AttentionOptions>();
  const { layer, head } = options;
  const input = oneInput(command, prompt, options);
  await checkPictureFiles(options);
  await withModel(source, options, {
    prepare(facts): Shown {
      const site = resolveSite(facts.spec, "pattern", layer === undefined ? undefined : [layer]);
      const heads = pickHeads(site, head === undefined ? undefined : [head]);
      return { ids: checkForward(facts, input, bosOption(options))[0] as number[], site, heads };
    },
    async run(model, { ids, site, heads }) {
      using forward = await model.forward(ids, { capture: site.names, logits: "none", signal: stop.signal });
      const { cache } = forward;
      const patterns = await readPatterns(cache, site, heads);
      const tokens = tokensOf(model, ids);
      if (options.json) printJson({ tokens, patterns });
      else printPatterns(patterns, tokens);
      await writePictures(options, ({ attentionView }) =>
        attentionView(cache, { layers: site.layers, heads, tokens, title: titleOf(options) }),
      );
    },
  });
}

const tokensOf = (model: HookedModel, ids: readonly number[]) => positionAxis(model, ids, [...ids.keys()]).labels;

function titleOf({ layer, head }: AttentionOptions): string {
  if (layer !== undefined && head !== undefined) return `Attention of L${layer}H${head}`;
  const parts = [
    ...(layer === undefined ? [] : [`of layer ${layer}`]),
    ...(head === undefined ? [] : [`of head ${head}`]),
  ];
  return ["Attention", ...parts].join(" ");
}

async function readPatterns(cache: ActivationCache, site: ResolvedSite, heads: readonly number[]): Promise<Pattern[]> {
  const patterns: Pattern[] = [];
  for (const layer of site.layers) {
    const name = site.nameAt(layer);
    const keys = cache.shape(name).at(-1) as number;
    for (const head of heads) {
      const values = await cache.read(name, { heads: head });
      const weights = Array.from({ length: values.length / keys }, (_, query) => [
        ...values.subarray(query * keys, (query + 1) * keys),
      ]);
      patterns.push({ layer, head, weights });
    }
  }
  return patterns;
}

/** Keys that a head's line names. */
const MOST_KEYS = 3;

function printPatterns(patterns: readonly Pattern[], tokens: readonly string[]): void {
  const [only] = patterns;
  if (only && patterns.length === 1) {
    const cells = only.weights.map((row) => row.map((value) => ({ text: value === 0 ? "" : value.toFixed(2), value })));
    print(...heatTable({ rows: tokens, columns: tokens, cells, from: 0, to: 1, scale: "sequential" }, terminal()));
    return;
  }
  const rows = patterns.map(({ layer, head, weights }) => {
    const last = weights.at(-1) as number[];
    const most = [...last.keys()].sort((a, b) => (last[b] as number) - (last[a] as number)).slice(0, MOST_KEYS);
    return [`L${layer}H${head}`, ...most.map((key) => `${percent(last[key] as number)} ${tokens[key]}`)];
  });
  print(`from ${tokens.at(-1)} to`, ...table(rows));
}
