/**
 * `superlens demo`: a transformer built by hand does several tasks at once, and shows how. Its attention weights in the
 * superpose layer are the mixture; moving four numbers from another prompt's run moves the mixture with them.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { SuperlensError } from "../../errors.ts";
import {
  type Blueprint,
  type LoadedSuperposition,
  type Prompt,
  parsePrompt,
  placesOf,
  promptIds,
  readBlueprint,
  setSpace,
} from "../../theory/index.ts";
import { type Look, look } from "../../theory/look.ts";
import { runProgram } from "../../theory/mixture.ts";
import { inputIds, pointOf } from "../../theory/observe.ts";
import { mixedPrompt, strangePrompt } from "../demo/prompts.ts";
import {
  indented,
  movedTable,
  type Paint,
  painted,
  plain,
  promptLines,
  section,
  taskTable,
  tokenTable,
} from "../demo/render.ts";
import { examples, type GlobalOptions } from "../options.ts";
import { print, printJson, terminal } from "../output.ts";
import { packageRoot } from "../package.ts";
import { withModel } from "../session.ts";

const MODEL = "weights/superposition";
/** What float32 may cost; docs/theory.md says why. */
const TOLERANCE = 2e-5;

const NEXT_STEPS = `
Every weight is explained in docs/theory.md. Next:
  npx superlens verify                       every claim of that page, measured on this machine
  npm run paper                              the paper's experiments on small trained models, as one report
  npx superlens construct country --out DIR  the same for other tasks, or for your own
  npx superlens inspect hf:openai-community/gpt2
  npx superlens generate hf:openai-community/gpt2 "The meaning of life is"`;

interface DemoOptions extends GlobalOptions {
  model?: string;
  prompt?: string;
  patch?: string;
}

export function demoCommand(): Command {
  return new Command("demo")
    .summary("watch a transformer do several tasks at once")
    .description(
      "Runs a transformer that was built, not trained, on a prompt whose examples mix several tasks. Prints the exact mixture, the model's probabilities and the attention weight of each task's head. Then it patches the weights of a second prompt into the run.",
    )
    .option("--model <folder>", "a folder written by superlens construct (default: the model in this package)")
    .option("--prompt <text>", 'examples and a query, such as "1+2->3, 2+2->cuatro, ..., 3+4->"')
    .option("--patch <text>", "the second prompt, whose weights are moved into the first one's run")
    .addHelpText(
      "after",
      examples(
        ["demo", "the sum of two numbers, as digits and in three languages at once"],
        ["construct country --examples 3 --out ./country", "build another model"],
        [
          'demo --model ./country --prompt "France->Paris, Japan->Asia, Italy->Rome, Sweden->"',
          "and give it a prompt of your own",
        ],
      ),
    )
    .action(async (_options: unknown, command: Command) => demo(command.optsWithGlobals()));
}

/** Everything the demo has to say. */
interface Story {
  first: Look;
  second: Look;
  /** The first prompt's run with WEIGHT of the second's. */
  patched: Look;
  /** Examples that no task explains; absent when the first prompt is one already. */
  strange: Look | undefined;
}

async function demo(options: DemoOptions): Promise<void> {
  const source = options.model ?? join(packageRoot(), MODEL);
  if (options.model === undefined && !existsSync(source)) {
    throw new SuperlensError(
      "cli/no-model",
      `${source} is not there. Build a model, superlens construct languages --out DIR, and show it: superlens demo --model DIR.`,
    );
  }
  const blueprint = await readBlueprint(source);
  const prompts = promptsOf(blueprint, options);
  // A model this small runs no faster for being tuned.
  const story = await withModel(
    source,
    { ...options, tune: false },
    {
      prepare: () => undefined,
      run: (model) => tell({ model, blueprint }, prompts),
    },
  );
  if (options.json) printJson({ model: blueprint.program.definition.name, ...story });
  else printStory(blueprint, story, terminal().colours ? painted : plain);
  checkDifference(Object.values(story));
}

