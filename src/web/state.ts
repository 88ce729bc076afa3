/**
 * What the page shows, as it stands in the address: a link reproduces it, and back and forward go through it. Parts that are at their
 * defaults are left out.
 */
import type { Edit } from "../hooks/index.ts";

export const VIEWS = {
  model: "Model",
  prompt: "Prompt",
  lens: "Logit lens",
  attention: "Attention",
  patch: "Patch",
  attribution: "Attribution",
  superposition: "Superposition",
  train: "Train",
  bench: "Bench",
} as const;

export type ViewName = keyof typeof VIEWS;

/** An edit of the running model, and whether it is switched on. */
export interface ListedEdit {
  readonly edit: Edit;
  readonly isOn: boolean;
}

export interface PageState {
  readonly view: ViewName;
  /** `hf:owner/name`, an address, or a name beside the page; empty for files that were picked. */
  readonly model: string;
  readonly text: string;
  /** The prompt that a patch compares `text` with. */
  readonly corrupted: string;
  readonly edits: readonly ListedEdit[];
  /** What a view remembers, such as a layer; by `view.name`. */
  readonly settings: Readonly<Record<string, string>>;
}

export const EMPTY: PageState = { view: "model", model: "", text: "", corrupted: "", edits: [], settings: {} };

/** The edits that are on, in their order. */
export const activeEdits = ({ edits }: PageState): Edit[] => edits.filter(({ isOn }) => isOn).map(({ edit }) => edit);

/** The state as the part of an address after `#`. */
export function toHash(state: PageState): string {
  const parts = new URLSearchParams({ view: state.view });
  for (const name of ["model", "text", "corrupted"] as const) if (state[name] !== "") parts.set(name, state[name]);
  if (state.edits.length > 0)
    parts.set("edits", JSON.stringify(state.edits.map(({ edit, isOn }) => (isOn ? edit : { off: edit }))));
  for (const [name, value] of Object.entries(state.settings)) parts.set(name, value);
  return `#${parts.toString()}`;
}

/** @throws Error that says which part of the address cannot be read. */
export function fromHash(hash: string): PageState {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const settings: Record<string, string> = {};
  const state = { ...EMPTY, settings };
  for (const [name, value] of parts) {
    if (name === "view") state.view = viewOf(value);
    else if (name === "model" || name === "text" || name === "corrupted") state[name] = value;
    else if (name === "edits") state.edits = editsOf(value);
    else settings[name] = value;
  }
  return state;
}

function viewOf(value: string): ViewName {
  if (Object.hasOwn(VIEWS, value)) return value as ViewName;
  throw new Error(`The address asks for the view "${value}"; there are ${Object.keys(VIEWS).join(", ")}.`);
}

function editsOf(text: string): ListedEdit[] {
  try {
    const listed = JSON.parse(text) as (Edit | { off: Edit })[];
    return listed.map((each) => ("off" in each ? { edit: each.off, isOn: false } : { edit: each, isOn: true })); // throws for what is no object
  } catch {
    throw new Error("The address has edits that are no JSON list. Remove &edits=… from it.");
  }
}
