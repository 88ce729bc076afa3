/** What figures are made for: models, of which one at a time is in memory. */
import { MODEL } from "../hooks/call.ts";
import { type HookedModel, loadModel } from "../hooks/index.ts";
import { MODEL_SOURCE, type ModelSource, openModelSource } from "../model/load.ts";
import * as s from "../schema/schema.ts";
import { VOCABULARY, Vocabulary } from "./tasks/vocabulary.ts";

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

const SUBJECT = s.object<Subject>("a model and its vocabulary", { model: s.required(MODEL), vocabulary: VOCABULARY });

/** A model, or several by number. */
export const SUBJECTS = s.byForm<Subject | Subjects>("a model and its vocabulary, or a SubjectList", (value) =>
  typeof value === "object" && value !== null && "at" in value ? s.madeObject<Subjects>("models", "count") : SUBJECT,
);

/** The last part of where a model comes from: the name of its folder. */
export const lastPart = (place: string): string => place.split(/[/\\]/).filter(Boolean).at(-1) ?? place;

/** Loads models when their turn comes, and frees the one before. */
export class SubjectList implements Subjects {
  #held: { readonly index: number; readonly subject: Subject } | undefined;

  constructor(
    private readonly sources: readonly ModelSource[],
    private readonly load: (source: ModelSource) => Promise<HookedModel> = loadModel,
  ) {
    s.readArgument(s.list("models", MODEL_SOURCE), sources, "new SubjectList", "sources");
    s.readArgument(s.callback, load, "new SubjectList", "load");
  }

  get count(): number {
    return this.sources.length;
  }

  async at(index: number): Promise<Subject> {
    s.readArgument(s.wholeFrom(0), index, "SubjectList.at", "index");
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

  /** The end of a `using` block. */
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
