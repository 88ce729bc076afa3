/**
 * Reads a Hugging Face `config.json` as transformers does. Each family has its own names for its settings, a missing
 * setting has the family's default, and keys that the family does not read change nothing. The reader looks a setting up,
 * checks its type, and names it in errors.
 *
 * A `null` is not a missing key. Some settings give it a meaning: "off", "as many as", "none" (`nullableNumber`,
 * `nullableInteger`, `list`, `child`). Elsewhere it is refused, as in transformers.
 */
import { isObject } from "../checkpoint/json.ts";
import { ConfigError } from "../errors.ts";
import { describe, isWhole } from "../schema/schema.ts";
import type { Activation } from "./spec.ts";

/** Sizes of a model, and the names under which a family's config holds each, as transformers reads them. */
export type SizeNames = Record<
  "nLayers" | "dModel" | "nHeads" | "nKvHeads" | "dHead" | "dMlp" | "vocabSize" | "maxPositions",
  readonly string[]
>;

/** The names of most families. A family with others spreads this and says which. */
export const SIZE_NAMES: SizeNames = {
  nLayers: ["num_hidden_layers"],
  dModel: ["hidden_size"],
  nHeads: ["num_attention_heads"],
  nKvHeads: ["num_key_value_heads"],
  dHead: ["head_dim"],
  dMlp: ["intermediate_size"],
  vocabSize: ["vocab_size"],
  maxPositions: ["max_position_embeddings"],
};

/** Hugging Face's activation names (transformers `activations.py`) and the formula each stands for. */
const ACTIVATIONS: ReadonlyMap<string, Activation> = new Map([
  ["relu", "relu"],
  ["silu", "silu"],
  ["swish", "silu"],
  ["gelu", "gelu"],
  ["gelu_python", "gelu"],
  ["gelu_new", "gelu_tanh"],
  ["gelu_fast", "gelu_tanh"],
  ["gelu_accurate", "gelu_tanh"],
  ["gelu_pytorch_tanh", "gelu_tanh"],
  ["gelu_python_tanh", "gelu_tanh"],
  ["quick_gelu", "gelu_quick"],
  ["linear", "identity"],
  ...(["relu2", "gelu_10", "laplace", "leaky_relu", "mish", "relu6", "sigmoid", "tanh"] as const).map(
    (name) => [name, name] as const,
  ),
]);

/** One key, or all the names of one setting. */
type Keys = string | readonly string[];

/** Typed access to a JSON object. Every method throws `ConfigError`, naming the file, the key and the value. */
export class ConfigReader {
  private constructor(
    private readonly raw: Record<string, unknown>,
    /** The file, for messages. */
    readonly label: string,
    private readonly path: string,
  ) {}

  /** Throws `ConfigError` `config/not-an-object` when `config` is not a JSON object. */
  static from(config: unknown, label: string): ConfigReader {
    if (isObject(config)) return new ConfigReader(config, label, "");
    throw new ConfigError("config/not-an-object", `${label}: expected a JSON object, but found ${describe(config)}.`);
  }

  /** A positive whole number. Without `fallback` the setting is required. */
  integer(keys: Keys, fallback?: number): number {
    return this.read(keys, "a positive whole number", (value) => isWhole(value, 1), fallback);
  }

  /** A finite number. Without `fallback` the setting is required. */
  number(keys: Keys, fallback?: number): number {
    return this.read(keys, "a number", Number.isFinite, fallback);
  }

  boolean(keys: Keys, fallback: boolean): boolean {
    return this.read(keys, "true or false", (value) => typeof value === "boolean", fallback);
  }

  /** Like `boolean`; null is false, as for Python. */
  nullableBoolean(key: string, fallback: boolean): boolean {
    return this.raw[key] === null ? false : this.boolean(key, fallback);
  }

  text(keys: Keys, fallback?: string): string {
    return this.read(keys, "a string", (value) => typeof value === "string", fallback);
  }

  /** A string; undefined when it is missing or null. */
  nullableText(key: string): string | undefined {
    return this.has(key) ? this.text(key) : undefined;
  }

  /** A list; null counts as missing. */
  list(key: string, fallback: unknown[]): unknown[] {
    return this.raw[key] === null ? fallback : this.read(key, "a list", Array.isArray, fallback);
  }

  /** A list of numbers. */
  numbers(key: string): number[] {
    return this.read(key, "a list of numbers", (value) => Array.isArray(value) && value.every(Number.isFinite));
  }

