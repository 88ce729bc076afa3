/** `superlens lens`: what would the model say if it ended after a layer? */
import { Command } from "commander";
import { type LensToken, type LogitLens, logitLens } from "../../hooks/index.ts";
import { positionAxis } from "../../hooks/patching/sites.ts";
import { checkForward } from "../../hooks/plan.ts";
import { visible } from "../../pictures/labels.ts";
import { heatTable } from "../heat-table.ts";
import { oneInput } from "../input.ts";
import { addBosOption, bosOption, examples, type GlobalOptions, type InputOptions, idsOption } from "../options.ts";
import { percent, print, printJson, terminal } from "../output.ts";
import { addPictureOptions, checkPictureFiles, type PictureOptions, writePictures } from "../picture-files.ts";
import { withModel } from "../session.ts";

type LensOptions = GlobalOptions & InputOptions & PictureOptions;

/** Tokens of a place that `--json` gives. */
const TOP = 5;

export function lensCommand(): Command {
  return addPictureOptions(addBosOption(new Command("lens")).addOption(idsOption()))
    .summary("show what the model would say after each layer")
    .description(
      "The logit lens: the most likely next token after each layer, at each position, in the colour of its probability.",
    )
    .argument("<model>", "folder, address or hf:owner/name")
    .argument("[prompt]", "the text; quote it for the shell")
    .addHelpText(
      "after",
      examples(
        ['lens ./model "The capital of France is"', "a row a layer, a column a token"],
        ['lens ./model "The capital of France is" --svg lens.svg', "as a picture, too"],
      ),
    )
    .action(async (model: string, prompt: string | undefined, _options: unknown, command: Command) =>
      showLens(model, prompt, command),
    );
}

async function showLens(source: string, prompt: string | undefined, command: Command): Promise<void> {
  const options = command.optsWithGlobals<LensOptions>();
  const input = oneInput(command, prompt, options);
  await checkPictureFiles(options);
  await withModel(source, options, {
    prepare: (facts) => checkForward(facts, input, bosOption(options)),
    async run(model, [ids]) {
      using lens = await logitLens(model, ids as number[], { topK: Math.min(TOP, model.spec.vocabSize) });
      const positions = lens.positions[0] as number[];
      const tokens = positionAxis(model, ids as number[], positions).labels;
      const top = lens.labels.map((label) => positions.map((position) => lens.at(label, position)));
      if (options.json) printJson({ layers: lens.labels, tokens, top });
      else printLens(lens, tokens, top);
      await writePictures(options, ({ heatMap }) =>
        heatMap(lens, { title: "Most likely next token after each layer", columns: tokens, text: true }),
      );
    },
  });
}

/** `top`: [layer][position][rank]. */
function printLens({ labels }: LogitLens, tokens: readonly string[], top: readonly LensToken[][][]): void {
  const nameOf = ({ token, text }: LensToken) => (text === undefined ? `#${token}` : visible(text));
  const cells = top.map((places) =>
    places.map(([first]) => {
      const token = first as LensToken;
      return { text: `${nameOf(token)} ${percent(token.probability)}`, value: token.probability };
    }),
  );
  const table = { rows: labels, columns: tokens, cells, from: 0, to: 1, scale: "sequential" } as const;
  print(...heatTable(table, terminal()));
}
