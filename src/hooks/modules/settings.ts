/** The settings of a dictionary's file, each honoured or refused by name. */
import { ConfigError } from "../../errors.ts";
import { isRecord } from "../../schema/schema.ts";

/** Reads settings one by one; what is left over at the end is refused. */
export class Settings {
  readonly #left: Set<string>;

  constructor(
    readonly label: string,
    private readonly values: Readonly<Record<string, unknown>>,
  ) {
    this.#left = new Set(Object.keys(values));
  }

  /** @throws ConfigError `module/setting` unless the value is an object */
  static of(label: string, value: unknown): Settings {
    if (isRecord(value)) return new Settings(label, value);
    throw new ConfigError("module/setting", `${label} is not a JSON object of settings.`);
  }

  get(name: string): unknown {
    this.#left.delete(name);
    return this.values[name] ?? undefined;
  }

  has(name: string): boolean {
    return (this.values[name] ?? undefined) !== undefined;
  }

  refuse(name: string, remedy: string): ConfigError {
    return new ConfigError(
      "module/setting",
      `${this.label}: ${name} is ${JSON.stringify(this.values[name])}. ${remedy}`,
    );
  }

  /** A whole number above 0. */
  count(name: string): number {
    const value = this.get(name);
    if (typeof value === "number" && Number.isInteger(value) && value > 0) return value;
    throw this.refuse(name, "It must be a whole number above 0.");
  }

  flag(name: string, otherwise: boolean): boolean {
    const value = this.get(name) ?? otherwise;
    if (typeof value === "boolean") return value;
    throw this.refuse(name, "It must be true or false.");
  }

  text(name: string): string | undefined {
    const value = this.get(name);
    if (value === undefined || typeof value === "string") return value;
    throw this.refuse(name, "It must be a text.");
  }

  oneOf<Name extends string>(name: string, names: readonly Name[], otherwise: Name): Name {
    const value = this.get(name) ?? otherwise;
    if (names.includes(value as Name)) return value as Name;
    throw this.refuse(name, `What can be computed here: ${names.join(", ")}.`);
  }

  /** Settings that change nothing that a pass computes. */
  ignore(names: readonly string[]): void {
    for (const name of names) this.#left.delete(name);
  }

  /** A setting that must not be on: `null`, false, 0 and empty are off. */
  mustBeOff(name: string, remedy: string): void {
    const value = this.get(name);
    if (!value || value === "none" || (Array.isArray(value) && value.every((each) => each === null))) return;
    throw this.refuse(name, remedy);
  }

  /** @throws ConfigError `module/setting` for what nobody read */
  assertAllRead(): void {
    const [name] = this.#left;
    if (name === undefined) return;
    throw this.refuse(
      name,
      "This setting is not known. If it changes nothing that the dictionary computes, take it out of the file.",
    );
  }
}
