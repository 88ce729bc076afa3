/** The declarations that the package ships, made in memory. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** The declarations by path, as the build writes them. */
export function emitDeclarations(): Map<string, string> {
  const config = ts.getParsedCommandLineOfConfigFile(
    join(ROOT, "tsconfig.build.json"),
    { outDir: join(ROOT, "dist/types"), noCheck: true },
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => {} },
  ) as ts.ParsedCommandLine;
  const written = new Map<string, string>();
  const program = ts.createProgram(config.fileNames, config.options);
  program.emit(undefined, (path, text) => written.set(path, text), undefined, true);
  return written;
}

/** A program of files in memory; what else it imports is looked for on disk, but never in dist/. */
export function programOf(
  names: readonly string[],
  files: ReadonlyMap<string, string>,
  settings: ts.CompilerOptions,
): ts.Program {
  const host = ts.createCompilerHost(settings);
  const { readFile, fileExists, directoryExists } = host;
  host.readFile = (path) => files.get(path) ?? readFile(path);
  host.fileExists = (path) => files.has(path) || (!path.startsWith(join(ROOT, "dist/")) && fileExists(path));
  host.directoryExists = (path) => path.startsWith(join(ROOT, "dist")) || (directoryExists?.(path) ?? existsSync(path));
  host.getSourceFile = (path, target) => {
    const text = host.readFile(path);
    return text === undefined ? undefined : ts.createSourceFile(path, text, target);
  };
  return ts.createProgram(names, settings, host);
}
