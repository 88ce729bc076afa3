/**
 * Writes docs/options.md: for each public call its options, what they take and what they do.
 *
 *   npm run docs:options
 *
 * What an option takes is its schema's, by which the call checks it; what it does is the comment of the interface.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { CHECKED_CALLS, type CheckedCall } from "./checked-calls.ts";

const ROOT = new URL("../", import.meta.url);
export const OPTIONS_PAGE = fileURLToPath(new URL("docs/options.md", ROOT));

const HEAD = `# Options

<!-- Written by scripts/docs-options.ts: npm run docs:options -->

Every call checks its arguments before anything runs. Three kinds of options are refused:

* an option that does not exist (\`input/unknown-key\`); the error names the nearest one. So a misspelt \`head\` in an edit cannot
  edit every head;
* a value that is not what the table says (\`input/argument\`); the error has its place;
* an option that would change nothing beside the others (\`input/idle-option\`); the error has the reason.

\`undefined\` counts as absent. Where the table says "a whole number, or a list of whole numbers", \`heads: 5\` is \`heads: [5]\`. A
single edit stands for a list of one. Lists may be arrays of a numeric type, such as \`Int32Array\`.

Every call that can take more than a second takes \`signal\`, an \`AbortSignal\`, and ends with its reason. Calls of several passes also take
\`onProgress\`, which is called after each pass and awaited. A generation and a verification tell each step as they go instead.
`;

/** The interfaces and types of a source file by name. */
const sourceOf = new Map<string, ts.SourceFile>();

function parsed(file: string): ts.SourceFile {
  const known = sourceOf.get(file);
  if (known) return known;
  const text = readFileSync(fileURLToPath(new URL(file, ROOT)), "utf8");
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  sourceOf.set(file, source);
  return source;
}

/** The comments of an interface's fields, those of what it extends included. */
function commentsOf(type: string, files: readonly string[]): Map<string, string> {
  const comments = new Map<string, string>();
  for (const file of files) {
    parsed(file).forEachChild((node) => {
      if (!ts.isInterfaceDeclaration(node) || node.name.text !== type) return;
      for (const base of node.heritageClauses ?? [])
        for (const { expression, typeArguments } of base.types)
          for (const name of [expression, ...(typeArguments ?? [])].map((part) => part.getText()))
            for (const [field, comment] of commentsOf(name, files)) comments.set(field, comment);
      for (const member of node.members)
        if (ts.isPropertySignature(member)) comments.set(member.name.getText(), commentOf(member));
    });
  }
  return comments;
}

function commentOf(member: ts.PropertySignature): string {
  const [doc] = ts.getJSDocCommentsAndTags(member);
  const comment = doc && ts.isJSDoc(doc) ? ts.getTextOfJSDocComment(doc.comment) : undefined;
  return (comment ?? "").replace(/\s+/g, " ").trim();
}

/** Where options that many calls share are. */
const LONG_CALLS = "src/model/long-call.ts";

const row = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;

function section({ calls, schema, type, files }: CheckedCall): string {
  const comments = commentsOf(type, [...files, LONG_CALLS]);
  const lines = Object.entries(schema.fields ?? {}).map(([name, field]) => {
    const needed = field.isRequired ? " (needed)" : "";
    return row([`\`${name}\`${needed}`, field.takes, comments.get(name) ?? ""]);
  });
  return [`## ${calls}`, "", row(["option", "takes", "what it does"]), row(["---", "---", "---"]), ...lines].join("\n");
}

/** The whole page. */
export function optionsPage(): string {
  return `${[HEAD, ...CHECKED_CALLS.map(section)].join("\n\n").replace("\n\n\n", "\n\n")}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(OPTIONS_PAGE, optionsPage());
