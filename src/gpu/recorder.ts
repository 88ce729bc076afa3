/**
 * Records dispatches and runs them as one command encoder, one compute pass and one submit.
 *
 * Recording only builds a list; nothing touches the GPU before `submit`. So all missing pipelines are compiled in parallel,
 * all parameters are uploaded with one write, and the number of dispatches is known before they run.
 */
import { abortable } from "../abort.ts";
import { GpuError } from "../errors.ts";
import { type Command, encodeCommands, PARAM_STRIDE, writeParam } from "./commands.ts";
import type { Work } from "./counters.ts";
import type { Gpu } from "./gpu.ts";
import { type Constants, type Kernel, pipelineKey } from "./kernel.ts";
import type { Pipeline } from "./pipelines.ts";
import { Program } from "./program.ts";
import { Readback } from "./readback.ts";
import {
  type Cut,
  type HostStep,
  runStretches,
  type Streamed,
  type Stretch,
  streamedIn,
  stretchesOf,
} from "./submission.ts";
import { destroyedError, Tensor } from "./tensor.ts";
import { UNIFORM_AND_COPY_DST } from "./usage.ts";

/** A buffer, or the part of it from byte `offset` (a multiple of 256) with `size` bytes. */
export interface BufferSlice {
  readonly buffer: GPUBuffer;
  readonly offset?: number;
  readonly size?: number;
  /** Whether its memory is another's by now, of a tensor. */
  readonly destroyed?: boolean;
  /** Of weights that are there for a while only. */
  readonly streamed?: Streamed;
}

/** What a recording uses and others may destroy before it is submitted: a model, a cache. */
export interface Needed {
  /** @throws SuperlensError when it was destroyed. */
  assertAlive(): void;
}

export interface Dispatch<Param extends string, Binding extends string> {
  params: Readonly<Record<Param, number>>;
  /** One for each of the kernel's bindings, by name. */
  buffers: Readonly<Record<Binding, BufferSlice>>;
  /** Workgroups; a grid longer in x than the device allows is folded into y by the caller (see `foldGrid`). */
  workgroups: readonly [number, number?, number?];
  constants?: Constants;
  /** What it does, for `gpu.counters`. */
  work?: Partial<Work>;
}

/** How the operations of a recording are computed. */
export interface RecorderOptions {
  /** `reference`: each by its definition, slow and right by inspection. Default: by the fastest kernels known. */
  kernels?: "reference" | undefined;
}

interface Recorded {
  kernel: Kernel;
  /** Of its pipeline. */
  key: string;
  /** There once it is compiled. */
  pipeline: Pipeline | undefined;
  constants: Constants;
  params: Readonly<Record<string, number>>;
  buffers: Readonly<Record<string, BufferSlice>>;
  workgroups: readonly [number, number, number];
  work: Partial<Work> | undefined;
}

const NO_CONSTANTS: Constants = {};

export class Recorder {
  #ops: Recorded[] = [];
  /** Where the submission is split. */
  #cuts: Cut[] = [];
  /** What the ops recorded last read. */
  #streamed: Streamed | undefined;
  #uploadBuffers: GPUBuffer[] = [];
  #uploads: { buffer: GPUBuffer; data: Uint32Array | Float32Array }[] = [];
  #readbacks: Readback[] = [];
  #needed = new Set<Needed>();
  /** Buffers taken from the pool. */
  #acquired: GPUBuffer[] = [];
  /** Those of them that hold a live temporary. */
  #temporaries = new Set<GPUBuffer>();
  /** Released temporaries by size. They stay with this recorder until it is done: another one's work may run in between. */
  #released = new Map<number, GPUBuffer[]>();

  /** Which kernels a `KernelFamily` gives this recording. */
  readonly kernels: "reference" | undefined;

  constructor(
    readonly gpu: Gpu,
    readonly label: string,
    { kernels }: RecorderOptions = {},
  ) {
    this.kernels = kernels;
  }

