/**
 * Byte-pair encoding: a word starts as its characters, and of all neighbours that the list of merges knows, those that
 * come first in the list are joined, the leftmost first, until none is left.
 * As https://github.com/huggingface/tokenizers/blob/main/tokenizers/src/models/bpe does it.
 */
import { broken, type Part, unsupported } from "./parts.ts";
import { byteTokens, type Model, readVocabulary, unknownId, type Vocabulary } from "./vocabulary.ts";

/** Two numbers below 2^26 as one, which orders as the pair does. */
const SHIFT = 2 ** 26;

/** What two neighbours become. */
interface Merges {
  /** Place in the list, by `left * SHIFT + right`. */
  rankOf: Map<number, number>;
  /** The joined token, by place in the list. */
  joined: number[];
}

/** Words of up to so many UTF-16 units are remembered, up to so many of them. */
const CACHED_LENGTH = 256;
const CACHED_WORDS = 20_000;

export function bpe(part: Part): Model {
  if (part.config.dropout) throw unsupported("model BPE with dropout (its ids are random)");
  const vocabulary = readVocabulary(part);
  const spell = speller(part, vocabulary);
  const merges = readMerges(part, vocabulary);
  const keepsWhole = part.boolean("ignore_merges", false);
  const cache = new Map<string, number[]>();
  return {
    vocabulary,
    tokenize(word) {
      const whole = keepsWhole ? vocabulary.idOf.get(word) : undefined;
      if (whole !== undefined) return [whole];
      const known = cache.get(word);
      if (known) return known;
      const ids = merged(spell(word), merges);
      if (word.length <= CACHED_LENGTH) {
        if (cache.size >= CACHED_WORDS) cache.clear();
        cache.set(word, ids);
      }
      return ids;
    },
  };
}

function readMerges(part: Part, { idOf }: Vocabulary): Merges {
  const prefix = part.string("continuing_subword_prefix", "");
  const merges: Merges = { rankOf: new Map(), joined: [] };
  for (const entry of part.list("merges")) {
    if (typeof entry === "string" && entry.startsWith("#version")) continue;
    const pair: unknown[] = typeof entry === "string" ? entry.split(" ") : Array.isArray(entry) ? entry : [];
    const [left, right] = pair;
    if (typeof left !== "string" || typeof right !== "string" || pair.length !== 2) {
      throw broken(`the merge ${JSON.stringify(entry)} is not a pair of tokens`);
    }
    const [leftId, rightId, joinedId] = [left, right, left + right.slice(prefix.length)].map((token) => {
      const id = idOf.get(token);
      if (id === undefined)
        throw broken(
          `the merge ${JSON.stringify(entry)} needs ${JSON.stringify(token)}, which is not in the vocabulary`,
        );
      return id;
    }) as [number, number, number];
    merges.rankOf.set(leftId * SHIFT + rightId, merges.joined.length);
    merges.joined.push(joinedId);
  }
  return merges;
}

/** A word as ids of its characters; those outside the vocabulary become bytes, the unknown token or nothing. */
function speller(part: Part, vocabulary: Vocabulary): (word: string) => number[] {
  const prefix = part.string("continuing_subword_prefix", "");
  if (/[^\0-\x7f]/.test(prefix)) throw unsupported(`model.continuing_subword_prefix ${JSON.stringify(prefix)}`);
  const suffix = part.string("end_of_word_suffix", "");
  const [usesBytes, fuses] = [part.boolean("byte_fallback", false), part.boolean("fuse_unk", false)];
  const unknown = part.optionalString("unk_token");
  return (word) => {
    const ids: number[] = [];
    let hasUnknown = false;
    const endUnknown = () => {
      if (hasUnknown) ids.push(unknownId(word, unknown, vocabulary));
      hasUnknown = false;
    };
    let start = 0;
    for (const character of word) {
      const end = start + character.length;
      const symbol = (start > 0 ? prefix : "") + character + (end === word.length ? suffix : "");
      start = end;
      const id = vocabulary.idOf.get(symbol);
      const bytes = id === undefined && usesBytes ? byteTokens(symbol, vocabulary) : undefined;
      if (id !== undefined) {
        endUnknown();
        ids.push(id);
      } else if (bytes) ids.push(...bytes);
      else if (unknown !== undefined) {
        if (!fuses) endUnknown();
        hasUnknown = true;
      }
    }
    endUnknown();
    return ids;
  };
}

/** Joins neighbours until none can be joined. Symbols are a linked list, joins wait in a queue by rank and place. */
function merged(ids: number[], { rankOf, joined }: Merges): number[] {
  const next = ids.map((_, i) => (i + 1 < ids.length ? i + 1 : -1));
  const previous = ids.map((_, i) => i - 1);
  const removed = new Uint8Array(ids.length);
  const queue = new Queue();
  const rankAt = (left: number) => {
    const right = next[left] as number;
    return right < 0 ? undefined : rankOf.get((ids[left] as number) * SHIFT + (ids[right] as number));
  };
  const enqueue = (left: number) => {
    const rank = rankAt(left);
    if (rank !== undefined) queue.push(rank * SHIFT + left);
  };
  ids.forEach((_, i) => {
    enqueue(i);
  });
  for (let entry = queue.pop(); entry !== undefined; entry = queue.pop()) {
    const left = entry % SHIFT;
    const token = joined[(entry - left) / SHIFT] as number;
    const rank = removed[left] ? undefined : rankAt(left);
    if (rank === undefined || joined[rank] !== token) continue; // a neighbour has changed since
    const right = next[left] as number;
    ids[left] = token;
    removed[right] = 1;
    const after = next[right] as number;
    next[left] = after;
    if (after >= 0) previous[after] = left;
    if ((previous[left] as number) >= 0) enqueue(previous[left] as number);
    enqueue(left);
  }
  return ids.filter((_, i) => !removed[i]);
}

/** A binary heap: the smallest number comes out first. */
class Queue {
  private readonly heap: number[] = [];

  push(value: number): void {
    const { heap } = this;
    let at = heap.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((heap[parent] as number) <= value) break;
      heap[at] = heap[parent] as number;
      at = parent;
    }
    heap[at] = value;
  }

  pop(): number | undefined {
    const { heap } = this;
    const smallest = heap[0];
    const value = heap.pop();
    if (value === undefined || heap.length === 0) return smallest;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && (heap[child + 1] as number) < (heap[child] as number)) child++;
      if ((heap[child] as number) >= value) break;
      heap[at] = heap[child] as number;
      at = child;
    }
    heap[at] = value;
    return smallest;
  }
}
