/** How a program says things to whoever started its host: a line of JSON each. Imports nothing, so both sides can load it. */

/** Whatever its reader expects, or why it ended early. */
export type ProgramLine = { said: unknown } | { failure: string; code?: string };

/** Marks a line of a program among whatever else a host prints. */
export const PROGRAM_MARK = "@superlens-line ";
