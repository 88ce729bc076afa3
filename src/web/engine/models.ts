/** Models for the page: where they can come from, and what is said of one before and after it is loaded. */
import { type ModelSource, openModelSource, openTokenizer, readFitted } from "../../model/load.ts";
import type { ModelSpec } from "../../model/spec.ts";
import { gpuMemory } from "../../model/weights/residency.ts";
import { gpu, type Loaded } from "./session.ts";

/** A model by its name, address or files. Names of embedded models are addresses beside the page. */
export type FoundModel = { readonly address: string } | { readonly files: readonly File[] };

/** Any of these, or the one that was trained last, which is there already. */
export type SourceChoice = FoundModel | { readonly trained: number };

/** What the page shows of a loaded model. */
export interface ModelFacts {
  readonly label: string;
  readonly spec: ModelSpec;
  readonly points: readonly string[];
  readonly notices: readonly string[];
  /** Whether a script can give it text; other models of the page take text here alone, and ids elsewhere. */
  readonly hasTokenizer: boolean;
  /** Whether text can be given here; else why not. */
  readonly takesText: true | string;
  readonly weightBytes: number;
  /** What a constructed transformer was built for. */
  readonly construction: { readonly tasks: readonly string[]; readonly examples: number } | undefined;
}

/** What is known before it is loaded. */
export interface Inspection {
  readonly label: string;
  readonly spec: ModelSpec;
  readonly tensors: readonly { readonly name: string; readonly dtype: string; readonly shape: readonly number[] }[];
  readonly weightBytes: number;
  readonly kvBytesPerToken: number;
  /** The largest buffer that this adapter allows; larger matrices are split. */
  readonly bufferBytes: number;
  /** What stands against loading it here. */
  readonly problem: string | undefined;
}

export const sourceOf = (choice: FoundModel): ModelSource =>
  "address" in choice ? addressOf(choice.address) : [...choice.files];

/** `models/lc` beside the page becomes a whole address; `hf:owner/name` and addresses stay. */
export function addressOf(address: string): string {
  const text = address.trim();
  return /^(hf:|https?:)/.test(text) ? text : new URL(text, `${location.origin}${location.pathname}`).href;
}

export function describeModel({ model, words, blueprint, notices }: Loaded): ModelFacts {
  return {
    label: model.label,
    spec: model.spec,
    points: model.pointNames(),
    notices,
    hasTokenizer: model.tokenizer !== undefined,
    takesText: words ? true : (model.tokenizerError?.message ?? "it has no tokenizer.json"),
    weightBytes: model.gpu.memory.bytes,
    construction: blueprint && { tasks: blueprint.program.tasks.map(({ name }) => name), examples: blueprint.examples },
  };
}

export async function inspectSource(choice: FoundModel, signal: AbortSignal): Promise<Inspection> {
  const stored = await openModelSource(sourceOf(choice), { signal, onNotice: () => {} });
  try {
    const { spec, checkpoint } = await readFitted(stored);
    await openTokenizer(checkpoint, spec, () => {});
    const memory = gpuMemory(spec, checkpoint);
    const { maxBufferSize } = (await gpu()).limits;
    const tensors = [...checkpoint.tensors.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }));
    return {
      label: checkpoint.label,
      spec,
      tensors,
      weightBytes: memory.weights,
      kvBytesPerToken: memory.cachePerToken,
      bufferBytes: maxBufferSize,
      problem: roomFor(memory.weights),
    };
  } finally {
    await stored.close();
  }
}

/** Browsers say how much memory a computer has, up to 8 GB, and nothing of a GPU's. */
function roomFor(weights: number): string | undefined {
  const { deviceMemory } = navigator as { deviceMemory?: number };
  if (deviceMemory === undefined || deviceMemory >= 8 || weights < 0.7e9 * deviceMemory) return undefined;
  return `This computer has about ${deviceMemory} GB of memory, so it will hardly fit.`;
}
