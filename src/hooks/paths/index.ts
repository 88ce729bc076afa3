export { allCompositionScores, type CompositionOptions, CompositionScores } from "./composition.ts";
export type { DirectionTokens, TokenScore } from "./direction-tokens.ts";
export { type CircuitKind, FactoredMatrix, type HeadCircuitOptions, headCircuit } from "./factored.ts";
export { type HeadSvd, type HeadSvdOptions, headSvd } from "./head-svd.ts";
export { type Jacobian, type JacobianOptions, jacobian } from "./jacobian.ts";
export type { Columns } from "./low-rank-svd.ts";
export { type PathPatchOptions, pathPatch } from "./path-patch.ts";
export type { Receiver } from "./receivers.ts";
