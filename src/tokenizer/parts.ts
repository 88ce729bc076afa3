/**
 * Reading `tokenizer.json`: it names parts (a normalizer, a decoder ...) by `type`, each with settings. A part that is
 * not in our tables is refused by name, and so is a setting of the wrong kind: nothing is guessed.
 */
import { ConfigError } from "../errors.ts";

/** A JSON object whose contents are not yet known. */
export type JsonObject = { [key: string]: unknown };

/** True for a JSON object (neither null nor an array). */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** True for what can be a token id. */
export function isId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** The error for a file that Hugging Face's library would not read either. */
export function broken(reason: string, cause?: unknown): ConfigError {
  return new ConfigError(
    "tokenizer/broken",
    `tokenizer.json cannot be used: ${reason}. Download it again, or give token ids instead of text.`,
    { cause },
  );
}

/** The error for a part or setting that we would not read as its author meant it. */
export function unsupported(what: string): ConfigError {
  return new ConfigError(
    "tokenizer/unsupported",
    `tokenizer.json: ${what} is not supported. Give token ids instead of text.`,
  );
}

/** One part of `tokenizer.json` and its settings. */
export class Part {
  readonly type: string;

  /**
   * @param role where the part stands: "normalizer", "decoder" ...
   * @param config the part as it is in the file
   */
  constructor(
    readonly role: string,
    readonly config: JsonObject,
  ) {
    if (typeof config.type !== "string") throw unsupported(`a ${role} without a type`);
    this.type = config.type;
  }

  boolean(name: string, fallback?: boolean): boolean {
    return this.read(name, "true or false", (value) => typeof value === "boolean", fallback);
  }

  string(name: string, fallback?: string): string {
    return this.read(name, "a text", (value) => typeof value === "string", fallback);
  }

  /** A text of one character. */
  character(name: string): string {
    return this.read(name, "one character", (value) => typeof value === "string" && [...value].length === 1);
  }

  /** A text, or undefined when the setting is absent, null or empty. */
  optionalString(name: string): string | undefined {
    return this.string(name, "") || undefined;
  }

  /** A whole number, at least 0. */
  count(name: string): number {
    return this.read(name, "a whole number", isId);
  }

  list(name: string): unknown[] {
    return this.read(name, "a list", Array.isArray);
  }

  object(name: string): JsonObject {
    return this.read(name, "an object", isObject);
  }

  oneOf<T extends string>(name: string, choices: readonly T[], fallback?: T): T {
    return this.read(name, `one of ${choices.join(", ")}`, (value) => choices.includes(value as T), fallback);
  }

  /** The error for a setting that Hugging Face's library would not take either. */
  wrong(name: string, expected: string): ConfigError {
    const found = JSON.stringify(this.config[name]) ?? "nothing";
    const shown = found.length > 60 ? `${found.slice(0, 60)}...` : found;
    return broken(`${name} of ${this.role} ${this.type} must be ${expected}, and is ${shown}`);
  }

  private read<T>(name: string, expected: string, isRight: (value: unknown) => boolean, fallback?: T): T {
    const value = this.config[name] ?? fallback;
    if (!isRight(value)) throw this.wrong(name, expected);
    return value as T;
  }
}

/** How to make a thing of each type of part. */
export type Makers<T> = Readonly<Record<string, (part: Part) => T>>;

/** Makes a part, by the table of its role. */
export function make<T>(role: string, makers: Makers<T>, config: unknown): T {
  if (!isObject(config)) throw broken(`a ${role} must be an object, and is ${JSON.stringify(config)}`);
  const part = new Part(role, config);
  const maker = Object.hasOwn(makers, part.type) ? makers[part.type] : undefined;
  if (!maker) throw unsupported(`${role} ${part.type}`);
  return maker(part);
}
