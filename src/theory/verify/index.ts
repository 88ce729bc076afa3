/**
 * The theorem, checked on the running engine: every claim is a number with a bound. It runs on every host of the engine.
 */
import { Gpu } from "../../gpu/gpu.ts";
import * as s from "../../schema/schema.ts";
import { verifyCausality } from "./causality.ts";
import { type Claim, GROUPS, type Group } from "./claim.ts";
import { verifyExactness } from "./exactness.ts";
import { GRID_NAMES, type GridName, gridOf } from "./grids.ts";
import { verifyHeads } from "./heads.ts";
import { verifyResources } from "./resources.ts";
import { verifyRobustness } from "./robustness.ts";
import type { Part } from "./subject.ts";

export { type Claim, GROUPS, type Group, type Relation } from "./claim.ts";
export { GRID_NAMES, type GridName } from "./grids.ts";

const PARTS: Record<Group, Part> = {
  exactness: verifyExactness,
  resources: verifyResources,
  causality: verifyCausality,
  heads: verifyHeads,
  robustness: verifyRobustness,
};

/** Options of `verify`. */
export interface VerifyOptions {
  /** Default `quick`. */
  grid?: GridName;
  /** Parts to run; all when absent. */
  groups?: readonly Group[];
  /** Ends it with `signal.reason`, between two claims. */
  signal?: AbortSignal;
}

export const VERIFY_OPTIONS = s.object<VerifyOptions>("the options of verify", {
  grid: s.oneOf(...GRID_NAMES),
  groups: s.oneOrMore("them", s.oneOf(...GROUPS)),
  signal: s.signal,
});

/**
 * Measures every claim, one after another. A missed bound is a claim with `ok: false`, not an error.
 * Errors are the engine's own (`GpuError`) or the reason of an abort.
 */
export async function* verify(gpu: Gpu, options: VerifyOptions = {}): AsyncGenerator<Claim, void, undefined> {
  s.readArgument(s.instance("a Gpu", Gpu), gpu, "verify", "gpu");
  const { grid = "quick", groups = GROUPS, signal } = s.readOptions(VERIFY_OPTIONS, options, "verify");
  for (const group of groups) yield* PARTS[group]({ gpu, grid: gridOf(grid), signal });
}
