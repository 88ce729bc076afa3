/** What figures are made for: models, of which one at a time is in memory. */
import { type HookedModel, loadModel } from "../hooks/index.ts";
import { type ModelSource, openModelSource } from "../model/load.ts";
import { Vocabulary } from "./tasks/vocabulary.ts";

/** A model, with the vocabulary that it was trained with if it has no tokenizer. */
export interface Subject {
  readonly model: HookedModel;
  readonly vocabulary: Vocabulary | undefined;
}

/** Models by number. */
export interface Subjects {
  readonly count: number;
  /** The one before may be gone once this is there. */
  at(index: number): Promise<Subject>;
}

/** Loads models when their turn comes, and frees the one before. */
export class SubjectList implements Subjects {
  #held: { readonly index: number; readonly subject: Subject } | undefined;

  constructor(
    private readonly sources: readonly ModelSource[],
    private readonly load: (source: ModelSource) => Promise<HookedModel> = loadModel,
  ) {}

  get count(): number {
    return this.sources.length;
  }

  async at(index: number): Promise<Subject> {
    if (this.#held?.index !== index) {
      this.destroy();
      this.#held = { index, subject: await this.#open(this.sources[index] as ModelSource) };
    }
    return this.#held.subject;
  }

  async #open(source: ModelSource): Promise<Subject> {
    const model = await this.load(source);
    try {
      return { model, vocabulary: model.tokenizer ? undefined : await vocabularyOf(source) };
    } catch (error) {
      model.destroy();
      throw error;
    }
  }

  /** Frees the model that is in memory. */
  destroy(): void {
    this.#held?.subject.model.destroy();
    this.#held = undefined;
  }

  [Symbol.dispose](): void {
    this.destroy();
  }
}

/** What stands in the `vocab.json` beside a model. */
async function vocabularyOf(source: ModelSource): Promise<Vocabulary | undefined> {
  const checkpoint = await openModelSource(source);
  try {
    const json = await checkpoint.readJson("vocab.json");
    return json === undefined ? undefined : Vocabulary.fromJson(json);
  } finally {
    await checkpoint.close();
  }
}
