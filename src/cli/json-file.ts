/** Reads a JSON file that a person wrote. */
import { readFile } from "node:fs/promises";
import { SuperlensError } from "../errors.ts";

/**
 * @param remedy what can be given instead, for a file that cannot be read
 * @throws SuperlensError `cli/no-definition`, `cli/not-json`
 */
export async function readJsonFile(path: string, remedy: string): Promise<unknown> {
  const text = await readFile(path, "utf8").catch((cause: Error) => {
    throw new SuperlensError("cli/no-definition", `${path} cannot be read: ${cause.message}. ${remedy}`, { cause });
  });
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = (cause as Error).message.replaceAll("\n", " ");
    throw new SuperlensError("cli/not-json", `${path} is not JSON: ${reason}`, { cause });
  }
}
