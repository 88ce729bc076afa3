/**
 * What a public call takes, as data: a schema for each options object, made of the small ones below.
 *
 * TypeScript checks nothing in a script, a notebook or an object that came out of a variable, and an option that nobody
 * reads changes nothing: `head: [5]` in an edit would edit every head. So each public call reads its arguments through a
 * schema first. The run-time check, the command line's check of `--edit` and docs/options.md all follow from it.
 *
 * Reading also brings values into the one form that the code below uses: where a list is meant, a single number is a list
 * of one.
 */
import { InputError } from "../errors.ts";
import { foreignNames, placeOf } from "./foreign.ts";
import { nearestNames } from "./nearest.ts";

/** What one value may be. */
export interface Schema<T = unknown> {
  /** In words that follow "it must be". */
  readonly takes: string;
  /** The value in the form that the code uses. Refuses what it does not take. */
  readonly read: (value: unknown, at: Place) => T;
  /** A missing value is refused. Only a field of an object can be optional. */
  readonly isRequired?: boolean;
  /** The fields of an object. */
  readonly fields?: Readonly<Record<string, Schema>>;
}

/** The schemas of all fields of `T`; the compiler notices a field without one. */
export type Fields<T> = { readonly [Name in keyof T]-?: Schema };

/** How a refusal becomes an error: with the code for a key that does not exist, or for a value that is not taken. */
type Refusal = (message: string, what: "key" | "value") => Error;

const inputRefusal: Refusal = (message, what) =>
  new InputError(what === "key" ? "input/unknown-key" : "input/argument", message);

/** Where a value was given: a call or file, and a path below it. It exists for error messages alone. */
export class Place {
  constructor(
    /** The call or the file. */
    private readonly subject: string,
    private readonly key: string,
    private readonly refusal: Refusal = inputRefusal,
    private readonly parent?: Place,
  ) {}

  field(name: string): Place {
    return this.#below(this.path === "" ? name : `.${name}`);
  }

  /** An entry of a list by its index, or of a record by its key. */
  entry(index: number | string): Place {
    return this.#below(`[${JSON.stringify(index)}]`);
  }

  #below(key: string): Place {
    return new Place(this.subject, key, this.refusal, this);
  }

  /** `edits[0].heads` */
  get path(): string {
    return (this.parent?.path ?? "") + this.key;
  }

  /** Throws for a value that is not taken. */
  refuse(value: unknown, takes: string): never {
    const found = value === undefined ? "is missing" : `is ${describe(value)}`;
    throw this.refusal(`${this.subject}: ${this.path || "options"} ${found}; it must be ${takes}.`, "value");
  }

  /** Throws for a key that does not exist. */
  refuseKey(key: string, known: readonly string[]): never {
    const holder = this.path === "" ? `no option "${key}"` : `no "${key}" in ${this.path}`;
    const [nearest] = foreignNames(key, known) ?? nearestNames(key, known);
    const list = nearest === undefined ? "It takes none." : `The nearest is "${nearest}"; all are ${known.join(", ")}.`;
    const remedy = placeOf(key) ?? list;
    throw this.refusal(`${this.subject}: there is ${holder}. ${remedy}`, "key");
  }
}

/** A value as a short piece of text, for messages. */
export function describe(value: unknown): string {
  if (typeof value === "function") return "a function";
  if (typeof value === "bigint" || typeof value === "symbol") return String(value);
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
  const name = typeof value === "object" && value !== null ? value.constructor?.name : undefined;
  if (typeof name === "string" && name !== "Object" && name !== "Array") return `of the class ${name}`;
  let json: string | undefined;
  try {
    json = JSON.stringify(value);
  } catch {
    return "an object";
  }
  if (json === undefined) return "an object";
  return json.length > 60 ? `${json.slice(0, 57)}...` : json;
}

/** Reads one argument of a call. @throws InputError `input/argument`, `input/unknown-key` */
export function readArgument<T>(schema: Schema<T>, value: unknown, call: string, name: string): T {
  return schema.read(value, new Place(call, name));
}

/** Reads the options of a call; absent ones are empty. @throws InputError `input/argument`, `input/unknown-key` */
export function readOptions<T>(schema: Schema<T>, value: unknown, call: string): T {
  return readArgument(schema, value ?? {}, call, "");
}

/**
 * Refuses a setting that changes nothing beside the others, since whoever gives it expects an effect.
 * @throws InputError `input/idle-option`
 */
export function refuseIdle(call: string, name: string, beside: string): never {
  throw new InputError("input/idle-option", `${call}: ${name} does nothing ${beside}. Leave ${name} out.`);
}

/** A schema of one test. */
export function simple<T>(takes: string, accepts: (value: unknown) => boolean): Schema<T> {
  return {
    takes,
    read: (value, at) => (accepts(value) ? (value as T) : at.refuse(value, takes)),
  };
}

