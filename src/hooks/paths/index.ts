export type { DirectionTokens, TokenScore } from "./direction-tokens.ts";
export { type HeadSvd, type HeadSvdOptions, headSvd } from "./head-svd.ts";
export { type Jacobian, type JacobianOptions, jacobian } from "./jacobian.ts";
export { type PathPatchOptions, pathPatch } from "./path-patch.ts";
export type { Receiver } from "./receivers.ts";