/** The prompts asked for, or made up; checked before anything is loaded. */
function promptsOf(blueprint: Blueprint, { prompt, patch }: DemoOptions): [first: Prompt, second: Prompt] {
  const { program, examples } = blueprint;
  const chosen = [prompt, patch].map((text, i) => {
    const words = text === undefined ? mixedPrompt(blueprint, i + 1, i === 1) : parsePrompt(program, text);
    promptIds(program, examples, words);
    return words;
  });
  return chosen as [Prompt, Prompt];
}

async function tell(loaded: LoadedSuperposition, [a, b]: [Prompt, Prompt]): Promise<Story> {
  const { model, blueprint } = loaded;
  const { program, examples } = blueprint;
  const donor = promptIds(program, examples, b);
  const point = pointOf(blueprint, "WEIGHT");
  const { last } = placesOf(blueprint);
  const first = await look(loaded, a);
  using captured = await model.forward([inputIds(blueprint, donor)], { logits: "none", capture: point });
  const edits = [setSpace(blueprint, "WEIGHT", [last], captured.cache.at(point))];
  return {
    first,
    second: await look(loaded, b),
    patched: await look(loaded, a, edits, { weight: runProgram(program, donor).weight }),
    strange: first.explained ? await look(loaded, strangePrompt(blueprint, 1)) : undefined,
  };
}

function checkDifference(looks: readonly (Look | undefined)[]): void {
  const worst = Math.max(...looks.map((each) => each?.largestDifference ?? 0));
  if (worst <= TOLERANCE) return;
  throw new SuperlensError(
    "cli/demo-differs",
    `The model's probabilities are ${worst.toExponential(1)} off, more than ${TOLERANCE}: do not trust this adapter's results.`,
  );
}

function printStory(blueprint: Blueprint, story: Story, paint: Paint): void {
  const { first, second, patched, strange } = story;
  const { spec, program, stages } = blueprint;
  const superpose = stages.superpose as number;
  const weight = pointOf(blueprint, "WEIGHT");
  print(
    `A transformer that does ${program.tasks.length} tasks at once: ${program.definition.description || program.tasks.map(({ name }) => name).join(", ")}.`,
    `Nobody trained it. Its ${spec.nLayers} layers of ${spec.nHeads} heads were worked out by hand, weight by weight.`,
    ...section(paint, "A PROMPT THAT MIXES THE TASKS", ...promptLines(paint, first)),
    ...section(paint, "WHICH TASK IS MEANT? ALL OF THEM, IN THE EXAMPLES' PROPORTIONS", ...taskTable(paint, first)),
    "",
    `  "Attends" is blocks.${superpose}.attn.hook_pattern, captured from the run at the last position.`,
    `  Head k looks at the question with weight w_k, the share of examples that task k explains.`,
    ...section(paint, "THE NEXT TOKEN: COUNTED BY HAND, AND AS THE MODEL SAYS", ...answerLines(paint, first)),
  );
  print(
    ...section(paint, "NOW ANOTHER PROMPT RUNS, WITH OTHER PROPORTIONS", ...promptLines(paint, second)),
    "",
    `  Its ${program.tasks.length} numbers WEIGHT at ${weight} are copied into the first run.`,
    "  Nothing else changes: same examples, same question.",
    ...section(paint, "THE MIXTURE MOVES WITH THEM", ...movedTable(paint, first, patched)),
    "",
    ...indented(answerLines(paint, patched)),
  );
  if (strange) {
    print(
      ...section(
        paint,
        "EXAMPLES THAT MAKE NO SENSE",
        ...promptLines(paint, strange),
        "",
        ...answerLines(paint, strange),
      ),
    );
  }
  print(NEXT_STEPS);
}

function answerLines(paint: Paint, each: Look): string[] {
  const difference = `Largest difference over the whole vocabulary: ${each.largestDifference.toExponential(1)}.`;
  const silence = "no task explains these examples: all heads are parked, and everything goes to <bos>.";
  return [...tokenTable(paint, each), "", ...(each.explained ? [] : [silence]), difference];
}