const isInteger = (value: unknown): value is number => Number.isSafeInteger(value);
/** Whether a value is a whole number from `least` to `most`. */
export const isWhole = (value: unknown, least: number, most = Number.POSITIVE_INFINITY): value is number =>
  isInteger(value) && value >= least && value <= most;

export const text = simple<string>("text", (value) => typeof value === "string");
export const flag = simple<boolean>("true or false", (value) => typeof value === "boolean");
/** A number, but not NaN. */
export const number = simple<number>("a number", (value) => typeof value === "number" && !Number.isNaN(value));
export const finite = simple<number>("a finite number", (value) => Number.isFinite(value));
export const positive = simple<number>("a positive number", (value) => Number.isFinite(value) && (value as number) > 0);
export const notNegative = simple<number>(
  "a number of at least 0",
  (value) => Number.isFinite(value) && (value as number) >= 0,
);
export const part = simple<number>(
  "a number from 0 to 1",
  (value) => typeof value === "number" && value >= 0 && value <= 1,
);
export const whole = simple<number>("a whole number", isInteger);
/** A whole number from `least` on. */
export const wholeFrom = (least: number) =>
  simple<number>(`a whole number of at least ${least}`, (value) => isInteger(value) && value >= least);
export const callback = simple<(...args: never[]) => unknown>("a function", (value) => typeof value === "function");
export const signal = simple<AbortSignal>(
  "an AbortSignal",
  (value) => typeof value === "object" && value !== null && "aborted" in value && "addEventListener" in value,
);
/** A number whose range the call itself looks at, with an error of its own. */
export const ranged = (takes: string) => simple<number>(takes, (value) => typeof value === "number");

export function oneOf<T extends string | number>(...choices: readonly T[]): Schema<T> {
  const list = choices.map((choice) => JSON.stringify(choice)).join(", ");
  return simple(choices.length === 1 ? list : `one of ${list}`, (value) =>
    (choices as readonly unknown[]).includes(value),
  );
}

export function instance<T>(what: string, type: { prototype: T }): Schema<T> {
  return simple(what, (value) => value instanceof (type as { prototype: T } & (abstract new () => T)));
}

/** A plain object that another call made, told by some of its fields. */
export const madeObject = <T>(what: string, ...fields: readonly (keyof T & string)[]): Schema<T> =>
  simple(what, (value) => typeof value === "object" && value !== null && fields.every((name) => name in value));

/** The schema that a value is read by depends on its form; `pick` gives none for a form that is not accepted. */
export function byForm<T>(takes: string, pick: (value: unknown) => Schema<T> | undefined): Schema<T> {
  return {
    takes,
    read: (value, at) => {
      const schema = pick(value);
      return schema ? schema.read(value, at) : at.refuse(value, takes);
    },
  };
}

export function nullable<T>(schema: Schema<T>): Schema<T | null> {
  return {
    ...schema,
    takes: `${schema.takes}, or null`,
    read: (value, at) => (value === null ? null : schema.read(value, at)),
  };
}

/** A field that must be there. */
export function required<T>(schema: Schema<T>): Schema<T> {
  return { ...schema, isRequired: true };
}

/** Arrays, and arrays of a numeric type but their bytes. */
export function isListLike(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}

/** A list; also an array of a numeric type. `entries` says in words what it holds. */
export function list<T>(entries: string, schema: Schema<T>): Schema<T[]> {
  const takes = `a list of ${entries}`;
  return {
    takes,
    read: (value, at) => {
      if (!isListLike(value)) return at.refuse(value, takes);
      // Array.from sees the holes of a sparse list, which map passes over.
      return Array.from(value, (entry, index) => schema.read(entry, at.entry(index)));
    },
  };
}

/** Two values of one kind. */
export function pair<T>(takes: string, schema: Schema<T>): Schema<[T, T]> {
  return {
    takes,
    read: (value, at) =>
      isListLike(value) && value.length === 2
        ? [schema.read(value[0], at.entry(0)), schema.read(value[1], at.entry(1))]
        : at.refuse(value, takes),
  };
}

/** Numbers of an activation: a flat list. A NaN there is a mistake made before, and would only spread. */
export const numbers: Schema<Float32Array> = {
  takes: "a flat list of numbers, none of them NaN",
  read: (value, at) => {
    if (!isListLike(value)) return at.refuse(value, numbers.takes);
    const bad = Array.from(value).findIndex((entry) => typeof entry !== "number" || Number.isNaN(entry));
    if (bad >= 0) return at.entry(bad).refuse(value[bad], "a number, not NaN");
    return value instanceof Float32Array ? value : Float32Array.from(value as ArrayLike<number>);
  },
};

