/**
 * The ledger of a device's memory: which buffers are alive, what each is for, and which of them nobody holds any more.
 *
 * It does three things:
 *
 * * **Forgotten results are freed.** A `FinalizationRegistry` watches every buffer itself, not the objects around it. Everything
 *   that could still use the memory (a tensor, a view, a fork, an edit) holds the buffer, so none is freed too early. Bind
 *   groups would keep a collected buffer's memory, so they are dropped then. The first time, a notice says so.
 * * **The collector runs in time.** It does not see GPU memory, so it is made to run (`collect.ts`) when buffers have grown
 *   by half since its last run, or by 128 MB or 2,048 buffers if that is more. This is a collector's own policy, for memory that
 *   it cannot see.
 * * **Running out is an error, not a dead process.** A software adapter's buffers are the process's own memory, with lavapipe one
 *   mapping each. The system kills a process that takes too much of either. Before that, making a buffer is refused.
 */
import { GpuError } from "../errors.ts";
import { collectGarbage } from "./collect.ts";
import type { MemoryLeft } from "./host.ts";
import { originOf } from "./origin.ts";

/** What is known of one buffer. Holds neither the buffer nor the device. */
interface Entry {
  readonly id: number;
  readonly size: number;
  label: string;
  /** Whether someone was given it as a result; not so buffers of the engine and those kept for reuse. */
  isResult: boolean;
  /** Where it was made, of some. */
  origin: string | undefined;
}

/** Growth since the last collection that calls for another, at least. */
const COLLECT_AFTER = { bytes: 128 << 20, buffers: 2048 };
/** Results alive after a collection that are worth a notice; the next at twice what there was. */
const NOTICE_AT = { bytes: 512 << 20, buffers: 16384 };
/** Buffers and bytes made between two looks at what the process has left, at least. */
const LOOK_AFTER = { bytes: 16 << 20, buffers: 256 };
/** The first origins are noted, and of the rest one in so many: a stack trace costs 50 us. */
const FIRST_ORIGINS = 64;
const ORIGINS_EVERY = 64;
const GROUPS_NAMED = 4;

/** How much memory calls for the next collection, when so much is alive after one. */
function nextCollection({ bytes, buffers }: { bytes: number; buffers: number }): { bytes: number; buffers: number } {
  return {
    bytes: bytes + Math.max(COLLECT_AFTER.bytes, bytes / 2),
    buffers: buffers + Math.max(COLLECT_AFTER.buffers, buffers / 2),
  };
}

/** What the books need. */
export interface Books {
  /** Drops what holds a collected buffer's memory. */
  forget(id: number): void;
  /** Frees buffers that are kept for reuse. */
  trim(): void;
  notice(message: string): void;
  /** Of a software adapter: what the process has left. */
  memoryLeft: (() => MemoryLeft) | undefined;
}

export class Ledger {
  /** Bytes and buffers alive now. */
  readonly memory = { bytes: 0, buffers: 0 };
  #entries = new WeakMap<GPUBuffer, Entry>();
  #alive = new Set<Entry>();
  #registry = new FinalizationRegistry<Entry>((entry) => this.#collected(entry));
  #origins = 0;
  #isSamePass = false;
  #passOrigin: string | undefined;
  #collectAt = { ...COLLECT_AFTER };
  #noticeAt = { ...NOTICE_AT };
  #lookAt = { bytes: 0, buffers: 0 };
  #isCollecting = false;
  #forgotten: Forgotten[] = [];
  #hasReported = false;
  #isClosed = false;

  constructor(private readonly device: Books) {}

