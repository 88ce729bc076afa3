/**
 * A user's script in the process of the tests. It imports the built package, which must be there, as a user's does. Whatever asks for
 * a device gets a part of the tests' own: in processes of their own, scripts took most of their time to compile the same kernels again.
 */
import { format } from "node:util";
import { vi } from "vitest";
import { onPartsOfTestGpu } from "./device-part.ts";

/** What the script at `path` exports and prints, run with `args`. */
export async function runScript<Exports>(
  path: string,
  args: readonly string[] = [],
): Promise<{ exported: Exports; printed: string }> {
  const lines: string[] = [];
  const { argv } = process;
  const log = vi.spyOn(console, "log").mockImplementation((...said) => lines.push(format(...said)));
  process.argv = [process.execPath, path, ...args];
  try {
    const exported = await onPartsOfTestGpu(() => import(path) as Promise<Exports>);
    return { exported, printed: `${lines.join("\n")}\n` };
  } finally {
    process.argv = argv;
    log.mockRestore();
  }
}
