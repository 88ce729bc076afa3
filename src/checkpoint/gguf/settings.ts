/** The metadata of a GGUF file under its architecture's name, such as `llama.block_count`: what is read, and what is left. */
import { ConfigError } from "../../errors.ts";
import type { GgufValue } from "./header.ts";

/** What a config is made of. */
export interface GgufFacts {
  /** Names the file in messages. */
  readonly label: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** Shapes of tensors by GGUF's names. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** The values of a small tensor. */
  floats(name: string): Promise<Float32Array>;
}

/** An f32 such as 0.000009999999747 as the shortest number that is the same f32: 0.00001. */
function shortest(value: number): number {
  const short = Number(value.toPrecision(7));
  return Math.fround(value) === value && Math.fround(short) === value ? short : value;
}

/** The error for metadata that a model cannot do without. */
export function missing(label: string, key: string): ConfigError {
  const remedy = "Convert the model anew with llama.cpp's convert_hf_to_gguf.py, or take its safetensors.";
  return new ConfigError("config/missing", `${label}: the metadata has no ${key}. ${remedy}`);
}

/** Metadata under the architecture's name, of which it knows what was asked for. */
export class Settings {
  readonly #known = new Set<string>();
  readonly #prefix: string;

  constructor(private readonly facts: GgufFacts) {
    this.#prefix = `${String(facts.metadata.get("general.architecture"))}.`;
  }

  /** The value of a key. A list with one value for each layer is that value, where it is one. */
  take(key: string): GgufValue | undefined {
    this.#known.add(key);
    const value = this.facts.metadata.get(this.#prefix + key);
    if (typeof value === "number") return shortest(value);
    if (!Array.isArray(value) || key === "attention.sliding_window_pattern") return value;
    if (value.length > 0 && value.every((each) => each === value[0])) return value[0] as GgufValue;
    return this.refuse(key, "differs from layer to layer, which the family cannot do");
  }

  require(key: string): GgufValue {
    const value = this.take(key);
    if (value === undefined) throw missing(this.facts.label, this.#prefix + key);
    return value;
  }

  /** A number; undefined where there is none. */
  number(key: string): number | undefined {
    const value = this.take(key);
    if (value === undefined || typeof value === "number") return value;
    return this.refuse(key, "is no number");
  }

  refuse(key: string, why: string): never {
    const name = this.#prefix + key;
    const value = JSON.stringify(this.facts.metadata.get(name), (_, each) =>
      typeof each === "bigint" ? `${each}` : each,
    );
    throw new ConfigError(
      "config/unsupported",
      `${this.facts.label}: ${name} is ${value.length > 80 ? `${value.slice(0, 80)}...` : value}, and ${why}. ` +
        "Take the model's safetensors, if its family is in docs/families.md.",
    );
  }

  refuseOthers(idle: ReadonlySet<string>, neutral: Readonly<Record<string, GgufValue>>): void {
    for (const [name, value] of this.facts.metadata) {
      if (!name.startsWith(this.#prefix)) continue;
      const key = name.slice(this.#prefix.length);
      if (this.#known.has(key) || idle.has(key) || (Object.hasOwn(neutral, key) && value === neutral[key])) continue;
      this.refuse(key, "superlens does not know what it changes");
    }
  }
}
