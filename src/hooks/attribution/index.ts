export { type AttributionPatchOptions, attributionPatch } from "./attribution-patch.ts";
export {
  type AttributionComparison,
  type ComparedCell,
  type ComparedPatchOptions,
  type CompareOptions,
  compareWithExact,
} from "./compare.ts";
export {
  type IntegratedGradients,
  type IntegratedGradientsOptions,
  integratedGradients,
} from "./integrated-gradients.ts";
export { gradientTimesActivation, saliency, type TokenScoreOptions, type TokenScores } from "./token-scores.ts";
