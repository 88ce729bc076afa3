/** Where the files of a run are: a folder on Node and Deno (`store-folder.node.ts`), memory in a page. */
export interface RunStore {
  /** For messages. */
  readonly label: string;
  /** Undefined if there is no such file. @throws PaperError `paper/storage` */
  read(name: string): Promise<string | undefined>;
  /** Writes a file whole or not at all. @throws PaperError `paper/storage` */
  write(name: string, text: string): Promise<void>;
}

/** Keeps the files of a run as long as the program runs. */
export class MemoryStore implements RunStore {
  readonly label = "memory";
  readonly files = new Map<string, string>();

  async read(name: string): Promise<string | undefined> {
    return this.files.get(name);
  }

  async write(name: string, text: string): Promise<void> {
    this.files.set(name, text);
  }
}
