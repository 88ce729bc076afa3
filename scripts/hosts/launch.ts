/**
 * What starting a program in another host takes: the command line (`--host`) and the tests start theirs in the same way. A
 * program is one module, bundled into one file. What it needs to read is served on localhost, a secure context, which
 * WebGPU needs.
 */
import { build } from "esbuild";
import { webOptions } from "../build.mjs";

export interface Launch {
  /** Path of the program's module. */
  entry: string;
  /** Texts for the program: in Deno its arguments after the server's origin, in a page the `arg`s of its module's address. */
  args: readonly string[];
  /** Folders to serve, by the path that they are served under. */
  folders: Readonly<Record<string, string>>;
  /** Gets every line that the host prints. */
  onLine: (line: string) => void;
  /** A program that does not come to an end is stopped. */
  timeLimitMs: number;
}

/** One file of JavaScript with the entry and all it imports; `external` are the modules that the host has itself. */
export async function bundle(entry: string, external: string[] = []): Promise<Uint8Array> {
  const result = await build({
    ...webOptions,
    entryPoints: [entry],
    external,
    sourcemap: "inline",
    sourcesContent: false, // files and lines of a stack trace are enough; with the sources it takes 0.9 s for 0.6
    write: false,
    outdir: "/", // names the output, which is not written
  });
  const output = result.outputFiles[0];
  if (!output) throw new Error(`${entry}: esbuild wrote nothing`);
  return output.contents;
}
