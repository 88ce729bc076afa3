export { type ActiveFeatures, type TopFeaturesOptions, topFeatures } from "./active.ts";
export {
  type AttributedFeature,
  type FeatureAttribution,
  type FeatureAttributionOptions,
  featureAttribution,
} from "./attribution.ts";
export { Dictionary, type DictionaryModule } from "./dictionary.ts";
export { type DictionaryOptions, inspectDictionary, loadDictionary } from "./load.ts";
export {
  type ActivePlace,
  MaxActivating,
  type MaxActivatingOptions,
  maxActivating,
} from "./max-activating.ts";
export { saveDictionary } from "./save.ts";
export type { KnownDictionary, SpliceOptions } from "./splice.ts";