  /** @throws GpuError `gpu/out-of-memory` when the process has no room for another buffer of that size. */
  admit(size: number, label: string): void {
    if (this.#isClosed) return;
    if (isBeyond(this.memory, this.#collectAt)) void this.#collect();
    if (!isBeyond(this.memory, this.#lookAt) || this.#hasRoom(size)) return;
    this.device.trim();
    if (this.#hasRoom(size)) return;
    void this.#collect();
    throw new GpuError(
      "gpu/out-of-memory",
      `The process has no room for ${label} (${size} bytes) beside ${this.#summary()}. Call destroy() on results you no longer need, or declare them with \`using\`; those that nobody holds are being freed, so that the same call may work a moment later.`,
    );
  }

  #hasRoom(size: number): boolean {
    const left = this.device.memoryLeft?.();
    if (left && (left.bytes < size || left.buffers < 1)) return false;
    const { bytes, buffers } = this.memory;
    this.#lookAt = left
      ? {
          bytes: bytes + Math.max(LOOK_AFTER.bytes, left.bytes / 4),
          buffers: buffers + Math.max(LOOK_AFTER.buffers, left.buffers / 4),
        }
      : { bytes: Number.POSITIVE_INFINITY, buffers: Number.POSITIVE_INFINITY };
    return true;
  }

  /** A buffer was made. */
  add(buffer: GPUBuffer, id: number, label: string): void {
    const entry: Entry = { id, size: buffer.size, label, isResult: false, origin: undefined };
    this.#entries.set(buffer, entry);
    this.#alive.add(entry);
    this.#registry.register(buffer, entry, entry);
    this.memory.bytes += entry.size;
    this.memory.buffers += 1;
  }

  /** A buffer is about to be destroyed; false when it was before. */
  remove(buffer: GPUBuffer): boolean {
    const entry = this.#entries.get(buffer);
    if (!entry) return false;
    this.#entries.delete(buffer);
    this.#registry.unregister(entry);
    this.#drop(entry);
    return true;
  }

  #drop(entry: Entry): void {
    this.#alive.delete(entry);
    this.memory.bytes -= entry.size;
    this.memory.buffers -= 1;
  }

  /** Someone gets a buffer as a result, or as the memory of one. */
  handOut(buffer: GPUBuffer, label: string, origin?: string): void {
    const entry = this.#entries.get(buffer);
    if (!entry) return;
    entry.label = label;
    entry.isResult = true;
    entry.origin = origin;
  }

  /** A buffer is no result any more, or never was: it is kept for the next, or belongs to a model. */
  takeBack(buffer: GPUBuffer): void {
    const entry = this.#entries.get(buffer);
    if (!entry) return;
    entry.isResult = false;
    entry.origin = undefined;
  }

  /** Where something is being made, of some. */
  origin(): string | undefined {
    const before = this.#origins++;
    return before < FIRST_ORIGINS || before % ORIGINS_EVERY === 0 ? originOf() : undefined;
  }

  /** The same for what one pass makes, which is much and made without a pause: one origin for all of it. */
  originOfPass(): string | undefined {
    if (!this.#isSamePass) {
      this.#isSamePass = true;
      queueMicrotask(() => {
        this.#isSamePass = false;
      });
      this.#passOrigin = this.origin();
    }
    return this.#passOrigin;
  }

  #collected(entry: Entry): void {
    if (this.#isClosed) return;
    this.#drop(entry);
    this.device.forget(entry.id);
    // Finalizers may run long after the collection that found their buffers: it left fewer than were counted at its end.
    const next = nextCollection(this.memory);
    this.#collectAt.bytes = Math.min(this.#collectAt.bytes, next.bytes);
    this.#collectAt.buffers = Math.min(this.#collectAt.buffers, next.buffers);
    if (entry.isResult) this.forgotten(entry);
  }

  /** Something was collected that nobody had destroyed. */
  forgotten(what: Forgotten): void {
    if (this.#hasReported || this.#isClosed) return;
    // The collector finds many at once; one notice is about all of them.
    if (this.#forgotten.length === 0) setTimeout(() => this.#reportForgotten());
    this.#forgotten.push(what);
  }

  #reportForgotten(): void {
    const found = this.#forgotten.splice(0);
    if (this.#isClosed) return;
    this.#hasReported = true;
    const origin = found.find((entry) => entry.origin)?.origin;
    this.device.notice(
      `the garbage collector found ${found.length === 1 ? "one result" : `${found.length} results`} that nobody had destroyed: ${groupsOf(found)}. It finds such results late. Call destroy(), or declare them with \`using\`.${origin ? ` One was made\n${origin}` : ""}`,
    );
  }

  async #collect(): Promise<void> {
    if (this.#isCollecting) return;
    this.#isCollecting = true;
    await collectGarbage();
    this.#isCollecting = false;
    this.#collectAt = nextCollection(this.memory);
    this.#noticeResults();
  }

  /** Says what is alive when results have come to be many. */
  #noticeResults(): void {
    const results = [...this.#alive].filter(({ isResult }) => isResult);
    const held = { bytes: bytesOf(results), buffers: results.length };
    if (this.#isClosed || !isBeyond(held, this.#noticeAt)) return;
    this.#noticeAt = {
      bytes: 2 * Math.max(held.bytes, NOTICE_AT.bytes),
      buffers: 2 * Math.max(held.buffers, NOTICE_AT.buffers),
    };
    this.device.notice(
      `results hold ${this.#summary()}. They stay on the GPU until destroy() or the end of their \`using\` block.`,
    );
  }

  /** What results hold, the largest kinds by name. */
  #summary(): string {
    const results = [...this.#alive].filter(({ isResult }) => isResult);
    const largest = results.filter(({ origin }) => origin).sort((a, b) => b.size - a.size)[0];
    const where = largest ? `; ${largest.label} was made\n${largest.origin}\n` : "";
    return `${sizeOf(bytesOf(results))} in ${results.length === 1 ? "one buffer" : `${results.length} buffers`} (${groupsOf(results)}${where})`;
  }

  /** The device ends: nothing is counted, collected or said any more. */
  close(): void {
    this.#isClosed = true;
  }
}

/** Something that was made for somebody. */
export interface Forgotten {
  label: string;
  size: number;
  origin: string | undefined;
}

interface Amount {
  bytes: number;
  buffers: number;
}

const isBeyond = (amount: Amount, limit: Amount) => amount.bytes >= limit.bytes || amount.buffers >= limit.buffers;

const bytesOf = (entries: readonly { size: number }[]) => entries.reduce((sum, { size }) => sum + size, 0);

const sizeOf = (bytes: number) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** The largest kinds, layers together: `12 blocks.*.hook_z (3.1 MB), 2 logits (0.4 MB) and 7 others`. */
function groupsOf(entries: readonly Forgotten[]): string {
  const groups = new Map<string, { count: number; bytes: number }>();
  for (const { label, size } of entries) {
    const kind = label.replace(/\d+/g, "*");
    const group = groups.get(kind) ?? { count: 0, bytes: 0 };
    groups.set(kind, { count: group.count + 1, bytes: group.bytes + size });
  }
  const sorted = [...groups].sort(([, a], [, b]) => b.bytes - a.bytes);
  const named = sorted.slice(0, GROUPS_NAMED);
  const others = sorted.slice(GROUPS_NAMED).reduce((sum, [, { count }]) => sum + count, 0);
  const texts = named.map(([kind, { count, bytes }]) => `${count} ${kind} (${sizeOf(bytes)})`);
  return texts.join(", ") + (others > 0 ? ` and ${others} others` : "");
}
