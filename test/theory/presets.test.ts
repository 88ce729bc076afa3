import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { buildSuperposition } from "../../src/theory/build.ts";
import type { TaskDefinition } from "../../src/theory/definition.ts";
import { Oracle } from "../../src/theory/oracle.ts";
import { arithmetic } from "../../src/theory/presets/arithmetic.ts";
import { letters } from "../../src/theory/presets/letters.ts";
import { plus } from "../../src/theory/presets/plus.ts";
import { retrieval } from "../../src/theory/presets/retrieval.ts";
import { samplePrompt } from "../../src/theory/sampling.ts";
import { compileTasks } from "../../src/theory/tasks.ts";
import { check, denseBytes, seeded } from "./helpers.ts";

const definitions: TaskDefinition[] = [
  arithmetic(),
  arithmetic({ low: 10, high: 14 }),
  arithmetic({ low: -3, high: 3 }),
  letters(),
  retrieval(),
  retrieval({ symbols: ["x", "y"], inputs: 2 }),
  plus(),
  plus({ modulo: 7, constants: [0, 1, 2, 3, 4, 5, 6] }),
];

describe("presets", () => {
  it.each(definitions)("$name: $description, $vocabulary.length tokens", (definition) => {
    const model = buildSuperposition(definition, { examples: 20 });
    const oracle = new Oracle(model.spec, model.weights);
    const random = seeded(20);
    for (let p = 0; p < 20; p++) {
      expect(check(model, oracle, samplePrompt(model.program, 20, random)).error).toBeLessThanOrEqual(1e-9);
    }
    expect(denseBytes(model)).toBeLessThan(32e6);
  });

  it.each(definitions)("$name is JSON", (definition) => {
    expect(compileTasks(JSON.parse(JSON.stringify(definition))).tasks).toEqual(compileTasks(definition).tasks);
  });

  it("answer what they say", () => {
    const answers = (definition: TaskDefinition, ...inputs: string[]) => {
      const model = buildSuperposition(definition, { examples: 1 });
      const oracle = new Oracle(model.spec, model.weights);
      return definition.tasks.map((_, k) => {
        const outcome = definition.vocabulary.filter((label) => {
          const { exact, error } = check(model, oracle, { examples: [[...inputs, label]], query: inputs });
          expect(error).toBeLessThanOrEqual(1e-9);
          return exact.counts[k] === 1;
        });
        return outcome.join();
      });
    };
    expect(answers(arithmetic(), "3", "8")).toEqual(["3", "8", "11"]);
    expect(answers(letters(), "apple")).toEqual(["a", "e", "A", "E"]);
    expect(answers(retrieval(), "p", "q", "r", "s")).toEqual(["p", "q", "r", "s"]);
    expect(answers(plus(), "18")).toEqual(["0", "3", "7"]);
  });

  it("a token that is no operand leaves the sum undefined", () => {
    const definition = {
      ...arithmetic({ low: -4, high: 4 }),
      vocabulary: [...arithmetic({ low: -4, high: 4 }).vocabulary, "?"],
    };
    const model = buildSuperposition(definition, { examples: 2 });
    const oracle = new Oracle(model.spec, model.weights);
    for (const label of definition.vocabulary) {
      const prompt = {
        examples: [
          ["?", "3", label],
          ["2", "?", label],
        ],
        query: ["?", "?"],
      };
      const { error, exact } = check(model, oracle, prompt);
      expect(error).toBeLessThanOrEqual(1e-9);
      expect(exact.derived).toEqual([-1, -1, -1]);
    }
  });

  it("the example of docs/theory.md behaves as that page predicts", () => {
    const page = readFileSync(new URL("../../docs/theory.md", import.meta.url), "utf8");
    const definition = JSON.parse(/```json\n([^`]*)```/.exec(page)?.[1] ?? "") as TaskDefinition;
    const changed = JSON.parse(
      JSON.stringify(definition).replace('["black","white"]', '["black","red"]'),
    ) as TaskDefinition;
    const examples = ["red red", "black white", "white black", "green red"].map((line) => line.split(" "));
    const run = (tasks: TaskDefinition) => {
      const model = buildSuperposition(tasks, { examples: 4 });
      expect(model.spec.dModel).toBe(30);
      const { probabilities, exact, error } = check(model, new Oracle(model.spec, model.weights), {
        examples,
        query: ["black"],
      });
      expect(error).toBeLessThan(1e-9);
      const of = (token: string) => probabilities[tasks.vocabulary.indexOf(token)];
      return { weight: exact.weight, of };
    };
    const before = run(definition);
    expect(before.weight).toEqual([0.25, 0.75]);
    expect(before.of("white")).toBeCloseTo(0.75, 9);
    const after = run(changed);
    expect(after.weight).toEqual([0.25, 0.5]);
    expect(after.of("red")).toBeCloseTo(2 / 3, 9);
  });
});
