/**
 * Ways to get several answers from one prompt, and which tasks' answers they give: superposed decoding without and with n-grams,
 * beam search, and sampling. What they cost is counted in rows, tokens that the model runs after the prompt: what a pass over one
 * sequence takes a step.
 */
import { beamSearch, superposedDecode } from "../hooks/index.ts";
import { NgramModel } from "../model/drafts/ngrams.ts";
import type { KvCache } from "../model/kv-cache.ts";
import { type Prompt, promptIds, promptText } from "./prompts.ts";
import type { Subject } from "./subjects.ts";
import type { TaskFamily } from "./tasks/family.ts";
import { LINE_BREAK } from "./tasks/vocabulary.ts";

export const WAYS = ["superposed", "with n-grams", "beam search", "sampling"] as const;

export type Way = (typeof WAYS)[number];

/** What a way gave for a prompt. */
export interface Survival {
  /** For each task whether its whole answer, with the line break after it, is among the drafts. */
  readonly alive: boolean[];
  readonly rows: number;
}

/** Drafts of a prompt as they are counted. */
interface Lines {
  readonly texts: readonly string[];
  readonly rows: number;
}

/** How the drafts of some prompts are made. */
export interface Decoding {
  readonly way: Way;
  /** How many a prompt, or samples. */
  readonly drafts: number;
  /** Of which seed samples are drawn. */
  readonly seed: number;
}

/** Prompts of a family that have run, all but their ends: every way goes on from there. */
export class DecodedPrompts {
  private constructor(
    private readonly subject: Subject,
    private readonly prompts: readonly Prompt[],
    private readonly ngrams: NgramModel,
    private readonly kv: KvCache,
    /** The last tokens of each prompt: the context of n-grams. */
    private readonly ends: readonly number[][],
    private readonly settings: { maxNewTokens: number; eos: number[]; signal?: AbortSignal },
  ) {}

  /** @throws PaperError `paper/vocabulary` for a text with characters that the vocabulary lacks */
  static async run(
    subject: Subject,
    family: TaskFamily,
    prompts: readonly Prompt[],
    { text, signal }: { text?: string | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<DecodedPrompts> {
    const { model } = subject;
    const ngrams = ngramsOf(subject, family, text);
    const ids = prompts.map((prompt) => idsOf(subject, prompt));
    const kv = model.createKvCache({ sequences: prompts.length, capacity: ids.flat().length });
    try {
      const starts = ids.map((list) => list.slice(0, -ngrams.order));
      (await model.forward(starts, { kv, logits: "none", ...(signal && { signal }) })).destroy();
    } catch (error) {
      kv.destroy();
      throw error;
    }
    const eos = textIds(subject, LINE_BREAK).slice(-1);
    const settings = { maxNewTokens: longestAnswer(subject, family), eos, ...(signal && { signal }) };
    return new DecodedPrompts(
      subject,
      prompts,
      ngrams,
      kv,
      ids.map((list) => list.slice(-ngrams.order)),
      settings,
    );
  }

  /** Which answers of each prompt survive. */
  async survivals(decoding: Decoding): Promise<Survival[]> {
    const lines = await (decoding.way === "sampling" ? this.#sample(decoding) : this.#draft(decoding));
    return this.prompts.map(({ answers }, index) => {
      const { texts, rows } = lines[index] as Lines;
      return { alive: answers.map((answer) => texts.some((text) => text.startsWith(answer + LINE_BREAK))), rows };
    });
  }

  async #draft({ way, drafts }: Decoding): Promise<Lines[]> {
    const { subject, ngrams, kv, settings } = this;
    const options = { ...settings, kv, drafts };
    const found =
      way === "beam search"
        ? await beamSearch(subject.model, this.ends, options)
        : await superposedDecode(subject.model, this.ends, way === "superposed" ? options : { ...options, ngrams });
    return found.map((one) => ({ texts: one.drafts.map(({ tokens }) => textOf(subject, tokens)), rows: one.rows }));
  }

  /** Samples at temperature 1. */
  async #sample({ drafts, seed }: Decoding): Promise<Lines[]> {
    const { subject, settings } = this;
    const picks = this.ends.flatMap((_, prompt) => Array<number>(drafts).fill(prompt));
    using kv = this.kv.fork(picks);
    const inputs = picks.map((prompt) => this.ends[prompt] as number[]);
    const drawn: number[][] = picks.map(() => []);
    for await (const { tokens } of subject.model.generate(inputs, { ...settings, kv, temperature: 1, seed }))
      for (const [index, token] of tokens.entries()) if (token !== undefined) drawn[index]?.push(token);
    return this.ends.map((_, prompt) => {
      const own = drawn.slice(prompt * drafts, (prompt + 1) * drafts);
      // The first token of a sample comes of the prompt's pass, as that of a draft does.
      return { texts: own.map((ids) => textOf(subject, ids)), rows: own.flat().length - drafts };
    });
  }

  destroy(): void {
    this.kv.destroy();
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}

/** Tokens of the longest answer and the line break after it. */
function longestAnswer({ model, vocabulary }: Subject, { tasks }: TaskFamily): number {
  const answers = tasks.flatMap((task) => task.answers);
  const lengths = answers.map((answer) =>
    vocabulary ? vocabulary.answerIds(answer).length : model.toTokens(answer + LINE_BREAK, { addBos: false }).length,
  );
  return Math.max(...lengths);
}

/** Of a text, or of all tasks' answers as they stand in a line: these know how answers are spelled, and not which is right. */
function ngramsOf(subject: Subject, { inputs, tasks }: TaskFamily, text: string | undefined): NgramModel {
  const before = inputs.at(-1)?.after ?? "";
  const lines = tasks.flatMap(({ answers }) => answers.map((answer) => before + answer + LINE_BREAK));
  return new NgramModel([textIds(subject, text ?? lines.join(""))], { vocabSize: subject.model.spec.vocabSize });
}

function idsOf({ model, vocabulary }: Subject, prompt: Prompt): number[] {
  return vocabulary ? promptIds(vocabulary, prompt) : model.toTokens(promptText(prompt));
}

function textIds({ model, vocabulary }: Subject, text: string): number[] {
  return vocabulary ? [...text].map((character) => vocabulary.id(character)) : model.toTokens(text, { addBos: false });
}

function textOf({ model, vocabulary }: Subject, ids: readonly number[]): string {
  return vocabulary ? ids.map((id) => vocabulary.tokens[id]).join("") : model.toText(ids);
}
