/** `superlens patch`: which activations carry the difference between two prompts, as a table in colours. */
import { Command, Option } from "commander";
import { activationPatch, type PatchGrid } from "../../hooks/index.ts";
import { type CheckedMetric, checkMetrics } from "../../hooks/metrics.ts";
import { planPatch } from "../../hooks/patching/activation-patch.ts";
import { SITE_NAMES, type SiteName } from "../../hooks/patching/sites.ts";
import { checkForward } from "../../hooks/plan.ts";
import { heatTable } from "../heat-table.ts";
import { addPairOptions, twoPrompts } from "../input.ts";
import { type MetricOption, resolveMetric } from "../metric-option.ts";
import { addBosOption, bosOption, examples, type GlobalOptions, type InputOptions, refuseIdleBos } from "../options.ts";
import { print, printJson, terminal } from "../output.ts";
import { addPictureOptions, checkPictureFiles, type PictureOptions, writePictures } from "../picture-files.ts";
import { withModel } from "../session.ts";
import { stop } from "../stop.ts";

interface PatchOptions extends GlobalOptions, Omit<InputOptions, "ids">, PictureOptions {
  clean: string;
  corrupted: string;
  ids?: boolean;
  metric: MetricOption;
  at: SiteName;
  direction: "denoising" | "noising";
  position?: number;
}

const DIRECTIONS = ["denoising", "noising"] as const;

export function patchCommand(): Command {
  return addPairOptions(addPictureOptions(addBosOption(new Command("patch"))))
    .summary("patch activations of one prompt into another, and show how far the answer follows")
    .description(
      "Runs a clean and a corrupted prompt of as many tokens, whose METRIC differs, and gives one activation after the other its value in the other run. A cell says how far the metric moves from the corrupted run (0) to the clean one (1).",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .addOption(new Option("--at <site>", "what is patched").choices(SITE_NAMES).default("resid_pre"))
    .addOption(
      new Option("--direction <direction>", "denoising: clean into corrupted; noising: corrupted into clean")
        .choices(DIRECTIONS)
        .default("denoising"),
    )
    .addHelpText(
      "after",
      examples(
        [
          'patch ./model --clean "The capital of France is" --corrupted "The capital of Italy is" --metric "logitDiff( Paris, Rome)"',
          "the residual before each layer, at each position",
        ],
        [
          'patch ./model --clean "5 6 7" --corrupted "5 8 7" --ids --metric "logit(9)" --at z --svg heads.svg',
          "each head, as a picture too",
        ],
      ),
    )
    .action(async (model: string, _options: unknown, command: Command) => patch(model, command));
}

async function patch(source: string, command: Command): Promise<void> {
  const options = command.optsWithGlobals<PatchOptions>();
  const { at, direction, position: metricPosition } = options;
  refuseIdleBos(command, options, options.ids);
  const prompts = twoPrompts(command, options);
  await checkPictureFiles(options);
  const grid = await withModel(source, options, {
    prepare(facts) {
      const idsOf = (prompt: string | number[]) => checkForward(facts, prompt, bosOption(options))[0] as number[];
      const [clean, corrupted] = [idsOf(prompts.clean), idsOf(prompts.corrupted)];
      const metric = resolveMetric(options.metric, facts);
      const question = { clean, corrupted, metric, at, direction, metricPosition };
      planPatch(facts, question);
      checkMetrics([metric as CheckedMetric], facts.spec);
      return question;
    },
    run: (model, question) => activationPatch(model, { ...question, signal: stop.signal }),
  });
  if (options.json) printJson(grid.toJSON());
  else printGrid(grid);
  await writePictures(options, ({ heatMap }) =>
    heatMap(grid, {
      title: `${at}, ${direction}: 0 as in the corrupted run, 1 as in the clean one`,
      measure: options.metric.text.trim(),
      show: "normalized",
    }),
  );
}

function printGrid(grid: PatchGrid): void {
  const { rows, columns, clean, corrupted } = grid;
  const values = grid.normalized();
  const width = columns.labels.length;
  const cells = rows.labels.map((_, row) =>
    columns.labels.map((_, column) => {
      const value = values[row * width + column] as number;
      return { text: value.toFixed(3), value };
    }),
  );
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
  const table = {
    rows: rows.labels,
    columns: columns.labels,
    cells,
    from: -largest,
    to: largest,
    scale: "diverging",
  } as const;
  print(
    `clean ${clean.toFixed(4)}, corrupted ${corrupted.toFixed(4)}; in the table 0 is the corrupted run, 1 the clean one`,
    ...heatTable(table, terminal()),
  );
}
