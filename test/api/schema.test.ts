/** What calls are given is read as people mean it, or refused with the place and the way out. */
import { expect, it } from "vitest";
import { InputError } from "../../src/errors.ts";
import { EDITS } from "../../src/hooks/edit.ts";
import { HOOKED_FORWARD_OPTIONS, HOOKS } from "../../src/hooks/plan.ts";
import { SWEEP_OPTIONS } from "../../src/hooks/sweep-options.ts";
import { MODEL_INPUT } from "../../src/model/input.ts";
import { readArgument, readOptions, type Schema } from "../../src/schema/schema.ts";

const options = (schema: Schema, value: unknown) => readOptions(schema, value, "call");
const argument = (schema: Schema, value: unknown) => readArgument(schema, value, "call", "input");

const AT = "blocks.0.hook_resid_pre";
const hook = () => undefined;

it.each<[string, unknown, unknown]>([
  ["one edit", { edits: { at: AT, op: "zero" } }, { edits: [{ at: AT, op: "zero" }] }],
  ["one head", { edits: [{ at: AT, op: "zero", heads: 5 }] }, { edits: [{ at: AT, op: "zero", heads: [5] }] }],
  ["one position", { positions: -1, capture: "*" }, { positions: [-1], capture: ["*"] }],
  ["numeric arrays", { positions: new Int32Array([1, 2]) }, { positions: [1, 2] }],
  ["absent options", { positions: undefined }, {}],
])("reads %s", (_, given, read) => {
  expect(options(HOOKED_FORWARD_OPTIONS, given)).toEqual(read);
});

it.each<[string, Schema, unknown, string]>([
  ["a misspelt selector", EDITS, { at: AT, op: "zero", head: [5] }, 'no "head" in edits. The nearest is "heads"'],
  [
    "TransformerLens's word",
    EDITS,
    [{ at: AT, op: "zero", pos: 1 }],
    'no "pos" in edits[0]. The nearest is "positions"',
  ],
  ["no point", EDITS, [{ op: "zero" }], "edits[0].at is missing; it must be text"],
  ["NaN in a value", EDITS, { at: AT, op: "add", value: [1, Number.NaN] }, "edits.value[1] is NaN"],
  ["a hole in a value", EDITS, { at: AT, op: "add", value: [1, undefined] }, "edits.value[1] is missing"],
  // biome-ignore lint/suspicious/noSparseArray: a hole is what this is about.
  ["a hole in a selection", EDITS, { at: AT, op: "zero", heads: [1, , 2] }, "edits.heads[1] is missing"],
  ["half a head", EDITS, { at: AT, op: "zero", heads: 0.5 }, "edits.heads is 0.5; it must be a whole number"],
])("refuses %s", (_, schema, given, message) => {
  expect(() => readArgument(schema, given, "call", "edits")).toThrow(message);
  expect(() => readArgument(schema, given, "call", "edits")).toThrow(InputError);
});

it.each<[unknown, string]>([
  [{ names_filter: "*" }, '"capture"'],
  [{ captures: "*" }, '"capture"'],
  [{ stop_at_layer: 1 }, '"stopAtLayer"'],
  [{ prepend_bos: false }, '"addBos"'],
  [{ cache: undefined }, '"kv"'],
  [{ past_key_values: undefined }, '"kv"'],
  [{ captrue: "*" }, '"capture"'],
])("names the nearest option of %j", (given, nearest) => {
  expect(() => options(HOOKED_FORWARD_OPTIONS, given)).toThrow(`The nearest is ${nearest}`);
});

it("says what a metric is when it is given a function", () => {
  expect(() => options(SWEEP_OPTIONS, { input: [1], cells: [], metric: () => 1 })).toThrow(
    "metric is a function; it must be a metric such as metric.logitDiff(a, b)",
  );
});

it.each<[string, unknown, unknown]>([
  ["an object", { [AT]: hook }, [[AT, hook]]],
  ["one pair", [AT, hook], [[AT, hook]]],
  ["pairs", [[/resid/, hook]], [[/resid/, hook]]],
])("reads hooks as %s", (_, given, read) => {
  expect(argument(HOOKS, given)).toEqual(read);
});

it.each<[string, unknown, string]>([
  ["a function", hook, "input is a function"],
  ["a pair without a function", [[AT, 1]], "input[0][1] is 1; it must be a function"],
  ["a point alone", [AT], "it must be a pair [point, function]"],
])("refuses hooks as %s", (_, given, message) => {
  expect(() => argument(HOOKS, given)).toThrow(message);
});

it.each<[string, unknown]>([
  ["a Map", new Map([["logits", "last"]])],
  ["a Set", new Set(["logits"])],
  ["a date", new Date(0)],
  ["an instance without fields", new (class Options {})()],
])("refuses %s for options, in which none would be found", (_, given) => {
  expect(() => options(HOOKED_FORWARD_OPTIONS, given)).toThrow(InputError);
});

it.each(["constructor", "toString", "__proto__", "hasOwnProperty"])("refuses the key %s", (key) => {
  const given = JSON.parse(`{ "${key}": 1 }`);
  expect(() => options(HOOKED_FORWARD_OPTIONS, given)).toThrow(`no option "${key}"`);
});

it.each<[string, unknown, unknown]>([
  ["text", "a", "a"],
  ["ids", new Uint32Array([1, 2]), [1, 2]],
  ["a batch", [[1], new Int32Array([2])], [[1], [2]]],
  ["embeddings as lists", { inputsEmbeds: [[0.5, 1]] }, { inputsEmbeds: [new Float32Array([0.5, 1])] }],
  // The engine, which knows the vocabulary, refuses it.
  ["an id that is none", [1, undefined], [1, undefined]],
])("reads %s as input", (_, given, read) => {
  expect(argument(MODEL_INPUT, given)).toEqual(read);
});

it.each<[string, unknown]>([
  ["nothing", undefined],
  ["a number", 3],
  ["a batch with a hole", [[1], undefined]],
  ["batches of batches", [[[1]]]],
  ["words among ids", [[1, "a"]]],
])("refuses %s as input", (_, given) => {
  expect(() => argument(MODEL_INPUT, given)).toThrow(InputError);
});
