/**
 * Changed configs of the fixtures, with what transformers answers to each: how a key that is missing, null, changed or
 * another family's must act here. Wrong numbers are the one thing that may never happen.
 */
import { FilesSource, writeSafetensors } from "../../src/checkpoint/index.ts";
import { SuperlensError } from "../../src/errors.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import { fixtureFiles, golden, readLogits } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";

/** A fixture's config with keys set and dropped, and transformers' answer. */
export interface ConfigCase {
  /** Folder of test/fixtures/families. */
  family: string;
  case: string;
  set: Record<string, unknown>;
  drop: readonly string[];
  /** Whether transformers' logits differ from those of the unchanged config. */
  changed?: boolean;
  /** The first six logits of each row's last position. */
  last?: readonly (readonly number[])[];
  /** The largest logit, for relative errors. */
  scale?: number;
  /** Set when transformers answered with an error. */
  error?: string;
  /** Set when transformers could not place all weights, and made some up. */
  load?: unknown;
}

/**
 * `equal`: transformers' logits. `refused`: a typed error of the config or the checkpoint. `wrong`: other logits.
 * `answered`: an answer where transformers has none. `crash`: an error that is not typed.
 */
export interface Outcome {
  kind: "equal" | "refused" | "wrong" | "answered" | "crash";
  /** Largest difference relative to the largest logit, or the error. */
  detail: string;
}

const TOLERANCE = 1e-4;

/** Tokens of a fixture's sequences. */
const LENGTH = 17;

type Answer = number[][] | Error;

/** Runs cases on one device. Specs that are equal have equal logits, so each spec of a fixture runs once. */
export class CaseRunner {
  readonly #answers = new Map<string, Promise<Answer>>();

  async outcome(each: ConfigCase): Promise<Outcome> {
    const answer = await this.#answer(each);
    if (answer instanceof SuperlensError) return { kind: "refused", detail: answer.message };
    if (answer instanceof Error) return { kind: "crash", detail: String(answer.stack) };
    if (each.error !== undefined) return { kind: "answered", detail: each.error };
    const error = relativeDifference(answer, each);
    return { kind: error <= TOLERANCE ? "equal" : "wrong", detail: error.toExponential(1) };
  }

  async #answer(each: ConfigCase): Promise<Answer> {
    const { config } = await fixtureFiles(each.family);
    const changed: Record<string, unknown> = { ...config, ...each.set };
    for (const key of each.drop) delete changed[key];
    let spec: ModelSpec;
    try {
      spec = specFromConfig(changed, "config.json");
    } catch (error) {
      return error as Error;
    }
    const key = each.family + JSON.stringify(spec);
    const known = this.#answers.get(key) ?? run(each.family, changed);
    this.#answers.set(key, known);
    return known;
  }
}

/** The first six logits of each row's last position. */
async function run(family: string, config: Record<string, unknown>): Promise<Answer> {
  const { tensors } = await fixtureFiles(family);
  const { ids } = await golden(family);
  const files = [
    { name: "config.json", blob: new Blob([JSON.stringify(config)]) },
    { name: "model.safetensors", blob: new Blob([writeSafetensors(tensors) as BlobPart]) },
  ];
  try {
    using model = new Model(await loadParts(new FilesSource(files, "changed"), { gpu: await testGpu() }));
    // transformers takes sequences of any length where positions are computed; what is compared is the computation.
    if (model.spec.positions.kind !== "learned") model.spec.maxPositions = Math.max(model.spec.maxPositions, LENGTH);
    const values = await readLogits(model.forward(ids, { logits: "last" }));
    const { vocabSize } = model.spec;
    return ids.map((_, row) => [...values.slice(row * vocabSize, row * vocabSize + 6)]);
  } catch (error) {
    return error as Error;
  }
}

function relativeDifference(answer: number[][], { last = [], scale = 1 }: ConfigCase): number {
  const differences = last.flatMap((row, i) => row.map((value, j) => Math.abs(value - (answer[i]?.[j] ?? Number.NaN))));
  return differences.some(Number.isNaN) ? Number.POSITIVE_INFINITY : Math.max(0, ...differences) / scale;
}
