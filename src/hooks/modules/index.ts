export { Dictionary, type DictionaryModule } from "./dictionary.ts";
export { type DictionaryOptions, inspectDictionary, loadDictionary } from "./load.ts";
export type { KnownDictionary, SpliceOptions } from "./splice.ts";
