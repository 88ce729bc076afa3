/**
 * Keys and values of past tokens, in slots that sequences share.
 *
 * A slot holds one token's keys and values for every layer and is never written twice. So a fork copies a list of slot
 * numbers and no data. Several answers can continue one prompt, and a sweep's cells can share one base run. A slot is
 * free again when the last sequence that lists it ends.
 */
import { GpuError, InputError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { STORAGE_USAGE } from "../gpu/usage.ts";
import * as s from "../schema/schema.ts";
import type { Architecture } from "./architecture.ts";
import { cacheWidth, type HeadWidths, kvWidthOf } from "./weights/table.ts";

/** What the store must know of the model. */
export type KvShape = HeadWidths & Pick<Architecture, "maxPositions">;

/**
 * The GPU memory behind one or more caches: per layer keys and values [slot, nKvHeads, width], f32, both as wide as attention is. Layers
 * that read those of an earlier one have none.
 */
export class SlotStore {
  keys: GPUBuffer[] = [];
  values: GPUBuffer[] = [];
  capacity = 0;
  #references: number[] = [];
  #free: number[] = [];
  #caches = 0;

  constructor(
    readonly gpu: Gpu,
    readonly shape: KvShape,
    capacity: number,
  ) {
    try {
      this.#resize(capacity);
    } catch (error) {
      this.#giveBack();
      throw error;
    }
  }

  /** Called by each cache that starts. */
  retain(): void {
    this.#caches += 1;
  }

  /** Bytes of the keys of a token, or the values, in each layer. */
  get #slotBytes(): number[] {
    return this.shape.layers.map((_, layer) => 4 * kvWidthOf(this.shape, layer));
  }

  /** Slots of the widest layer that this adapter binds. */
  get #mostSlots(): number {
    return Math.floor(this.#limit / Math.max(...this.#slotBytes));
  }

  /** Bytes of a token. */
  get tokenBytes(): number {
    return 4 * cacheWidth(this.shape);
  }

  /** Tokens that it holds. */
  get used(): number {
    return this.capacity - this.#free.length;
  }

  /** Tokens that it can still take on this adapter. */
  get room(): number {
    return this.#mostSlots - this.used;
  }

  /** Bytes that a layer's keys may take on this adapter, or its values. */
  get #limit(): number {
    const { limits } = this.gpu;
    return Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  }

  /** Slot numbers for `count` tokens; the store doubles when they run out, as far as the adapter allows. */
  take(count: number): number[] {
    if (this.#free.length < count) {
      const needed = this.capacity + count - this.#free.length;
      this.#resize(Math.max(needed, Math.min(2 * this.capacity, this.#mostSlots)));
    }
    const slots = this.#free.splice(this.#free.length - count, count).reverse();
    for (const slot of slots) this.#references[slot] = 1;
    return slots;
  }

  share(slots: readonly number[]): void {
    for (const slot of slots) this.#references[slot] = (this.#references[slot] as number) + 1;
  }

  drop(slots: readonly number[]): void {
    for (const slot of slots) {
      const left = (this.#references[slot] as number) - 1;
      this.#references[slot] = left;
      if (left === 0) this.#free.push(slot);
    }
  }

  /** Called by each cache that ends: the last gives the memory back to the device, which may keep it for another cache. */
  release(): void {
    this.#caches -= 1;
    if (this.#caches > 0) return;
    this.#giveBack();
    this.keys = [];
    this.values = [];
    this.capacity = 0;
    this.#free = [];
  }

  /** Last taken, first returned: the next store of that size then gets the same pairs, and passes find their bind groups. */
  #giveBack(): void {
    for (let layer = this.keys.length - 1; layer >= 0; layer--) {
      for (const buffer of [this.values[layer], this.keys[layer]]) if (buffer) this.gpu.reuseCache.release(buffer);
    }
  }

  #resize(capacity: number): void {
    const { gpu } = this;
    const slots = this.#slotBytes;
    const bytes = capacity * Math.max(...slots);
    if (bytes > this.#limit) {
      throw new GpuError(
        "gpu/out-of-memory",
        `A key-value cache of ${capacity} tokens needs ${bytes} bytes a layer; this adapter binds at most ${this.#limit}. Use fewer or shorter sequences.`,
      );
    }
    const grow = (old: GPUBuffer | undefined, slotBytes: number, label: string) => {
      const buffer = gpu.reuseCache.acquire(capacity * slotBytes, STORAGE_USAGE, label);
      gpu.ledger.handOut(buffer, label);
      if (old) {
        const encoder = gpu.device.createCommandEncoder({ label: "cache growth" });
        encoder.copyBufferToBuffer(old, 0, buffer, 0, this.capacity * slotBytes);
        gpu.device.queue.submit([encoder.finish()]);
        gpu.destroyBuffer(old); // not kept for others: sizes double, so that nobody asks for it again
      }
      return buffer;
    };
    for (const [layer, slotBytes] of slots.entries()) {
      if (slotBytes === 0) continue;
      this.keys[layer] = grow(this.keys[layer], slotBytes, `keys of layer ${layer}`);
      this.values[layer] = grow(this.values[layer], slotBytes, `values of layer ${layer}`);
    }
    for (let slot = capacity - 1; slot >= this.capacity; slot--) this.#free.push(slot);
    this.capacity = capacity;
  }
}

