/**
 * The likeliest whole lines that may follow a prompt: what a model would answer, whichever way its words are cut into tokens.
 *
 * A line's probability is at most that of its beginning. So beginnings are continued best first, and once a whole line is likelier
 * than every beginning that is left, no other can be likelier. Beginnings of all prompts are continued together, on forks of the
 * prompts' key-value cache. Lines that read the same count as one.
 */
import { MODEL } from "../hooks/call.ts";
import type { HookedModel } from "../hooks/index.ts";
import { SEQUENCE, type SequenceInput } from "../model/input.ts";
import type { KvCache } from "../model/kv-cache.ts";
import { answerTokens } from "../model/log-probs.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../model/long-call.ts";
import * as s from "../schema/schema.ts";
import { assertAskable } from "./measure.ts";
import { nextTokens } from "./next-token.ts";
import { type BatchedPrompt, batchesOf, checkEdits, namingPrompt, passOptions } from "./passes.ts";
import { LINE_BREAK, VOCABULARY, type Vocabulary } from "./tasks/vocabulary.ts";

/** An answer, up to its line break. */
export interface Line {
  /** Without spaces around it. */
  readonly text: string;
  /** Of its ways to be cut into tokens that were found, line break included, in sum. */
  readonly probability: number;
}

/** The likeliest lines after a prompt. */
export interface Lines {
  /** The likeliest first. */
  readonly lines: readonly Line[];
  /** Whether no other line is likelier. False where the search took too long, as with models that have no idea. */
  readonly isExact: boolean;
  /** No line that is not there has more, whichever way it is cut into tokens. */
  readonly bound: number;
}

/** Options of `likeliestLines`. */
export interface LineOptions extends LongCallOptions {
  /** Whether these are all that are wanted: called with the lines of a prompt, likeliest first, until it says so. */
  enough: (lines: readonly Line[], prompt: number) => boolean;
}

const PROMPTS = s.list("prompts", SEQUENCE);

export const LINE_OPTIONS = s.object<LineOptions, LineOptions>("the options of likeliestLines", {
  enough: s.required(s.callback),
  ...LONG_CALL_FIELDS,
});

/** Beginnings that are continued at a time, of each prompt. */
const WIDTH = 4;
/** Passes after the prompt's; then the lines that were found have to do. */
const MOST_PASSES = 16;
/** Tokens of a line. */
const MOST_TOKENS = 32;
/** Beginnings that are less likely are dropped. */
const LEAST = Math.log(1e-5);

/**
 * Finds each prompt's likeliest lines, until there are enough of them or a search takes too long.
 * @param vocabulary what the model was trained with; undefined for a model with a tokenizer
 * @throws as `measurePrompts`
 */
export async function likeliestLines(
  model: HookedModel,
  vocabulary: Vocabulary | undefined,
  prompts: readonly SequenceInput[],
  options: LineOptions,
): Promise<Lines[]> {
  s.readArgument(MODEL, model, "likeliestLines", "model");
  if (vocabulary !== undefined) s.readArgument(VOCABULARY, vocabulary, "likeliestLines", "vocabulary");
  assertAskable(model, vocabulary);
  model.assertOpen();
  const read = s.readArgument(PROMPTS, prompts, "likeliestLines", "prompts");
  const { enough, signal, onProgress } = s.readOptions(LINE_OPTIONS, options, "likeliestLines");
  const reader = readerOf(model, vocabulary);
  const searches = read.map((prompt, index) => {
    const { promptIds } = namingPrompt(index, () => answerTokens(model.base, prompt, [], {}));
    return new Search(promptIds, model.spec.maxPositions, reader, (lines) => enough(lines, index));
  });
  checkEdits("likeliestLines", model, searches);
  let done = 0;
  for (const batch of batchesOf(searches, model.spec.vocabSize)) {
    signal?.throwIfAborted();
    await searchBatch(model, batch, signal);
    done += batch.length;
    await reportProgress({ onProgress, signal }, done, searches.length);
  }
  return searches.map((search) => search.result());
}

async function searchBatch(model: HookedModel, batch: readonly Search[], signal: AbortSignal | undefined) {
  const inputs = batch.map(({ prompt }) => prompt);
  using kv = model.createKvCache({ sequences: batch.length, capacity: inputs.flat().length + batch.length * WIDTH });
  const firsts = await nextOf(model, "prompt", inputs, kv, signal);
  for (const [index, search] of batch.entries()) search.add(START, firsts[index] as Float64Array);
  for (let pass = 0; pass < MOST_PASSES; pass++) {
    const wanted = batch.flatMap((search, sequence) => search.take().map((start) => ({ search, sequence, start })));
    if (wanted.length === 0) return;
    using forks = kv.fork(wanted.map(({ sequence }) => sequence));
    const starts = wanted.map(({ start }) => start.tokens);
    const nexts = await nextOf(model, "following", starts, forks, signal);
    for (const [index, { search, start }] of wanted.entries()) search.add(start, nexts[index] as Float64Array);
  }
}

