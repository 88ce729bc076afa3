/** Names that other libraries give to what is here: people who come from them write these. */

/** TransformerLens's and transformers' names, and ours. Snake case of our own names needs no entry. */
const FOREIGN: Readonly<Record<string, readonly string[]>> = {
  names_filter: ["capture"],
  captures: ["capture"],
  prepend_bos: ["addBos"],
  add_special_tokens: ["addBos"],
  past_key_values: ["kv"],
  past_kv_cache: ["kv"],
  cache: ["kv"],
  pos: ["positions", "position"],
  tokens: ["ids"],
  do_sample: ["temperature"],
  eos_token_id: ["eos"],
  stop_strings: ["stop"],
  patching_metric: ["metric"],
  hook: ["at"],
  hook_point: ["at"],
  point: ["at"],
  rows: ["batch"],
  row: ["batch"],
};

/** Names that a call takes in another place than its options, and where. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  startAtLayer: "It belongs to the input: { residual, startAtLayer }.",
  start_at_layer: "It belongs to the input: { residual, startAtLayer }.",
};

/** Where a name belongs that stands in the wrong place. */
export function placeOf(name: string): string | undefined {
  return Object.hasOwn(ELSEWHERE, name) ? ELSEWHERE[name] : undefined;
}

/** Our name for a name of another library, if `known` has it. */
export function foreignNames(name: string, known: readonly string[]): string[] | undefined {
  const camel = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const foreign = Object.hasOwn(FOREIGN, name) ? FOREIGN[name] : undefined;
  const found = [camel, ...(foreign ?? [])].filter((candidate) => known.includes(candidate));
  return found.length > 0 ? found : undefined;
}
