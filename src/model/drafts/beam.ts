/**
 * Beam search: each draft has a row of its own in every step, and attends to its own past. That is a fork of the key-value cache
 * of the draft that it continues.
 */

import * as s from "../../schema/schema.ts";
import type { TokenInput } from "../input.ts";
import type { KvCache } from "../kv-cache.ts";
import type { Runner } from "../runner.ts";
import {
  DRAFT_FIELDS,
  type DraftOptions,
  type DraftReader,
  type Drafts,
  type Growing,
  growDrafts,
  readNext,
} from "./drafts.ts";

export const BEAM_OPTIONS = s.object<DraftOptions>("the options of beamSearch", DRAFT_FIELDS);

/** Beam search; scores are the drafts' log probabilities, not divided by length. */
export function beamSearch(model: Runner, input: TokenInput, options: s.Read<DraftOptions>): Promise<Drafts[]> {
  return growDrafts(model, input, options, {
    reader: (kv) => new BeamReader(model, kv, options.signal),
    gain: (logProb) => logProb,
  });
}

class BeamReader implements DraftReader {
  /** The sequence of each prompt's first live draft. */
  #starts: number[];

  constructor(
    private readonly model: Runner,
    /** A sequence a live draft; in the beginning a prompt. */
    private kv: KvCache,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.#starts = kv.lengths.map((_, prompt) => prompt);
  }

  async next(live: readonly (readonly Growing[])[]): Promise<Float64Array[][]> {
    const picks = live.flatMap((list, prompt) => list.map(({ parent }) => (this.#starts[prompt] as number) + parent));
    const forks = this.kv.fork(picks);
    this.kv.destroy();
    this.kv = forks;
    const newest = live.flatMap((list) => list.map(({ tokens }) => tokens.slice(-1)));
    const next = await readNext(this.model, newest, forks, { signal: this.signal });
    let start = 0;
    this.#starts = live.map(({ length }) => {
      start += length;
      return start - length;
    });
    return live.map(({ length }, prompt) => {
      const first = this.#starts[prompt] as number;
      return next.slice(first, first + length);
    });
  }

  rowsFor(live: number): number {
    return live;
  }

  destroy(): void {
    this.kv.destroy();
  }
}
