/**
 * Kernels: WGSL with a declared interface, compiled once per set of override constants.
 *
 * Group 0 is always the kernel's parameters, a uniform struct in an arena that all dispatches of a submission share; group
 * 1 is its storage buffers in the order of `bindings`. Declaring the interface here rather than deriving it
 * (`layout: "auto"`) lets kernels share layouts and makes a wrong call fail with the kernel's name.
 *
 * Each place in an arena has a bind group of its own, since a dynamic offset in its stead doubles the price of a dispatch on
 * lavapipe: 76 against 40 us (Dawn), 70 against 37 (wgpu); on SwiftShader both take 17.
 */
import { GpuError } from "../errors.ts";
import { type Tile, withTile } from "./unroll.ts";

export type Access = "read" | "write";
export type ParamType = "u32" | "i32" | "f32";

export interface Kernel<Param extends string = string> {
  readonly name: string;
  /** WGSL, whole. */
  readonly code: string;
  readonly entryPoint: string;
  readonly bindings: readonly Access[];
  /** The fields of the WGSL `Params` struct, in order; scalars only. */
  readonly params: Readonly<Record<Param, ParamType>>;
}

/** A kernel from its WGSL, the parts in order, and constants (see `unroll.ts`); the name must tell them apart. */
export function defineKernel<const Param extends string>(
  kernel: Omit<Kernel<Param>, "entryPoint" | "code"> & {
    sources: string | readonly string[];
    entryPoint?: string;
    tile?: Tile;
    sizes?: Tile;
  },
): Kernel<Param> {
  const { sources, entryPoint = "main", tile = {}, sizes = {}, ...rest } = kernel;
  return { ...rest, entryPoint, code: withTile([sources].flat().join("\n"), tile, sizes) };
}

export type Constants = Readonly<Record<string, number>>;

export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  /** Of the storage buffers. */
  readonly layout: GPUBindGroupLayout;
  /** Number that stands for the layout in bind group keys. */
  readonly layoutId: string;
}

const COMPUTE_STAGE = 0x4;

export class PipelineCache {
  #pipelines = new Map<string, Promise<Pipeline>>();
  #ready = new Map<string, Pipeline>();
  #modules = new Map<string, GPUShaderModule>();
  #layouts = new Map<string, GPUBindGroupLayout>();
  #bindGroups = new Map<string, { group: GPUBindGroup; bufferIds: readonly number[] }>();
  #keysOfBuffer = new Map<number, Set<string>>();
  readonly paramsLayout: GPUBindGroupLayout;

  constructor(private readonly device: GPUDevice) {
    this.paramsLayout = device.createBindGroupLayout({
      label: "layout of parameters",
      entries: [{ binding: 0, visibility: COMPUTE_STAGE, buffer: { type: "uniform" } }],
    });
  }

  static key(kernel: Kernel, constants: Constants): string {
    let key = `${kernel.name}/${kernel.entryPoint}`;
    for (const name in constants) key += `,${name}=${constants[name]}`;
    return key;
  }

  /** The pipeline if it is compiled already. */
  ready(key: string): Pipeline | undefined {
    return this.#ready.get(key);
  }

  /** Resolves when nothing is being compiled. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#pipelines.values());
  }

  /** @throws GpuError `gpu/shader` naming the kernel, the line and the compiler's message. */
  compile(key: string, kernel: Kernel, constants: Constants): Promise<Pipeline> {
    let pending = this.#pipelines.get(key);
    if (!pending) {
      pending = this.#create(kernel, constants);
      this.#pipelines.set(key, pending);
      pending.then(
        (pipeline) => this.#ready.set(key, pipeline),
        () => this.#pipelines.delete(key),
      );
    }
    return pending;
  }

  bindGroup(
    layout: GPUBindGroupLayout,
    bufferIds: readonly number[],
    entries: () => GPUBindGroupEntry[],
    key: string,
  ): GPUBindGroup {
    const known = this.#bindGroups.get(key);
    if (known) return known.group;
    const group = this.device.createBindGroup({ layout, entries: entries() });
    this.#bindGroups.set(key, { group, bufferIds });
    for (const id of bufferIds) {
      const keys = this.#keysOfBuffer.get(id) ?? new Set();
      this.#keysOfBuffer.set(id, keys.add(key));
    }
    return group;
  }

  /** Drops the bind groups that hold a destroyed buffer, and every mention of them. */
  forget(bufferId: number): void {
    for (const key of this.#keysOfBuffer.get(bufferId) ?? []) {
      for (const id of this.#bindGroups.get(key)?.bufferIds ?? []) this.#keysOfBuffer.get(id)?.delete(key);
      this.#bindGroups.delete(key);
    }
    this.#keysOfBuffer.delete(bufferId);
  }

  /** Bind groups kept, and how often buffers are noted to be in one: what grows when something is not forgotten. */
  get held(): { bindGroups: number; mentions: number } {
    const mentions = [...this.#keysOfBuffer.values()].reduce((sum, keys) => sum + keys.size, 0);
    return { bindGroups: this.#bindGroups.size, mentions };
  }

  async #create(kernel: Kernel, constants: Constants): Promise<Pipeline> {
    const module = this.#module(kernel);
    const layoutId = kernel.bindings.map((access) => access[0]).join("");
    const layout = this.#layout(layoutId, kernel.bindings);
    try {
      const pipeline = await this.device.createComputePipelineAsync({
        label: kernel.name,
        layout: this.device.createPipelineLayout({ bindGroupLayouts: [this.paramsLayout, layout] }),
        compute: { module, entryPoint: kernel.entryPoint, constants: constants as Record<string, number> },
      });
      return { pipeline, layout, layoutId };
    } catch (error) {
      throw await shaderError(kernel, module, error);
    }
  }

  #module(kernel: Kernel): GPUShaderModule {
    const { code } = kernel;
    let module = this.#modules.get(code);
    if (!module) {
      // The scope keeps a compile error from becoming an uncaptured one; createComputePipelineAsync reports it.
      this.device.pushErrorScope("validation");
      module = this.device.createShaderModule({ code, label: kernel.name });
      void this.device.popErrorScope().catch(() => null);
      this.#modules.set(code, module);
    }
    return module;
  }

  #layout(id: string, bindings: readonly Access[]): GPUBindGroupLayout {
    let layout = this.#layouts.get(id);
    if (!layout) {
      const entries = bindings.map((access, binding) => ({
        binding,
        visibility: COMPUTE_STAGE,
        buffer: { type: access === "read" ? ("read-only-storage" as const) : ("storage" as const) },
      }));
      layout = this.device.createBindGroupLayout({ label: `layout ${id}`, entries });
      this.#layouts.set(id, layout);
    }
    return layout;
  }
}

async function shaderError(kernel: Kernel, module: GPUShaderModule, cause: unknown): Promise<GpuError> {
  const info = await module.getCompilationInfo().catch(() => undefined);
  const message = info?.messages.find((candidate) => candidate.type === "error");
  const where = message ? `line ${message.lineNum}: ${message.message}` : String(cause);
  const line = message && kernel.code.split("\n")[message.lineNum - 1]?.trim();
  return new GpuError("gpu/shader", `Kernel ${kernel.name} does not compile, ${where}${line ? `\n    ${line}` : ""}`, {
    cause,
  });
}
