/** Activation patching for the page: a layer at a time, so that the heat map fills while the sweep runs and can be stopped. */
import { activationPatch, type Edit, type Metric, metric, type PatchGrid } from "../../hooks/index.ts";
import type { Running } from "../protocol.ts";
import { current, idsOf, labelOf } from "./session.ts";

/** The metric that the page offers: a logit, or the difference of two. */
export interface MetricChoice {
  readonly answer: number;
  readonly other?: number | undefined;
}

export interface PatchArgs {
  readonly clean: string;
  readonly corrupted: string;
  readonly at: "resid_pre" | "attn_out" | "mlp_out" | "z";
  readonly metric: MetricChoice;
  readonly edits: readonly Edit[];
  /** Tells sweeps apart that are asked alike, as after one that was stopped. */
  readonly run: number;
}

/** Rows that are done, from layer 0 on. */
export interface GridPart {
  /** The activation that was patched. */
  readonly at: PatchArgs["at"];
  readonly columns: readonly string[];
  readonly values: readonly (readonly number[])[];
  readonly clean: number;
  readonly corrupted: number;
}

export const metricOf = ({ answer, other }: MetricChoice): Metric =>
  other === undefined ? metric.logit(answer) : metric.logitDiff(answer, other);

/** Names of the columns; positions by the clean prompt's tokens, of models without a tokenizer, too. */
export const columnsOf = ({ columns }: PatchGrid, clean: readonly number[]): string[] =>
  columns.indices.map((index, place) =>
    columns.name === "position" ? `${index}:${labelOf(clean[index] as number)}` : (columns.labels[place] as string),
  );

export async function patchByLayer(args: PatchArgs, { signal, onProgress }: Running): Promise<GridPart> {
  const { model } = current();
  const [clean, corrupted] = [idsOf(args.clean), idsOf(args.corrupted)];
  const total = model.spec.nLayers;
  return model.withEdits([...args.edits], async (edited) => {
    let part: GridPart | undefined;
    for (let layer = 0; layer < total; layer++) {
      const options = { clean, corrupted, at: args.at, metric: metricOf(args.metric), layers: layer, signal };
      const grid = await activationPatch(edited, options);
      const values: readonly (readonly number[])[] = [...(part?.values ?? []), ...grid.toJSON().values];
      part = { at: args.at, columns: columnsOf(grid, clean), values, clean: grid.clean, corrupted: grid.corrupted };
      onProgress({ done: layer + 1, total, part });
    }
    return part as GridPart;
  });
}