/** So many numbers, whatever they are. */
export const anyNumbers = (length: number): Schema<Float32Array> => ({
  takes: `a list of ${length} numbers`,
  read: (value, at) => {
    const isRight =
      isListLike(value) && value.length === length && Array.from(value).every((x) => typeof x === "number");
    if (!isRight) return at.refuse(value, `a list of ${length} numbers`);
    return value instanceof Float32Array ? value : Float32Array.from(value as ArrayLike<number>);
  },
});

/** A list of `schema`, or a single one, which becomes a list of one. */
export function oneOrMore<T>(entries: string, schema: Schema<T>): Schema<T[]> {
  const many = list(entries, schema);
  return {
    takes: `${schema.takes}, or ${many.takes}`,
    read: (value, at) => {
      if (isListLike(value)) return many.read(value, at);
      if (value === null || value === undefined) return at.refuse(value, `${schema.takes}, or ${many.takes}`);
      return [schema.read(value, at)];
    },
  };
}

/** Numbers in a row: an array, or one of a numeric type such as `Int32Array`. */
export type NumberList = readonly number[] | NumericArray;

/** An array of a numeric type. */
export type NumericArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array;

/** One whole number, or a list: as callers give `indices`. */
export type Indices = number | NumberList;

/** Options `T` as they are read: where `Indices` may be given, there is a list. */
export type Read<T> = { [Name in keyof T]: IsIndices<NonNullable<T[Name]>> extends true ? readonly number[] : T[Name] };

type IsIndices<T> = [T, Indices] extends [Indices, T] ? true : false;

/** A field of `variants` that may be missing. */
export function optional<T>(schema: Schema<T>): Schema<T> {
  return { ...schema, isRequired: false };
}

/** An object whose `kind` says which other fields it has, all of them needed unless they are `optional`. */
export function variants(kinds: Readonly<Record<string, Readonly<Record<string, Schema>>>>): Schema {
  const kind = required(oneOf(...Object.keys(kinds)));
  const needed = (fields: Readonly<Record<string, Schema>>) =>
    Object.fromEntries(
      Object.entries(fields).map(([name, schema]) => [name, schema.isRequired === false ? schema : required(schema)]),
    );
  return {
    takes: "an object",
    read: (value, at) => {
      if (!isRecord(value)) return at.refuse(value, "an object");
      const name = kind.read(value.kind, at.field("kind"));
      return object("", { kind, ...needed(kinds[name] ?? {}) }).read(value, at);
    },
  };
}

/** An object of any keys whose values are all of one kind. */
export function record<T>(entries: string, schema: Schema<T>): Schema<Record<string, T>> {
  const takes = `an object of ${entries}`;
  return {
    takes,
    read: (value, at) => {
      if (!isRecord(value)) return at.refuse(value, takes);
      return Object.fromEntries(
        Object.entries(value).map(([key, entry]) => [key, schema.read(entry, at.entry(key))] as const),
      );
    },
  };
}

/** Whole numbers, such as positions and heads: one, or a list. Whether they exist is the call's to say. */
export const indices = oneOrMore("whole numbers", whole);

/**
 * Whether a value is an object of named fields: not a list, nor a Map, Set or Date, in which no field would be found and
 * everything would so be ignored. An instance of a class of the caller's is, if it has fields.
 */
export function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || isListLike(value) || Symbol.iterator in value) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null;
  return isPlain || Object.keys(value).length > 0;
}

/**
 * An object with these fields and no other. What is undefined is left out of what is read; `In` is what a caller may
 * give, `Out` what comes of it.
 */
export function object<In, Out = Read<In>>(what: string, fields: Fields<In>): Schema<Out> {
  const known = Object.entries<Schema>(fields);
  const names = known.map(([name]) => name);
  const takes = what === "" ? "an object" : `${what}: an object`;
  return {
    takes,
    fields,
    read: (value, at) => {
      if (!isRecord(value)) return at.refuse(value, takes);
      for (const key of Object.keys(value)) if (!Object.hasOwn(fields, key)) at.refuseKey(key, names);
      const out: Record<string, unknown> = {};
      for (const [name, schema] of known) {
        if (value[name] !== undefined) out[name] = schema.read(value[name], at.field(name));
        else if (schema.isRequired) at.field(name).refuse(undefined, schema.takes);
      }
      return out as Out;
    },
  };
}

type OptionalKeys<T> = { [Name in keyof T]-?: undefined extends T[Name] ? Name : never }[keyof T];

/** An object with every field of `needed`, any of `optional`, and no other. */
export function wholeObject<T>(
  what: string,
  needed: Fields<Omit<T, OptionalKeys<T>>>,
  optional: Fields<Pick<T, OptionalKeys<T>>>,
): Schema<T> {
  const required = Object.entries<Schema>(needed).map(([name, schema]) => [name, { ...schema, isRequired: true }]);
  return object<T, T>(what, { ...Object.fromEntries(required), ...optional } as Fields<T>);
}
