/**
 * Whoever holds what a call gave, or makes what a call takes, can name its type: every type in the declarations of an
 * entry's exports is exported by that entry, by `superlens`, or, as pictures are, by `superlens/pictures`.
 */
import { join, relative } from "node:path";
import ts from "typescript";
import { expect, it } from "vitest";
import { declarationsByPath, programOf, TYPES } from "./emit.ts";

const ENTRIES = ["index", "theory/index", "paper/index", "train/index", "bench/index", "pictures/index"];

/** What the engine's own rooms hand to each other through objects that users hold. */
const INTERNAL = new Set([
  ...["DeviceCore", "PipelineCache", "BindGroupCache", "Buffers", "BufferPool", "ReuseCache", "Counters", "Profiler"],
  ...[
    "Ledger",
    "ReadableGpu",
    "SlotStore",
    "KvShape",
    "ModelParts",
    "Runner",
    "RunOptions",
    "CheckedEdit",
    "Weights",
    "WeightRef",
    "Matrix",
    "Region",
    "TrainedWeight",
    "FlatMemory",
    "BufferSlice",
    "LoadedModel",
  ],
]);

const program = programOf(
  ENTRIES.map((entry) => join(TYPES, `${entry}.d.ts`)),
  declarationsByPath(),
  {
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    target: ts.ScriptTarget.ES2022,
    skipLibCheck: true,
    types: [],
  },
);
const checker = program.getTypeChecker();

/** What a name stands for, behind imports and exports. */
function meant(symbol: ts.Symbol): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

function exportsOf(entry: string): Set<ts.Symbol> {
  const file = program.getSourceFile(join(TYPES, `${entry}.d.ts`)) as ts.SourceFile;
  const module = checker.getSymbolAtLocation(file) as ts.Symbol;
  return new Set(checker.getExportsOfModule(module).map(meant));
}

/** The name in a type, an `extends` clause or an `import("…")` type. */
function nameIn(node: ts.Node): ts.Node | undefined {
  if (ts.isTypeReferenceNode(node)) return node.typeName;
  if (ts.isExpressionWithTypeArguments(node)) return node.expression;
  if (ts.isImportTypeNode(node)) return node.qualifier;
  return undefined;
}

const isOurs = ({ fileName }: ts.SourceFile) => fileName.startsWith(TYPES) && !fileName.endsWith("/globals.d.ts");

/** Types of ours in a declaration, with the place. Type parameters have no name outside it. */
function typesIn(declaration: ts.Declaration): Map<ts.Symbol, string> {
  const found = new Map<ts.Symbol, string>();
  const visit = (node: ts.Node): void => {
    const name = nameIn(node);
    const symbol = name && checker.getSymbolAtLocation(name);
    if (symbol) {
      const type = meant(symbol);
      const isNamed =
        !(type.flags & ts.SymbolFlags.TypeParameter) &&
        type.declarations?.some((place) => isOurs(place.getSourceFile()));
      if (isNamed) found.set(type, relative(TYPES, declaration.getSourceFile().fileName));
    }
    node.forEachChild(visit);
  };
  visit(declaration);
  return found;
}

it.each(ENTRIES)("%s exports every type that its exports name", (entry) => {
  const exported = new Set([entry, "index", "pictures/index"].flatMap((name) => [...exportsOf(name)]));
  const missing = new Set<string>();
  let seen = 0;
  for (const symbol of exportsOf(entry)) {
    for (const declaration of (symbol.declarations ?? []).filter((place) => isOurs(place.getSourceFile()))) {
      for (const [type, place] of typesIn(declaration)) {
        seen += 1;
        const isInternal = entry === "index" && INTERNAL.has(type.name);
        if (!exported.has(type) && !isInternal) missing.add(`${type.name} in ${symbol.name} (${place})`);
      }
    }
  }
  expect(seen).toBeGreaterThan(10);
  expect([...missing]).toEqual([]);
});