  /** A number, or null when the config says null ("off"); `fallback` only when the key is missing. */
  nullableNumber(key: string, fallback: number | null): number | null {
    if (this.raw[key] === undefined) return fallback;
    return this.raw[key] === null ? null : this.number(key);
  }

  /** A positive whole number, or null when the config says null ("off"); `fallback` only when the key is missing. */
  nullableInteger(keys: Keys, fallback: number | null): number | null {
    const names = this.present(keys);
    if (names.length === 0) return fallback;
    return names.every((name) => this.raw[name] === null) ? null : this.integer(keys);
  }

  /** The reader of a nested object, or undefined when it is absent. */
  child(key: string): ConfigReader | undefined {
    const value = this.raw[key];
    if (value === undefined || value === null) return undefined;
    if (isObject(value)) return new ConfigReader(value, this.label, `${this.path}${key}.`);
    this.refuse(key, "must be an object");
  }

  /** An empty nested object, for settings that all have defaults. */
  empty(key: string): ConfigReader {
    return new ConfigReader({}, this.label, `${this.path}${key}.`);
  }

  /** These settings, and those of `other` in place of the same ones. */
  with(other: ConfigReader | undefined): ConfigReader {
    return new ConfigReader({ ...this.raw, ...other?.raw }, this.label, this.path);
  }

  /** These settings, and one in place of what it was. */
  set(key: string, value: unknown): ConfigReader {
    return new ConfigReader({ ...this.raw, [key]: value }, this.label, this.path);
  }

  /** The MLP's activation, from whichever key holds it. */
  activation(keys: Keys, fallback: string): Activation {
    const name = this.text(keys, fallback);
    const activation = ACTIVATIONS.get(name);
    if (activation) return activation;
    const known = [...ACTIVATIONS.keys()].join(", ");
    this.refuse(this.present(keys)[0] ?? String(keys), `is not a supported activation (supported: ${known})`);
  }

  /** Whether a key is there, and not null. */
  has(key: string): boolean {
    return this.raw[key] !== undefined && this.raw[key] !== null;
  }

  /** Names of the keys that are present and not null. */
  keys(): string[] {
    return Object.keys(this.raw).filter((key) => this.has(key));
  }

  /** The value of one key, as it stands in the file. */
  value(key: string): unknown {
    return this.raw[key];
  }

  /**
   * Settings honoured at one value only, such as `{ add_cross_attention: false }`. Absent is fine; anything else is
   * refused by name, for it would change the computation.
   */
  requireFixed(settings: Record<string, unknown>): void {
    for (const [key, expected] of Object.entries(settings)) {
      const isOff = typeof expected === "boolean" ? this.raw[key] === undefined : !this.has(key);
      if (isOff || JSON.stringify(this.raw[key]) === JSON.stringify(expected)) continue;
      this.refuse(key, `is not supported (only ${expected === undefined ? "null" : JSON.stringify(expected)} is)`);
    }
  }

  /** Throws `ConfigError` `config/unsupported`: "FILE: KEY = VALUE MESSAGE." */
  refuse(key: string, message: string): never {
    const value = this.raw[key] === undefined ? "" : ` = ${describe(this.raw[key])}`;
    throw new ConfigError("config/unsupported", `${this.label}: ${this.path}${key}${value} ${message}.`);
  }

  private present(keys: Keys): string[] {
    const names = typeof keys === "string" ? [keys] : keys;
    return names.filter((key) => this.raw[key] !== undefined);
  }

  private read<T>(keys: Keys, expected: string, accepts: (value: unknown) => boolean, fallback?: T): T {
    const [key, ...others] = this.present(keys);
    if (key === undefined) return fallback ?? this.missing(keys, expected);
    const value = this.raw[key];
    if (!accepts(value)) this.refuse(key, `must be ${expected}`);
    const other = others.find((name) => this.raw[name] !== value);
    if (other !== undefined) {
      this.refuse(key, `disagrees with ${other} = ${describe(this.raw[other])}; remove the one that is wrong`);
    }
    return value as T;
  }

  private missing(keys: Keys, expected: string): never {
    const names = typeof keys === "string" ? [keys] : keys;
    const name = names.map((key) => this.path + key).join(" or ");
    throw new ConfigError("config/missing", `${this.label}: ${name} is missing; it must be ${expected}.`);
  }
}