/** Log probabilities [vocab] of what follows each input. */
async function nextOf(
  model: HookedModel,
  stage: "prompt" | "following",
  inputs: readonly number[][],
  kv: KvCache,
  signal: AbortSignal | undefined,
): Promise<Float64Array[]> {
  const { vocabSize } = model.spec;
  using next = await model.base.run(inputs, passOptions(model, stage, inputs, { kv, logits: "last", signal }));
  const logits = await next.tensor.read();
  return inputs.map((_, row) => nextTokens(logits.subarray(row * vocabSize, (row + 1) * vocabSize)).logProbs);
}

/** Tokens of a line so far. */
interface Start {
  readonly tokens: number[];
  readonly logProb: number;
}

const START: Start = { tokens: [], logProb: 0 };

/** What tokens mean. */
interface Reader {
  endsLine(token: number): boolean;
  /** The line that whole tokens are, after the prompt. */
  text(prompt: readonly number[], tokens: readonly number[]): string;
}

function readerOf({ tokenizer, spec }: HookedModel, vocabulary: Vocabulary | undefined): Reader {
  const eos = new Set(vocabulary ? [] : tokenizer?.eosIds);
  const textOf = (id: number) => vocabulary?.tokens[id] ?? tokenizer?.tokenText(id) ?? "";
  const ids = Array.from({ length: spec.vocabSize }, (_, id) => id);
  const ends = new Set(ids.filter((id) => eos.has(id) || textOf(id).includes(LINE_BREAK)));
  // Decoded after the prompt: some tokenizers take a space from the beginning of a text.
  const after = (prompt: readonly number[], tokens: readonly number[]) =>
    tokenizer?.decode([...prompt, ...tokens]).slice(tokenizer.decode([...prompt]).length) ?? "";
  return {
    endsLine: (token) => ends.has(token),
    text: (prompt, tokens) => {
      const words = tokens.filter((token) => !eos.has(token));
      const text = vocabulary ? words.map(textOf).join("") : after(prompt, words);
      return (text.split(LINE_BREAK)[0] as string).trim();
    },
  };
}

/** The search for one prompt's lines. */
class Search implements BatchedPrompt {
  readonly rows = WIDTH;
  /** Beginnings that were not continued yet, and whole lines that may not be the next likeliest yet. */
  #open: Start[] = [];
  #lines: Line[] = [];
  #hasEnough = false;

  constructor(
    readonly prompt: number[],
    private readonly maxPositions: number,
    private readonly reader: Reader,
    private readonly enough: (lines: readonly Line[]) => boolean,
  ) {}

  /** Adds what may follow a beginning. */
  add({ tokens, logProb }: Start, next: Float64Array): void {
    const hasRoom = tokens.length + 1 < MOST_TOKENS && this.prompt.length + tokens.length < this.maxPositions;
    for (const [token, value] of next.entries())
      if (logProb + value >= LEAST && (hasRoom || this.reader.endsLine(token)))
        this.#open.push({ tokens: [...tokens, token], logProb: logProb + value });
  }

  /** The beginnings to continue next; none when the search is done. */
  take(): Start[] {
    this.#settle();
    if (this.#hasEnough) return [];
    const taken = new Set(this.#open.filter((start) => !this.#isWhole(start)).slice(0, WIDTH));
    this.#open = this.#open.filter((start) => !taken.has(start));
    return [...taken];
  }

  result(): Lines {
    this.#settle();
    const isExact = this.#hasEnough || this.#open.length === 0;
    if (!isExact) for (const start of this.#open) if (this.#isWhole(start)) this.#keep(start);
    const left = this.#open.find((start) => isExact || !this.#isWhole(start));
    return { lines: this.#lines, isExact, bound: Math.exp(left?.logProb ?? LEAST) };
  }

  /** Keeps the whole lines that are likelier than all beginnings. */
  #settle(): void {
    this.#open.sort((a, b) => b.logProb - a.logProb);
    while (!this.#hasEnough && this.#open[0] && this.#isWhole(this.#open[0])) {
      this.#keep(this.#open.shift() as Start);
      this.#hasEnough = this.enough(this.#lines);
    }
  }

  #isWhole({ tokens }: Start): boolean {
    return this.reader.endsLine(tokens.at(-1) as number);
  }

  #keep({ tokens, logProb }: Start): void {
    const text = this.reader.text(this.prompt, tokens);
    const before = this.#lines.find((line) => line.text === text)?.probability ?? 0;
    const others = this.#lines.filter((line) => line.text !== text);
    this.#lines = [...others, { text, probability: before + Math.exp(logProb) }].sort(
      (a, b) => b.probability - a.probability,
    );
  }
}
