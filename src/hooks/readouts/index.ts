/** What a run says about itself: the residual stream taken apart, read as logits, and attention in numbers. */
export { type AttentionSummary, type AttentionSummaryOptions, attentionSummary } from "./attention.ts";
export { type AttributionOptions, directLogitAttribution, type LogitAttribution } from "./attribution.ts";
export {
  duplicateTokenScores,
  type HeadKind,
  type HeadScoreOptions,
  type HeadScores,
  headScores,
  inductionScores,
  previousTokenScores,
  type RandomTokensOptions,
  type RepeatedTokensOptions,
  repeatedRandomTokens,
} from "./head-scores.ts";
export { type LensToken, LogitLens, type LogitLensOptions, logitLens } from "./logit-lens.ts";
export { type LossPerTokenOptions, lossPerToken } from "./loss-per-token.ts";
export {
  type AccumulatedOptions,
  accumulatedResid,
  type DecomposeOptions,
  decomposeResid,
  type HeadResultsOptions,
  headResults,
  type ResidualOptions,
} from "./residual.ts";
export type { ReadoutSource } from "./source.ts";
export { ResidualStack } from "./stack.ts";
export { type PromptTest, type TestedToken, type TestPromptOptions, type TopToken, testPrompt } from "./test-prompt.ts";
