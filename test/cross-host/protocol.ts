/** How a host tells its runner what happened: one line of JSON a check. Imports nothing, so both sides can load it. */
export interface CheckResult {
  name: string;
  ok: boolean;
  milliseconds: number;
  /** What the check returned, or the error's stack. */
  note: string;
}

/** Marks a result among whatever else a host prints. */
export const RESULT_MARK = "@superlens-check ";

/** The argument of a host that runs the cases of the night, too. */
export const NIGHT = "night";

/** Begins an argument of a host that runs those checks alone whose name has the rest of it, a regular expression. */
export const ONLY = "only=";
