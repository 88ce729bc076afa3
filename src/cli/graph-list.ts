/**
 * The list that circuit-tracer's viewer opens first: `graph-metadata.json` in the folder of the graphs, `{ graphs: [metadata, …] }`. A graph
 * that is not in it cannot be chosen there.
 */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { SuperlensError } from "../errors.ts";
import type { CircuitTracerGraph } from "../hooks/attribution-graph/circuit-tracer.ts";
import { isRecord } from "../schema/schema.ts";
import { checkWritable, writeFileWhole } from "./write-file.ts";

export const GRAPH_LIST = "graph-metadata.json";

/** `hf:owner/name[@revision]`. */
const REPOSITORY = /^hf:([^/]+\/[^/]+)$/;

/** What the viewer calls transcoders from one repository of the Hub: it shows the examples of features that lie there. */
export const scanOf = (saes: readonly string[]): string | undefined =>
  saes.length === 1 ? REPOSITORY.exec(saes[0] as string)?.[1] : undefined;

type Metadata = Record<string, unknown>;

/** The path of the list beside a graph's file. @throws SuperlensError `cli/not-writable`, also for a file of that name that is no list */
export async function graphListBeside(file: string): Promise<string> {
  const path = join(dirname(file), GRAPH_LIST);
  await checkWritable(path);
  await readList(path);
  return path;
}

async function readList(path: string): Promise<Metadata & { graphs: Metadata[] }> {
  const content = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return '{ "graphs": [] }';
    throw error;
  });
  const list = listOf(content);
  if (list) return list;
  throw new SuperlensError(
    "cli/not-writable",
    `${path} is there and is no list of graphs, { "graphs": [{ "slug": … }] }, to which the graph could be added. Move it, or name a file in another folder.`,
  );
}

function listOf(content: string): (Metadata & { graphs: Metadata[] }) | undefined {
  try {
    const list = JSON.parse(content);
    return Array.isArray(list.graphs) && list.graphs.every(isRecord) ? list : undefined;
  } catch {
    return undefined;
  }
}

/** Writes the list, as it is by now, with the graph in it, in place of one of the same name. */
export async function addToGraphList(path: string, metadata: CircuitTracerGraph["metadata"]): Promise<void> {
  const list = await readList(path);
  const others = list.graphs.filter(({ slug }) => slug !== metadata.slug);
  const text = `${JSON.stringify({ ...list, graphs: [...others, metadata] }, null, 1)}\n`;
  await writeFileWhole(path, [new TextEncoder().encode(text)]);
}
