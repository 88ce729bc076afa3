/**
 * Is this JSON a task definition? Only the form: which keys, of which types. Whether its words and numbers fit together
 * is for `compileTasks` to say.
 */
import * as s from "../schema/schema.ts";
import { TheoryError } from "./errors.ts";
import { NAMED_MAPS } from "./maps.ts";
import type { TaskDefinition } from "./tasks.ts";

type Check = (value: unknown, path: string) => void;

function fail(path: string, value: unknown, expected: string): never {
  const found = value === undefined ? "is missing" : `is ${s.describe(value)}`;
  throw new TheoryError("theory/definition", `${path} ${found}; it must be ${expected}`);
}

const test =
  (accepts: (value: unknown) => boolean, expected: string): Check =>
  (value, path) => {
    if (!accepts(value)) fail(path, value, expected);
  };

const text = test((value) => typeof value === "string", "a string");
const integer = test(Number.isSafeInteger, "a whole number");

const list =
  (check: Check): Check =>
  (value, path) => {
    if (!Array.isArray(value)) fail(path, value, "a list");
    value.forEach((entry, i) => {
      check(entry, `${path}[${i}]`);
    });
  };

const dictionary =
  (check: Check): Check =>
  (value, path) => {
    if (!isObject(value)) fail(path, value, "an object");
    for (const [key, entry] of Object.entries(value)) check(entry, `${path}["${key}"]`);
  };

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Every key of `required`, any of `optional`, and no other. */
function object(required: Record<string, Check>, optional: Record<string, Check> = {}): Check {
  const known = { ...required, ...optional };
  return (value, path) => {
    if (!isObject(value)) fail(path, value, "an object");
    const stray = Object.keys(value).find((key) => !Object.hasOwn(known, key));
    if (stray !== undefined) {
      throw new TheoryError(
        "theory/definition",
        `${path}.${stray} is no key; keys are ${Object.keys(known).join(", ")}`,
      );
    }
    for (const [key, check] of Object.entries(known)) {
      if (Object.hasOwn(required, key) || value[key] !== undefined) check(value[key], `${path}.${key}`);
    }
  };
}

const pair: Check = (value, path) => {
  if (!Array.isArray(value) || value.length !== 2) fail(path, value, "a pair [input, output]");
  list(text)(value, path);
};

/** Maps that are objects, by the key that tells them apart. */
const MAP_FORMS: Record<string, Check> = {
  plus: object({ plus: integer }, { modulo: integer }),
  table: object({ table: dictionary(text) }),
  pairs: object({ pairs: list(pair) }),
};

const map: Check = (value, path) => {
  if (typeof value === "string") return;
  const form = isObject(value) ? Object.keys(MAP_FORMS).find((key) => key in value) : undefined;
  if (form === undefined) {
    fail(path, value, `one of ${Object.keys(NAMED_MAPS).join(", ")}, or an object with plus, table or pairs`);
  }
  (MAP_FORMS[form] as Check)(value, path);
};

const source: Check = (value, path) => {
  if (value !== "sum") object({ slot: text })(value, path);
};

const definition = object(
  {
    name: text,
    vocabulary: list(text),
    slots: list(object({ name: text }, { tokens: list(text) })),
    tasks: list(object({ name: text, source, map })),
  },
  { description: text, template: text, sum: object({ operands: list(text) }, { values: dictionary(integer) }) },
);

/**
 * `value` as a definition. `label` names it in errors.
 * Throws `theory/definition` with the path of the first thing that is wrong.
 */
export function asDefinition(value: unknown, label: string): TaskDefinition {
  s.readArgument(s.text, label, "asDefinition", "label");
  definition(value, label);
  return { description: "", ...(value as Omit<TaskDefinition, "description">) };
}
