/** The answers of the exercises in docs/page.md are what the model says. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { activationPatch, type Edit, type HookedModel, loadModel, logitLens, metric } from "../../src/node.ts";
import { EMBEDDED } from "../../src/web/models.ts";
import { testGpu } from "../support/gpu.ts";

const file = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8");
const vocabulary = JSON.parse(file("weights/lc-mix10/vocab.json")) as Record<string, number>;
const idOf = (word: string) => vocabulary[word] as number;
const wordOf = (id: number) => Object.keys(vocabulary)[id] as string;
const idsOf = (text: string) => (text.match(/\n|[^\n>+]*(\+|->|\n)/g) as string[]).map(idOf);
const page = file("docs/page.md");
const { text, corrupted } = EMBEDDED[0] as (typeof EMBEDDED)[number];

let model: HookedModel;
beforeAll(async () => {
  model = await loadModel(new URL("../../weights/lc-mix10", import.meta.url).pathname, { gpu: await testGpu() });
});
afterAll(() => model.destroy());

/** The likeliest answers with their percentages, as the page writes them. */
async function answers(count: number, edits: Edit[] = []): Promise<string> {
  using result = await model.forward(idsOf(text), { edits });
  const logits = await result.logits.at(0, -1);
  const largest = Math.max(...logits);
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  const order = [...logits.keys()].sort((a, b) => (logits[b] as number) - (logits[a] as number)).slice(0, count);
  const share = (id: number) => Math.round((100 * Math.exp((logits[id] as number) - largest)) / sum);
  return order.map((id) => `\`${wordOf(id).trim()}\` ${share(id)}%`).join(", ");
}

describe("docs/page.md", () => {
  it("shows the prompt that the model brings along", () => expect(page).toContain(`\`\`\`text${text}\n\`\`\``));

  it("exercise 1: the likeliest answers", async () => expect(page).toContain(await answers(3)));

  it("exercise 2: the depth from which the answer is there", async () => {
    const lens = await logitLens(model, idsOf(text), { topK: 1, positions: [-1] });
    const [, one, end] = lens.labels.map((label) => lens.at(label)[0]) as { token: number; probability: number }[];
    expect(wordOf((one as { token: number }).token)).toBe("six\n");
    expect(page).toContain(
      `says \`six\` with ${Math.round(100 * (one?.probability ?? 0))}%, and \`final_post\` with ${Math.round(100 * (end?.probability ?? 0))}%`,
    );
  });

  it("exercise 3: the head that fetches the operand, and the model without it", async () => {
    using run = await model.forward(idsOf(text), { capture: "blocks.0.attn.hook_pattern" });
    const looks = async (head: number) =>
      (await run.cache.read("blocks.0.attn.hook_pattern", { positions: [-1], heads: [head] })).at(-2)?.toFixed(2);
    expect(page).toContain(`Head 3, with ${await looks(3)} of its attention; head 2 gives it ${await looks(2)}.`);
    const without = (head: number): Edit[] => [{ at: "blocks.0.attn.hook_z", op: "zero", heads: [head] }];
    expect(page).toContain(await answers(3, without(3)));
    expect(await answers(1, without(1))).toBe("`six` 90%");
    expect(await answers(1, without(2))).toMatch(/^`six`/);
  });

  it("exercise 4: where the answer lies", async () => {
    const options = {
      clean: idsOf(text),
      corrupted: idsOf(corrupted),
      metric: metric.logitDiff(idOf("six\n"), idOf("nine\n")),
    };
    const shares = async (at: "resid_pre" | "attn_out" | "mlp_out") =>
      [...(await activationPatch(model, { ...options, at })).normalized()].map((value) => value.toFixed(2));
    const length = options.clean.length;
    const residual = await shares("resid_pre");
    expect(page).toContain(`carry it, ${residual[length - 2]} and ${residual[length - 1]}`);
    expect(page).toContain(`carries all of it, ${residual[2 * length - 1]}.`);
    const [attention, mlp] = [(await shares("attn_out"))[length - 1], (await shares("mlp_out"))[length - 1]];
    expect(page).toContain(`attention carries ${attention} and its MLP ${mlp} at the last position`);
  });
});