  /** Records with `body` and submits; whatever fails, the temporaries are given back. `signal` as in `submit`. */
  static async run<T>(
    gpu: Gpu,
    label: string,
    body: (recorder: Recorder) => T,
    { signal, ...options }: RecorderOptions & { signal?: AbortSignal | undefined } = {},
  ): Promise<T> {
    const recorder = new Recorder(gpu, label, options);
    try {
      const result = body(recorder);
      await recorder.submit(signal);
      return result;
    } finally {
      recorder.discard();
    }
  }

  /** Dispatches recorded so far. */
  get dispatches(): number {
    return this.#ops.length;
  }

  /** Bytes of the temporaries that it holds. */
  get temporaryBytes(): number {
    return this.#acquired.reduce((sum, { size }) => sum + size, 0);
  }

  /** A temporary tensor, good until `release` or the end of the submission. Contents undefined. */
  temp(...shape: number[]): Tensor {
    const bytes = 4 * shape.reduce((product, size) => product * size, 1);
    const buffer = this.#released.get(this.gpu.pool.sizeFor(bytes))?.pop() ?? this.#acquire(bytes);
    this.#temporaries.add(buffer);
    return new Tensor(this.gpu, buffer, shape);
  }

  #acquire(bytes: number): GPUBuffer {
    const buffer = this.gpu.pool.acquire(bytes);
    this.#acquired.push(buffer);
    return buffer;
  }

  /** Lets later ops reuse a temporary's memory. */
  release({ buffer }: Tensor): void {
    if (!this.#temporaries.delete(buffer)) return;
    const shelf = this.#released.get(buffer.size);
    if (shelf) shelf.push(buffer);
    else this.#released.set(buffer.size, [buffer]);
  }

  /** A temporary filled from the host before the first op of this submission runs. */
  upload(data: Uint32Array | Float32Array): Tensor {
    // Never from the pool while recording: the write happens before ops that may still use it.
    const buffer = this.gpu.uploads.acquire(data.byteLength);
    this.#uploadBuffers.push(buffer);
    this.#uploads.push({ buffer, data });
    return new Tensor(this.gpu, buffer, [data.length], data instanceof Uint32Array ? "u32" : "f32");
  }

  dispatch<Param extends string, Binding extends string>(
    kernel: Kernel<Param, Binding>,
    call: Dispatch<NoInfer<Param>, NoInfer<Binding>>,
  ): void {
    const constants = call.constants ?? NO_CONSTANTS;
    const [x, y = 1, z = 1] = call.workgroups;
    if (x === 0 || y === 0 || z === 0) return;
    this.#bring(call.buffers);
    this.#ops.push({
      kernel,
      key: pipelineKey(kernel, constants),
      pipeline: undefined,
      constants,
      params: call.params,
      buffers: call.buffers,
      workgroups: [x, y, z],
      work: call.work,
    });
  }

  /** Splits the submission where ops begin to read other streamed weights than those before. */
  #bring(buffers: Readonly<Record<string, BufferSlice>>): void {
    const streamed = streamedIn(buffers);
    if (streamed === undefined || streamed === this.#streamed) return;
    this.#streamed = streamed;
    this.#cuts.push({ before: this.#ops.length, streamed });
  }

  /** Refuses to submit once `resource` was destroyed: its buffers may be another's by then. */
  needs(resource: Needed): void {
    this.#needed.add(resource);
  }

  /** Runs `step` on the host between the ops before and after it; the submission is split there. An aborted one writes nothing. */
  host(step: HostStep): void {
    this.#cuts.push({ before: this.#ops.length, host: step });
  }

  /**
   * Copies a tensor to the host at the end of the same submission; the bytes are there when `submit` has resolved. May
   * be a temporary.
   */
  readback(tensor: Tensor): Readback {
    const readback = new Readback(this.gpu, tensor.buffer, 0, tensor.length * 4);
    this.#readbacks.push(readback);
    return readback;
  }

  /**
   * Runs everything recorded and gives the temporaries back. It resolves when the work is submitted, not when it has run. With
   * a `readback`, it resolves when that has arrived.
   *
   * An aborted signal ends the wait with its reason. Compiling goes on, since the kernel may be needed later. Submitted work
   * still runs, before anything that is submitted later. A host step may go on, but it writes only while somebody waits for
   * it. So the buffers may be given back at once.
   */
  submit(signal?: AbortSignal | undefined): Promise<void> {
    return Recorder.submitTogether([this], signal);
  }

  /** The same for several recordings that do not depend on each other: stretch by stretch where they read streamed weights. */
  static async submitTogether(recorders: readonly Recorder[], signal?: AbortSignal | undefined): Promise<void> {
    await abortable(Promise.all(recorders.map((recorder) => recorder.#compileMissing())), signal);
    await runStretches(
      recorders.map((recorder) => recorder.#stretches()),
      signal,
    );
    for (const recorder of recorders) recorder.discard();
  }

  #stretches(): Stretch[] {
    return stretchesOf(this.#cuts, this.#ops.length).map(({ first, end, isLast, streamed, host }) => {
      const ops = first === 0 && isLast ? this.#ops : this.#ops.slice(first, end);
      const readbacks = isLast ? this.#readbacks : [];
      const work = async () => {
        this.#encode(ops, readbacks);
        await Promise.all(readbacks.map((readback) => readback.finish()));
      };
      return { streamed, host, submit: () => this.gpu.guard(this.label, work) };
    });
  }

  /** Gives the temporaries back; what was recorded and not submitted is dropped. */
  discard(): void {
    // Last taken, first returned: the same recording then gets the same buffers again, and finds its bind groups.
    for (const buffer of this.#acquired.reverse()) this.gpu.pool.release(buffer);
    for (const buffer of this.#uploadBuffers.reverse()) this.gpu.uploads.release(buffer);
    this.#acquired = [];
    this.#temporaries.clear();
    this.#released.clear();
    this.#uploadBuffers = [];
    this.#uploads = [];
    this.#ops = [];
    this.#cuts = [];
    this.#streamed = undefined;
    this.#readbacks = [];
    this.#needed.clear();
  }

  /** Gives each op its pipeline, and compiles those that are not there yet, all at once. */
  async #compileMissing(): Promise<void> {
    const { pipelines } = this.gpu;
    const missing = new Map<string, Recorded[]>();
    for (const op of this.#ops) {
      op.pipeline = pipelines.ready(op.kernel, op.key);
      if (op.pipeline) continue;
      const same = missing.get(op.key);
      if (same) same.push(op);
      else missing.set(op.key, [op]);
    }
    if (missing.size === 0) return;
    const compile = async ([key, ops]: [string, Recorded[]]) => {
      const { kernel, constants } = ops[0] as Recorded;
      const pipeline = await pipelines.compile(key, kernel, constants);
      for (const op of ops) op.pipeline = pipeline;
    };
    try {
      await Promise.all([...missing].map(compile));
    } catch (error) {
      throw await this.gpu.core.causeOf(error);
    }
  }

  /**
   * Makes a program of what was recorded: the same dispatches on the same buffers, to be run again and again. It takes
   * over temporaries and uploads; what was uploaded is written now, once. `signal` as in `submit`.
   */
  async keep(signal?: AbortSignal | undefined): Promise<Program> {
    if (this.#cuts.length > 0 || this.#readbacks.length > 0) {
      const reason = "reads on the host or streams weights";
      throw new GpuError("gpu/program", `${this.label} ${reason}, so it cannot be kept as a program.`);
    }
    await abortable(this.#compileMissing(), signal);
    const { gpu } = this;
    const params = gpu.buffers.create(this.#ops.length * PARAM_STRIDE, UNIFORM_AND_COPY_DST, "parameters of a program");
    const commands = this.#commands(this.#ops, params);
    this.#writeUploads();
    const [temporaries, uploads] = [this.#acquired.splice(0), this.#uploadBuffers.splice(0)];
    const program = new Program(gpu, this.label, commands, { params, temporaries, uploads });
    this.discard();
    return program;
  }

  #encode(ops: readonly Recorded[], readbacks: readonly Readback[]): void {
    const { gpu } = this;
    const commands = this.#commands(ops, gpu.paramArena(ops.length * PARAM_STRIDE));
    this.#writeUploads();
    const encoder = gpu.device.createCommandEncoder({ label: this.label });
    encodeCommands(gpu, encoder, this.label, commands);
    for (const readback of readbacks) readback.encode(encoder);
    gpu.device.queue.submit([encoder.finish()]);
    gpu.counters.submits += 1;
  }

  #writeUploads(): void {
    for (const { buffer, data } of this.#uploads.splice(0))
      this.gpu.device.queue.writeBuffer(buffer, 0, data as Float32Array<ArrayBuffer>);
  }

  /** Writes the parameters of all ops into `arena` and resolves pipelines and bind groups. */
  #commands(ops: readonly Recorded[], arena: GPUBuffer): Command[] {
    const { gpu } = this;
    for (const resource of this.#needed) resource.assertAlive();
    const bytes = new ArrayBuffer(ops.length * PARAM_STRIDE);
    const view = new DataView(bytes);
    ops.forEach((op, index) => {
      let at = index * PARAM_STRIDE;
      for (const name in op.kernel.params) {
        writeParam(view, at, op.kernel.params[name] as string, op.params[name] as number);
        at += 4;
      }
    });
    gpu.device.queue.writeBuffer(arena, 0, bytes);
    return ops.map((op, index) => {
      const pipeline = op.pipeline as Pipeline;
      return {
        name: op.kernel.name,
        pipeline: pipeline.pipeline,
        params: this.#paramsGroup(arena, index * PARAM_STRIDE),
        buffers: this.#buffersGroup(op, pipeline),
        workgroups: op.workgroups,
        work: op.work,
      };
    });
  }

  #paramsGroup(arena: GPUBuffer, offset: number): GPUBindGroup {
    const { pipelines, bindGroups, buffers } = this.gpu;
    const id = buffers.idOf(arena);
    const entries = () => [{ binding: 0, resource: { buffer: arena, offset, size: PARAM_STRIDE } }];
    return bindGroups.get(pipelines.paramsLayout, [id], entries, `params:${id}@${offset}`);
  }

  #buffersGroup(op: Recorded, pipeline: Pipeline): GPUBindGroup {
    const { gpu } = this;
    const slices = slicesOf(op);
    const limit = gpu.limits.maxStorageBufferBindingSize;
    for (const { buffer, size = buffer.size, destroyed } of slices) {
      if (destroyed) throw destroyedError(buffer, `${this.label} was still to run with it; destroy it later`);
      if (size <= limit) continue;
      throw new GpuError(
        "gpu/binding-limit",
        `Kernel ${op.kernel.name} binds ${size} bytes of ${buffer.label}; this adapter binds at most ${limit}. Run fewer rows or positions at once.`,
      );
    }
    const ids: number[] = [];
    let key = pipeline.layoutId;
    for (const { buffer, offset = 0, size = 0 } of slices) {
      const id = gpu.buffers.idOf(buffer);
      ids.push(id);
      key += `,${id}@${offset}+${size}`;
    }
    const entries = () =>
      slices.map(({ buffer, offset, size }, binding) => ({ binding, resource: { buffer, offset, size } }));
    return gpu.bindGroups.get(pipeline.layout, ids, entries as () => GPUBindGroupEntry[], key);
  }
}

/** A dispatch's buffers in the order of its kernel's bindings. */
function slicesOf({ kernel: { name, bindingNames }, buffers }: Recorded): BufferSlice[] {
  return bindingNames.map((binding) => {
    const slice = buffers[binding];
    if (slice) return slice;
    const given = Object.keys(buffers).join(", ") || "none";
    throw new GpuError(
      "gpu/binding",
      `Kernel ${name} has no buffer for ${binding}; it was given ${given}. Name one for each of ${bindingNames.join(", ")}.`,
    );
  });
}

/** Spreads `groups` workgroups over x and y when x alone would exceed the device's limit; kernels recompute the index. */
export function foldGrid(gpu: Gpu, groups: number): [number, number] {
  const limit = gpu.limits.maxComputeWorkgroupsPerDimension;
  const rows = Math.ceil(groups / limit);
  return [Math.ceil(groups / rows), rows];
}
