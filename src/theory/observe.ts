/**
 * Reads and edits a running constructed model through the engine's own hooks: where each subspace can be captured and edited,
 * and which attention weights are the mixture.
 */
import type { Edit, HookedModel } from "../hooks/index.ts";
import * as s from "../schema/schema.ts";
import type { StageName } from "./assemble.ts";
import type { Blueprint } from "./build.ts";
import { positionOf, promptLength } from "./codes.ts";
import { softmax } from "./mixture.ts";
import type { LoadedSuperposition } from "./model-folder.ts";
import type { PromptIds } from "./prompts.ts";
import { SPACES, type SpaceName } from "./spaces.ts";

/** The point at which a subspace holds its final value: after which stage, and on which side of that layer's MLP. */
const WRITTEN: Partial<Record<SpaceName, [stage: StageName, point: "hook_resid_mid" | "hook_resid_post"]>> = {
  ACC: ["derive", "hook_resid_mid"],
  DER: ["decode", "hook_resid_post"],
  MATCH: ["round", "hook_resid_post"],
  WEIGHT: ["weigh", "hook_resid_mid"],
  LOGIT: ["logit", "hook_resid_post"],
  OUT: ["superpose", "hook_resid_mid"],
  LOG: ["log", "hook_resid_post"],
};

const BLUEPRINT = s.madeObject<Blueprint>("the blueprint of a constructed model", "program", "layout", "stages");
const LOADED = s.madeObject<LoadedSuperposition>("what loadSuperposition() gives", "model", "blueprint");
const SPACE = s.oneOf(...(Object.keys(SPACES) as SpaceName[]));
const IDS = s.list("token ids", s.wholeFrom(0));
const PROMPT_IDS = s.object<PromptIds>("a prompt, made by promptIds()", {
  examples: s.required(s.list("lists of token ids", IDS)),
  query: s.required(IDS),
});

/** Name of a point in the layer of a stage, such as `blocks.3.attn.hook_pattern`. */
export function stagePoint({ stages }: Pick<Blueprint, "stages">, stage: StageName, point: string): string {
  return `blocks.${stages[stage]}.${point}`;
}

/** Where to capture or edit a subspace. Those that the embedding writes are there from the start. */
export function pointOf(blueprint: Pick<Blueprint, "stages">, space: SpaceName): string {
  const written = WRITTEN[space];
  return written ? stagePoint(blueprint, ...written) : "blocks.0.hook_resid_pre";
}

/** The dimensions of the residual stream that a subspace takes. */
export function dimsOf({ layout }: Pick<Blueprint, "layout">, space: SpaceName): number[] {
  const { start, size } = layout.span(space);
  return Array.from({ length: size }, (_, i) => start + i);
}

/** An edit that sets a subspace at `positions` where it has just been written. */
export function setSpace(
  blueprint: Blueprint,
  space: SpaceName,
  positions: readonly number[],
  value: Edit["value"],
): Edit {
  s.readArgument(BLUEPRINT, blueprint, "setSpace", "blueprint");
  s.readArgument(SPACE, space, "setSpace", "space");
  return { at: pointOf(blueprint, space), op: "set", dims: dimsOf(blueprint, space), positions, value };
}

/** Places in a prompt, by what the construction does there. */
export interface Places {
  /** Label of each example. */
  labels: number[];
  /** Last input slot of each example and, last, of the query: where sums are derived. */
  lastInputs: number[];
  /** Every position of each example, and of the query. */
  examples: number[][];
  query: number[];
  /** The last position, from which the answer is read. */
  last: number;
  all: number[];
}

/** Where what the theorem speaks of lies in the tokens and the layers of a constructed model. */
export function placesOf(blueprint: Blueprint): Places {
  const { program, examples: m } = s.readArgument(BLUEPRINT, blueprint, "placesOf", "blueprint");
  const n = program.exampleLength;
  const range = (start: number, count: number) => Array.from({ length: count }, (_, i) => start + i);
  return {
    labels: range(0, m).map((j) => positionOf(j, n - 1, n)),
    lastInputs: range(0, m + 1).map((j) => positionOf(j, n - 2, n)),
    examples: range(0, m).map((j) => range(positionOf(j, 0, n), n)),
    query: range(positionOf(m, 0, n), n - 1),
    last: promptLength(m, n) - 1,
    all: range(0, promptLength(m, n)),
  };
}

/** Token ids of a prompt, with BOS in front. */
export function inputIds({ program }: Pick<Blueprint, "program">, { examples, query }: PromptIds): number[] {
  return [program.bos, ...examples.flat(), ...query];
}

/** The most that keys and values of one batch may take. */
const BATCH_BYTES = 256 * 2 ** 20;

/**
 * The model's next-token probabilities `[d + 1]` for each prompt, in float64 from float32 logits.
 * @param edits apply to every prompt; where they name `batch`, all prompts must fit one batch.
 */
export async function probabilitiesOf(
  { model, blueprint }: LoadedSuperposition,
  prompts: readonly PromptIds[],
  edits: readonly Edit[] = [],
): Promise<Float64Array[]> {
  const ids = prompts.map((prompt) => inputIds(blueprint, prompt));
  const batch = batchSize(model, ids[0]?.length ?? 1);
  const found: Float64Array[] = [];
  for (let first = 0; first < ids.length; first += batch) {
    using result = await model.forward(ids.slice(first, first + batch), { logits: "last", edits });
    const logits = await result.logits.read();
    const width = model.spec.vocabSize;
    for (let row = 0; row * width < logits.length; row++) {
      found.push(softmax(logits.subarray(row * width, (row + 1) * width)));
    }
  }
  return found;
}

function batchSize({ spec }: HookedModel, length: number): number {
  const bytesPerToken = 2 * spec.nLayers * spec.nKvHeads * spec.dHead * 4;
  return Math.max(1, Math.floor(BATCH_BYTES / (bytesPerToken * length)));
}

/** What one run shows: probabilities `[d + 1]`, and for each task the attention weight that is its share. */
export interface Observation {
  probabilities: Float64Array;
  /** `[K]`: weight of superpose head k on the query slot its task reads. */
  attention: number[];
}

/** Runs one prompt and captures the superpose layer's pattern at the last position. */
export async function observe(
  loaded: LoadedSuperposition,
  prompt: PromptIds,
  edits: readonly Edit[] = [],
): Promise<Observation> {
  const { model, blueprint } = s.readArgument(LOADED, loaded, "observe", "loaded");
  const ids = inputIds(blueprint, s.readArgument(PROMPT_IDS, prompt, "observe", "prompt"));
  const { program, examples } = blueprint;
  const { last } = placesOf(blueprint);
  const name = stagePoint(blueprint, "superpose", "attn.hook_pattern");
  using result = await model.forward([ids], {
    logits: "last",
    capture: name,
    positions: [last],
    edits,
  });
  const logits = await result.logits.read();
  const pattern = await result.cache.read(name);
  const attention = program.tasks.map(({ slot }, k) => {
    const sought = positionOf(examples, slot, program.exampleLength);
    return pattern[k * (last + 1) + sought] as number;
  });
  return { probabilities: softmax(logits), attention };
}
