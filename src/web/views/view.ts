/** What every view is given. */
import type { Engine, ResultOf } from "../client.ts";
import type { PageState } from "../state.ts";

export interface ViewProps {
  readonly engine: Engine;
  readonly state: PageState;
  /** Changes the state, and with it the address. */
  readonly change: (part: Partial<PageState>) => void;
  /** A setting of the view, kept in the address. */
  readonly setting: (name: string, value: string) => void;
  /** The model that is loaded. */
  readonly model: ResultOf<"load">;
}

/** A setting as a number from 0 to `last`. */
export function numberSetting({ state }: Pick<ViewProps, "state">, name: string, last: number, otherwise = 0): number {
  const value = Number(state.settings[name] ?? otherwise);
  return Number.isInteger(value) && value >= 0 && value <= last ? value : Math.min(otherwise, last);
}
