/**
 * What goes between the page and the worker that holds the engine. The page asks calls by name and number; the worker answers
 * each with progress, then with a result or an error. Nothing here knows what the calls do.
 */

/** How far a call is. `part` is what is known already, such as the rows of a grid that are done. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly what?: string;
  readonly part?: unknown;
}

/** From the page. */
export type Request =
  | { readonly id: number; readonly call: string; readonly args: unknown }
  | { readonly id: number; readonly isAbort: true };

/** An error as it crosses: errors of the engine keep their code. */
export interface Failure {
  readonly name: string;
  readonly message: string;
  readonly code: string | undefined;
}

/** From the worker. */
export type Reply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly progress: Progress }
  | { readonly id: number; readonly failure: Failure };

/** What a call is given beside its arguments. */
export interface Running {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}
