/**
 * Changed configs of the fixtures, with what transformers answers to each: what a key that is missing, null, changed or
 * another family's must do here. Wrong numbers are the one thing that may never come of it.
 */
import { FilesSource, writeSafetensors } from "../../src/checkpoint/index.ts";
import { SuperlensError } from "../../src/errors.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import { type FixtureFiles, fixtureFiles, golden, readLogits } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";

/** A fixture's config with keys set and dropped, and transformers' answer: logits, or an error. */
export interface ConfigCase {
  /** Folder of test/fixtures/families; `../types/NAME` of test/fixtures/types. */
  family: string;
  case: string;
  set: Record<string, unknown>;
  drop: readonly string[];
  /** Whether the logits differ from those of the unchanged config. */
  changed?: boolean;
  /** The first six logits of each row's last position. */
  last?: readonly (readonly number[])[];
  /** The largest logit, for relative errors. */
  scale?: number;
  error?: string;
  /** There when transformers could not place all weights, or made some up: then a refusal is right. */
  load?: unknown;
}

/**
 * `equal`: transformers' logits. `refused`: a typed error. `harmless`: transformers refuses, and here nothing but the longest
 * sequence changes. `needless`: refused, though transformers answers. `wrong`: other logits, an answer where there is none, or an
 * error without a type.
 */
export type OutcomeKind = "equal" | "refused" | "harmless" | "needless" | "wrong";

export interface Outcome {
  kind: OutcomeKind;
  /** Largest difference relative to the largest logit, or the error. */
  detail: string;
}

/** What transformers computes and superlens refuses, each with its reason: docs/families.md says the same. */
const KNOWN_REFUSALS: readonly string[] = [
  "gpt_neo del num_heads", // heads two wide; kernels need multiples of four
  "gpt_neox num_attention_heads=8", // one rotating dimension, which transformers rounds up to two
];

const TOLERANCE = 1e-4;

/** Tokens of a fixture's sequences. */
const LENGTH = 17;

/** Logits, or what came instead. */
type Answer = number[][] | Error;

/** Runs cases on one device. Specs that are equal have equal logits, so each spec of a fixture runs once. */
export class CaseRunner {
  readonly #files = new Map<string, Promise<FixtureFiles>>();
  readonly #answers = new Map<string, Promise<Answer>>();

  async outcome(each: ConfigCase): Promise<Outcome> {
    const files = await this.#filesOf(each.family);
    const config: Record<string, unknown> = { ...files.config, ...each.set };
    for (const key of each.drop) delete config[key];
    let spec: ModelSpec;
    try {
      spec = specFromConfig(config, "config.json");
    } catch (error) {
      return outcomeOf(each, error as Error);
    }
    const key = each.family + JSON.stringify(spec);
    const known = this.#answers.get(key) ?? run(each.family, { ...files, config });
    this.#answers.set(key, known);
    const outcome = outcomeOf(each, await known);
    const isHarmless = each.error !== undefined && sameButLength(spec, specFromConfig(files.config, each.family));
    return outcome.kind === "wrong" && isHarmless ? { ...outcome, kind: "harmless" } : outcome;
  }

  #filesOf(family: string): Promise<FixtureFiles> {
    const files = this.#files.get(family) ?? fixtureFiles(family);
    this.#files.set(family, files);
    return files;
  }
}

/** Whether two specs differ in the longest sequence at most. */
function sameButLength(spec: ModelSpec, other: ModelSpec): boolean {
  return JSON.stringify({ ...spec, maxPositions: 0 }) === JSON.stringify({ ...other, maxPositions: 0 });
}

function outcomeOf(each: ConfigCase, answer: Answer): Outcome {
  if (answer instanceof SuperlensError) {
    const isRight = each.error !== undefined || each.load !== undefined || isKnownRefusal(each);
    return { kind: isRight ? "refused" : "needless", detail: answer.message };
  }
  if (answer instanceof Error) return { kind: "wrong", detail: String(answer.stack) };
  if (each.error !== undefined) return { kind: "wrong", detail: `transformers refuses: ${each.error}` };
  const error = relativeDifference(answer, each);
  return { kind: error <= TOLERANCE ? "equal" : "wrong", detail: error.toExponential(1) };
}

const isKnownRefusal = (each: ConfigCase) => KNOWN_REFUSALS.includes(`${each.family} ${each.case}`);

async function run(family: string, { config, tensors }: FixtureFiles): Promise<Answer> {
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
