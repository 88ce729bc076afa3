/**
 * Checks the form of a task definition: which keys, of which types. `compileTasks` checks that its words and numbers fit
 * together.
 */
import * as s from "../schema/schema.ts";
import type { TaskDefinition } from "./definition.ts";
import { TheoryError } from "./errors.ts";
import { NAMED_MAPS } from "./maps.ts";

const needed = s.required;
const name = needed(s.text);
const texts = s.list("texts", s.text);

const pair = s.byForm("a pair [input, output]", (value) =>
  Array.isArray(value) && value.length === 2 ? texts : undefined,
);

/** Maps that are objects, by the key that tells them apart. */
const MAP_FORMS: Record<string, s.Schema> = {
  plus: s.object("", { plus: needed(s.whole), modulo: s.whole }),
  table: s.object("", { table: needed(s.record("texts", s.text)) }),
  pairs: s.object("", { pairs: needed(s.list("pairs", pair)) }),
};

const map = s.byForm(
  `one of ${Object.keys(NAMED_MAPS).join(", ")}, or an object with plus, table or pairs`,
  (value) => {
    if (typeof value === "string") return s.text;
    const form = Object.keys(MAP_FORMS).find((key) => typeof value === "object" && value !== null && key in value);
    return form === undefined ? undefined : MAP_FORMS[form];
  },
);

const source = s.byForm<unknown>('"sum" or an object with slot', (value) =>
  value === "sum" ? s.text : s.object("", { slot: name }),
);

const DEFINITION = s.object<TaskDefinition>("", {
  name,
  description: s.text,
  vocabulary: needed(texts),
  slots: needed(s.list("slots", s.object("", { name, tokens: texts }))),
  template: s.text,
  sum: s.object("", { operands: needed(texts), values: s.record("whole numbers", s.whole) }),
  tasks: needed(s.list("tasks", s.object("", { name, source: needed(source), map: needed(map) }))),
});

/**
 * `value` as a definition. `label` names it in errors.
 * Throws `theory/definition` with the path of the first thing that is wrong.
 */
export function asDefinition(value: unknown, label: string): TaskDefinition {
  s.readArgument(s.text, label, "asDefinition", "label");
  DEFINITION.read(value, new s.Place(label, "definition", (message) => new TheoryError("theory/definition", message)));
  return { description: "", ...(value as Omit<TaskDefinition, "description">) };
}
