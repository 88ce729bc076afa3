/** Generation with hooks, against its definition: the likeliest next token of whole edited passes, one after the other. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Edit, GenerateEdit, HookedModel } from "../../src/hooks/index.ts";
import { failureOf, hooked, randomIds } from "../hooks/support.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";

const NEW = 6;
const LENGTHS = [5, 3];
const LAST = ({ spec }: HookedModel) => `blocks.${spec.nLayers - 1}.hook_resid_post`;

describe.each(["gpt2", "gemma2"])("in %s", (family) => {
  let model: HookedModel;
  const prompts = LENGTHS.map((length) => randomIds(seeded(length), length));
  beforeAll(async () => {
    model = await hooked(family);
  });
  afterAll(() => model.destroy());

  /** What each pass has before the unembedding, at the last position of each sequence, and the tokens. */
  async function generated(options: Parameters<HookedModel["generate"]>[1], input = prompts) {
    const [tokens, seen]: [number[][], Float32Array[][]] = [[], []];
    const capture = LAST(model);
    for await (const step of model.generate(input, { maxNewTokens: NEW, ignoreEos: true, capture, ...options })) {
      tokens.push(step.tokens as number[]);
      const own = input.map(async (_, batch) => {
        const all = await step.cache.read(capture, { batch: [batch] });
        const count = step.cache.positions[batch]?.length as number;
        return all.slice((count - 1) * model.spec.dModel, count * model.spec.dModel);
      });
      seen.push(await Promise.all(own));
    }
    return { tokens, seen };
  }

  /** The same of one sequence by whole passes; `editsOf` gives those for a sequence of some length. */
  async function byPasses(prompt: number[], tokens: number[], editsOf: (length: number) => Edit[]) {
    const ids = [...prompt];
    const seen: Float32Array[] = [];
    for (const token of tokens) {
      const options = { logits: "last", edits: editsOf(ids.length), capture: LAST(model), positions: [-1] } as const;
      using result = await model.forward([ids], options);
      const logits = await result.logits.at(0, -1);
      expect(logits.indexOf(Math.max(...logits))).toBe(token);
      seen.push(await result.cache.read(LAST(model)));
      ids.push(token);
    }
    return seen;
  }

  const EDITS: readonly [string, Omit<Edit, "value">][] = [
    ["the residual", { at: "blocks.1.hook_resid_post", op: "add" }],
    ["what a head's values read", { at: "blocks.1.hook_v_input", op: "add", heads: [1] }],
  ];
  const range = (from: number, to: number) => Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);

  it.each(EDITS)("edits of %s are made in the passes that they name", async (_, plain) => {
    const edit = { ...plain, value: gaussians(seeded(3), model.spec.dModel), alpha: 4 };
    const unedited = await generated({});
    const cases: [GenerateEdit, (length: number, prompt: number) => number[]][] = [
      [edit, (length) => range(0, length)],
      [{ ...edit, during: "both" }, (length) => range(0, length)],
      [{ ...edit, during: "prompt" }, (_length, prompt) => range(0, prompt)],
      [{ ...edit, during: "tokens" }, (length, prompt) => range(prompt, length)],
      [{ ...edit, positions: [1, -1] }, (_length, prompt) => [1, prompt - 1]],
    ];
    const all = [];
    for (const [edits, positionsOf] of cases) {
      const { tokens, seen } = await generated({ edits });
      for (const [sequence, prompt] of prompts.entries()) {
        const editsOf = (length: number): Edit[] => {
          const positions = positionsOf(length, prompt.length);
          return positions.length > 0 ? [{ ...edit, positions }] : [];
        };
        const own = tokens.map((step) => step[sequence] as number);
        const expected = await byPasses(prompt, own, editsOf);
        for (const [step, values] of expected.entries())
          expect(relativeError(seen[step]?.[sequence] as Float32Array, values), `step ${step}`).toBeLessThan(1e-4);
      }
      all.push(seen);
    }
    // The edit matters, and where it is made.
    const last = (seen: Float32Array[][]) => seen[1]?.[0] as Float32Array;
    const [, both, prompt, tokens, some] = all.map(last) as Float32Array[];
    for (const [a, b] of [
      [both, last(unedited.seen)],
      [both, prompt],
      [both, tokens],
      [prompt, some],
    ] as [Float32Array, Float32Array][])
      expect(relativeError(a, b)).toBeGreaterThan(1e-3);
  });

  it("captures show each pass: the prompt, and then a token at a time", async () => {
    const at = "blocks.1.hook_resid_post";
    const [prompt] = prompts as [number[]];
    const ids = [...prompt];
    let step = 0;
    for await (const { cache, tokens } of model.generate([prompt], { capture: at, maxNewTokens: 4, ignoreEos: true })) {
      const length = step === 0 ? prompt.length : 1;
      expect(cache.shape(at)).toEqual([1, length, model.spec.dModel]);
      using whole = await model.forward([ids], { capture: at });
      const expected = (await whole.cache.read(at)).slice(-length * model.spec.dModel);
      expect(relativeError(await cache.read(at), expected)).toBeLessThan(1e-5);
      ids.push(tokens[0] as number);
      step += 1;
    }
    expect(step).toBe(4);
  });

  it("functions are called in every pass, and change it as edits do", async () => {
    const at = "blocks.1.hook_resid_post";
    const shapes: (readonly number[])[] = [];
    const double = (x: Float32Array, { shape }: { shape: readonly number[] }) => {
      shapes.push(shape);
      return x.map((value) => 3 * value - 1);
    };
    const [prompt] = prompts as [number[]];
    const called = await generated({ hooks: { [at]: double } }, [prompt]);
    const edits: Edit = { at, op: "wgsl", expression: "3.0 * x - 1.0" };
    const edited = await generated({ edits }, [prompt]);
    expect(called.tokens).toEqual(edited.tokens);
    for (const [step, [values]] of called.seen.entries())
      expect(relativeError(values as Float32Array, edited.seen[step]?.[0] as Float32Array)).toBeLessThan(1e-5);
    const [plain] = (await generated({}, [prompt])).seen;
    expect(relativeError(called.seen[0]?.[0] as Float32Array, plain?.[0] as Float32Array)).toBeGreaterThan(0.01);
    const { dModel } = model.spec;
    expect(shapes).toEqual(
      [prompt.length, ...Array.from({ length: NEW - 1 }, () => 1)].map((length) => [1, length, dModel]),
    );
    expect(await failureOf(() => model.generate([prompt], { hooks: { nowhere: double } }).next())).toMatch(
      /hook\/no-such-point/,
    );
  });
});
