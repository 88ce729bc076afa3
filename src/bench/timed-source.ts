/** A source that knows how long its weights took to fetch, so that loading divides into reading and the rest. */
import type { CheckpointSource } from "../checkpoint/index.ts";

export class TimedSource implements CheckpointSource {
  /** Milliseconds in `read`. */
  readMs = 0;
  bytes = 0;

  constructor(private readonly source: CheckpointSource) {}

  get label(): string {
    return this.source.label;
  }

  async read(file: string, start: number, end: number): Promise<Uint8Array> {
    const started = performance.now();
    const bytes = await this.source.read(file, start, end);
    this.readMs += performance.now() - started;
    this.bytes += bytes.byteLength;
    return bytes;
  }

  async list(): Promise<string[]> {
    return (await this.source.list?.()) ?? [];
  }

  exists(file: string): Promise<boolean> {
    return this.source.exists(file);
  }

  size(file: string): Promise<number> {
    return this.source.size(file);
  }

  readAll(file: string, maxBytes?: number): Promise<Uint8Array> {
    return this.source.readAll(file, maxBytes);
  }

  async renew(file: string): Promise<boolean> {
    return (await this.source.renew?.(file)) ?? false;
  }

  async close(): Promise<void> {
    await this.source.close?.();
  }
}
