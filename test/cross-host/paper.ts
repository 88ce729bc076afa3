/** The paper's figures on every host: an embedded model is loaded over HTTP, and prompts and numbers are the same everywhere. */
import { loadModel, MemoryStore } from "../../src/index.ts";
import {
  defaultModels,
  evaluationPrompts,
  figureOf,
  promptIds,
  runFigure,
  SubjectList,
  taskFamily,
  type Vocabulary,
} from "../../src/paper/index.ts";
import { type Check, expectEqual, showWorst } from "./harness.ts";

const TASKS = ["capital", "continent", "upper"];
/** Mean probability of each task's answer: a softmax in double precision over logits of Node with SwiftShader. */
const MEANS = [0.4093671, 0.1979346, 0.3863765];
/** Of float32 passes on adapters that sum in other orders. */
const BOUND = 1e-5;

export const paperChecks: Check[] = [
  {
    name: "mixtures of an embedded model are those of its logits, and of other hosts",
    atNightIn: ["browser"],
    async run(context) {
      const gpu = await context.gpu();
      const figure = figureOf("mixtures");
      using models = new SubjectList(defaultModels(figure, context.weightsUrl), (source) => loadModel(source, { gpu }));
      const summary = await runFigure(figure, models, { store: new MemoryStore(), quick: true });
      const rows = summary?.table.rows.filter(([family]) => family === "countries") ?? [];
      expectEqual(rows.map(([, task]) => task).join(), TASKS.join(), "tasks");

      const { model, vocabulary } = await models.at(0);
      const prompts = evaluationPrompts(taskFamily("countries"), { counts: [7, 6, 7], tasks: TASKS, count: 20 });
      using run = await model.forward(
        prompts.map((prompt) => promptIds(vocabulary as Vocabulary, prompt)),
        { logits: "last" },
      );
      const means = TASKS.map(() => 0);
      for (const [row, { answers }] of prompts.entries()) {
        const logits = [...(await run.logits.at(row, -1))];
        const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
        for (const [role, answer] of answers.entries()) {
          const [id] = (vocabulary as Vocabulary).answerIds(answer) as [number];
          means[role] = (means[role] as number) + Math.exp(logits[id] as number) / total / prompts.length;
        }
      }
      const differences = means.flatMap((mean, role) => [
        Math.abs(mean - (rows[role]?.[3] as number)),
        Math.abs(mean - (MEANS[role] as number)),
      ]);
      const worst = Math.max(...differences);
      if (!(worst <= BOUND)) throw new Error(`off by ${worst}, allowed ${BOUND}: ${means.join(", ")}`);
      return showWorst(worst);
    },
  },
];
