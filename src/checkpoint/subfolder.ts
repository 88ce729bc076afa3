/** One folder of a source as a source: a model that lies deeper than the top, with all that belongs to it beside it. */
import type { CheckpointSource } from "./source.ts";

/** The files of `parent` whose names begin with `folder`, which ends with a slash, under what follows it. */
export class SubfolderSource implements CheckpointSource {
  readonly label: string;
  readonly #parent: CheckpointSource;
  readonly #folder: string;

  constructor(parent: CheckpointSource, folder: string) {
    this.#parent = parent;
    this.#folder = folder;
    this.label = `${parent.label.replace(/\/$/, "")}/${folder.slice(0, -1)}`;
  }

  exists(file: string): Promise<boolean> {
    return this.#parent.exists(this.#folder + file);
  }

  size(file: string): Promise<number> {
    return this.#parent.size(this.#folder + file);
  }

  read(file: string, start: number, end: number): Promise<Uint8Array> {
    return this.#parent.read(this.#folder + file, start, end);
  }

  readAll(file: string, maxBytes?: number): Promise<Uint8Array> {
    return this.#parent.readAll(this.#folder + file, maxBytes);
  }

  async renew(file: string): Promise<boolean> {
    return (await this.#parent.renew?.(this.#folder + file)) ?? false;
  }

  async close(): Promise<void> {
    await this.#parent.close?.();
  }
}
