/**
 * Post-processors put special tokens around a text: BOS in front, EOS behind. What they add is read from the file.
 * Meaning of each: https://github.com/huggingface/tokenizers/tree/main/tokenizers/src/processors
 */
import { isId, isObject, type JsonObject, type Makers, make, type Part, unsupported } from "./parts.ts";

/** Ids that stand before and after those of a text. */
export interface Frame {
  before: readonly number[];
  after: readonly number[];
}

const NO_FRAME: Frame = { before: [], after: [] };

const POST_PROCESSORS: Makers<Frame> = {
  Sequence: sequence,
  BertProcessing: around,
  ByteLevel: () => NO_FRAME,
  RobertaProcessing: around,
  TemplateProcessing: template,
};

/** Reads a post-processor of `tokenizer.json`. */
export function frameOf(config: unknown): Frame {
  return make("post_processor", POST_PROCESSORS, config);
}

/** In use is one post-processor that adds tokens, beside one that concerns offsets alone. */
function sequence(part: Part): Frame {
  const adding = part
    .list("processors")
    .map(frameOf)
    .filter((frame) => frame !== NO_FRAME);
  if (adding.length > 1) throw unsupported("post_processor Sequence with more than one part that adds tokens");
  return adding[0] ?? NO_FRAME;
}

/** `cls` in front, `sep` behind; each is a token with its id. */
function around(part: Part): Frame {
  const [cls, sep] = ["cls", "sep"].map((name) => {
    const value = part.config[name];
    if (!Array.isArray(value) || !isId(value[1])) throw part.wrong(name, "a token and its id");
    return value[1];
  }) as [number, number];
  return { before: [cls], after: [sep] };
}

/** A list of special tokens with the text, `Sequence` A, among them. */
function template(part: Part): Frame {
  const special = part.object("special_tokens");
  const pieces = part.list("single").map((piece) => idsOfPiece(part, special, piece));
  const text = pieces.indexOf("text");
  if (text < 0 || text !== pieces.lastIndexOf("text")) {
    throw unsupported("post_processor TemplateProcessing whose single has not just one Sequence A");
  }
  const ids = pieces.map((piece) => (piece === "text" ? [] : piece));
  return { before: ids.slice(0, text).flat(), after: ids.slice(text).flat() };
}

function idsOfPiece(part: Part, special: JsonObject, piece: unknown): readonly number[] | "text" {
  const { Sequence: sequence, SpecialToken: token } = isObject(piece) ? piece : {};
  if (isObject(sequence) && sequence.id === "A") return "text";
  const entry = isObject(token) && typeof token.id === "string" ? special[token.id] : undefined;
  if (!isObject(entry) || !Array.isArray(entry.ids) || !entry.ids.every(isId)) {
    throw part.wrong("single", `of Sequence A and known special tokens (one is ${JSON.stringify(piece)})`);
  }
  return entry.ids;
}
