/** Methods that had another name before version 0.2. A call by the old name throws an error with the new one. */
import { InputError } from "../errors.ts";

const RENAMED: Readonly<Record<string, string>> = { tokenize: "toTokens", createCache: "createKvCache" };

/** Gives a class methods of the old names that refuse. Its type does not have them. */
export function refuseOldNames(type: { prototype: object }): void {
  for (const [old, name] of Object.entries(RENAMED)) {
    const value = () => {
      throw new InputError("input/renamed", `model.${old}() is called model.${name}() since version 0.2.`);
    };
    Object.defineProperty(type.prototype, old, { value, configurable: true });
  }
}
