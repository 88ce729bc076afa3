/** The declarations that the package ships: those of the last build, or made in memory where the sources are newer. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { isStale } from "../../scripts/build.mjs";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export const TYPES = join(ROOT, "dist/types");

let declarations: ReadonlyMap<string, string> | undefined;

/** The declarations by path. */
export function declarationsByPath(): ReadonlyMap<string, string> {
  declarations ??= isStale("types/index.d.ts") ? emitted() : built();
  return declarations;
}

function built(): Map<string, string> {
  const paths = readdirSync(TYPES, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".d.ts"));
  return new Map(paths.map((path) => [join(TYPES, path), readFileSync(join(TYPES, path), "utf8")]));
}

function emitted(): Map<string, string> {
  const config = ts.getParsedCommandLineOfConfigFile(
    join(ROOT, "tsconfig.build.json"),
    { outDir: TYPES, noCheck: true },
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