/** What a cache has of its store, and where it was made. */
interface Share {
  readonly store: SlotStore;
  readonly sequences: readonly number[][];
  readonly origin: string | undefined;
}

/**
 * Ends the share of a cache that was collected without destroy(): its slots are for the other forks, and the memory is the
 * device's again after the last.
 */
const forgottenCaches = new FinalizationRegistry<Share>((share) => {
  const { store, sequences, origin } = share;
  const slots = sequences.flat();
  store.gpu.ledger.forgotten({ label: "key-value cache", size: slots.length * store.tokenBytes, origin });
  endShare(share);
});

function endShare({ store, sequences }: Pick<Share, "store" | "sequences">): void {
  store.drop(sequences.flat());
  store.release();
}

/** The past of a batch of sequences. Passed to `forward` or `generate`, it is continued; `fork` branches it. */
export class KvCache {
  #destroyed = false;
  /** Who adds tokens now. A pass's are listed before they are computed, a generation's after. */
  #writer: "pass" | "generation" | undefined;

  private constructor(
    /** The GPU memory, which forks share. */
    readonly store: SlotStore,
    /** Slots of each sequence, in order of position. */
    readonly sequences: number[][],
  ) {
    store.retain();
    const origin = store.gpu.ledger.origin();
    forgottenCaches.register(this, { store, sequences, origin }, this);
  }

  /** What `model.createKvCache` calls. */
  static create(gpu: Gpu, shape: KvShape, sequences: number, capacity: number): KvCache {
    const empty = Array.from({ length: sequences }, (): number[] => []);
    return new KvCache(new SlotStore(gpu, shape, Math.max(1, capacity)), empty);
  }

  /** Tokens held for each sequence. */
  get lengths(): number[] {
    return this.sequences.map((slots) => slots.length);
  }

  /** Whether `destroy()` was called. */
  get destroyed(): boolean {
    return this.#destroyed;
  }

  /**
   * Room for `count` more tokens of a sequence; returns their slots.
   * @throws InputError `input/too-long` beyond the model's positions.
   */
  extend(sequence: number, count: number): number[] {
    this.assertAlive();
    const slots = this.sequences[sequence] as number[];
    assertFits(this.store.shape, sequence, slots.length + count);
    const added = this.store.take(count);
    for (const slot of added) slots.push(slot); // push(...added) overflows the stack at 10^5 tokens
    return added;
  }

  /**
   * Slots for `count` more tokens of a sequence that are not part of it yet: `append` or `giveBack` each of them.
   * @throws InputError `input/too-long` beyond the model's positions.
   */
  reserve(sequence: number, count: number): number[] {
    this.assertAlive();
    assertFits(this.store.shape, sequence, (this.sequences[sequence] as number[]).length + count);
    return this.store.take(count);
  }

  /** Makes a reserved slot the next of a sequence. */
  append(sequence: number, slot: number): void {
    this.assertAlive();
    (this.sequences[sequence] as number[]).push(slot);
  }

