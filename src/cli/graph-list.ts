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

/** The list beside a graph's file, as it is before the graph is in it. */
export interface GraphList {
  readonly path: string;
  readonly graphs: readonly Record<string, unknown>[];
}

/** @throws SuperlensError `cli/not-writable`, also for a file of that name that is no list */
export async function graphListBeside(file: string): Promise<GraphList> {
  const path = join(dirname(file), GRAPH_LIST);
  await checkWritable(path);
  const content = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return '{ "graphs": [] }';
    throw error;
  });
  const graphs = graphsOf(content);
  if (graphs) return { path, graphs };
  throw new SuperlensError(
    "cli/not-writable",
    `${path} is there and is no list of graphs, { "graphs": [{ "slug": … }] }, to which the graph could be added. Move it, or name a file in another folder.`,
  );
}

function graphsOf(content: string): Record<string, unknown>[] | undefined {
  try {
    const { graphs } = JSON.parse(content);
    return Array.isArray(graphs) && graphs.every(isRecord) ? graphs : undefined;
  } catch {
    return undefined;
  }
}

/** Writes the list with the graph in it, in place of one of the same name. */
export async function addToGraphList(
  { path, graphs }: GraphList,
  metadata: CircuitTracerGraph["metadata"],
): Promise<void> {
  const others = graphs.filter(({ slug }) => slug !== metadata.slug);
  const text = `${JSON.stringify({ graphs: [...others, metadata] }, null, 1)}\n`;
  await writeFileWhole(path, [new TextEncoder().encode(text)]);
}