  /** Frees reserved slots, also after destroy(): they were not part of a sequence then. */
  giveBack(slots: readonly number[]): void {
    this.store.drop(slots);
  }

  /**
   * Lets `pass` add tokens, and nobody else meanwhile. When it fails, what it added is forgotten.
   * @throws InputError `input/cache-busy`
   */
  async adding<T>(pass: () => Promise<T>): Promise<T> {
    const release = this.claim("pass");
    const before = this.lengths;
    try {
      return await pass();
    } catch (error) {
      release();
      this.restore(before);
      throw error;
    } finally {
      release();
    }
  }

  /** Keeps other writers away until the function it returns is called. @throws InputError `input/cache-busy` */
  claim(writer: "pass" | "generation"): () => void {
    this.assertIdle();
    this.#writer = writer;
    return () => {
      this.#writer = undefined;
    };
  }

  /** @throws InputError `input/cache-busy`, `input/cache-destroyed` */
  assertIdle(): void {
    this.assertAlive();
    if (this.#writer === undefined) return;
    throw new InputError(
      "input/cache-busy",
      this.#writer === "pass"
        ? "A pass that has not ended fills this key-value cache. Await the pass that uses it first."
        : "A generation that has not ended adds to this key-value cache. End it first (break, or return() of the iterator), or use a fork of the cache.",
    );
  }

  /** Forgets all but the first `length` tokens of a sequence. @throws InputError `input/cache-busy` while it is added to. */
  truncate(sequence: number, length: number): void {
    this.assertIdle();
    this.#checkSequence(sequence);
    const held = (this.sequences[sequence] as number[]).length;
    if (!Number.isInteger(length) || length < 0 || length > held) {
      throw new InputError(
        "input/cache-length",
        `Sequence ${sequence} of the cache holds ${held} tokens; it cannot be truncated to ${String(length)}. Give a whole number from 0 to ${held}.`,
      );
    }
    this.store.drop((this.sequences[sequence] as number[]).splice(length));
  }

  /** Forgets what was added since its lengths were these. One that was destroyed meanwhile has nothing left to forget. */
  restore(lengths: readonly number[]): void {
    if (this.#destroyed) return;
    for (const [sequence, length] of lengths.entries()) this.truncate(sequence, length);
  }

  /**
   * A cache of its own that shares every token so far; `picks` names the sequence each new one continues.
   * @throws InputError `input/cache-busy` while a pass fills it; at a step of a generation it may be forked.
   */
  fork(picks: s.Indices = this.sequences.map((_, index) => index)): KvCache {
    if (this.#writer === "generation") this.assertAlive();
    else this.assertIdle();
    const sequences = s.readArgument(s.indices, picks, "fork", "picks").map((pick) => {
      this.#checkSequence(pick);
      return [...(this.sequences[pick] as number[])];
    });
    for (const slots of sequences) this.store.share(slots);
    return new KvCache(this.store, sequences);
  }

  /** @throws InputError `input/no-sequence` */
  #checkSequence(sequence: number): void {
    if (this.sequences[sequence] !== undefined && Number.isInteger(sequence)) return;
    throw new InputError(
      "input/no-sequence",
      `The cache has ${this.sequences.length} sequences; there is no number ${String(sequence)}.`,
    );
  }

  /** @throws InputError `input/cache-destroyed` */
  assertAlive(): void {
    if (this.#destroyed)
      throw new InputError("input/cache-destroyed", "This key-value cache was destroyed. Create or fork a new one.");
  }

  /** Gives the slots back, and the memory to the device when no fork uses it any more. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    forgottenCaches.unregister(this);
    endShare(this);
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}

/** @throws InputError `input/too-long` when the model has fewer positions than a sequence would have tokens. */
export function assertFits({ maxPositions }: Pick<KvShape, "maxPositions">, sequence: number, length: number): void {
  if (length <= maxPositions) return;
  throw new InputError(
    "input/too-long",
    `Sequence ${sequence} would have ${length} tokens; the model has positions for ${maxPositions}. Shorten the prompt or generate fewer tokens.`,
  );
}
