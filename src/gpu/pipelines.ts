/**
 * Compiled kernels. A pipeline is found by what it was compiled from (`pipelineKey`), never by a kernel's name.
 *
 * The kernels of this project are few, and their pipelines are kept. There may be any number of kernels made from a user's
 * expressions (`transient`), so only the last used are kept. Recordings and programs hold the pipelines that they need, so a
 * pipeline that leaves this cache costs at most compiling it again.
 */
import { GpuError } from "../errors.ts";
import type { Access, Constants, Kernel } from "./kernel.ts";
import { RecentMap } from "./recent.ts";

export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  /** Of the storage buffers. */
  readonly layout: GPUBindGroupLayout;
  /** Number that stands for the layout in bind group keys. */
  readonly layoutId: string;
}

/** Transient pipelines that are kept, and modules. */
export const MOST_TRANSIENT = 64;

const COMPUTE_STAGE = 0x4;

/** What both kinds of map have. */
interface Kept<Value> {
  readonly size: number;
  get(key: string): Value | undefined;
  set(key: string, value: Value): void;
}

/** Pipelines by key, and modules by code, of one kind of kernel. */
interface Shelf {
  readonly pipelines: Kept<Pipeline>;
  readonly modules: Kept<GPUShaderModule>;
}

export class PipelineCache {
  #lasting: Shelf = { pipelines: new Map(), modules: new Map() };
  #transient: Shelf = { pipelines: new RecentMap(MOST_TRANSIENT), modules: new RecentMap(MOST_TRANSIENT) };
  #pending = new Map<string, Promise<Pipeline>>();
  #layouts = new Map<string, GPUBindGroupLayout>();
  readonly paramsLayout: GPUBindGroupLayout;

  constructor(private readonly device: GPUDevice) {
    this.paramsLayout = device.createBindGroupLayout({
      label: "layout of parameters",
      entries: [{ binding: 0, visibility: COMPUTE_STAGE, buffer: { type: "uniform" } }],
    });
  }

  /** The pipeline if it is compiled already. */
  ready(kernel: Kernel, key: string): Pipeline | undefined {
    return this.#shelf(kernel).pipelines.get(key);
  }

  #shelf(kernel: Kernel): Shelf {
    return kernel.transient ? this.#transient : this.#lasting;
  }

  /** Resolves when nothing is being compiled. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#pending.values());
  }

  /** @throws GpuError `gpu/shader` naming the kernel, the line and the compiler's message. */
  compile(key: string, kernel: Kernel, constants: Constants): Promise<Pipeline> {
    let pending = this.#pending.get(key);
    if (!pending) {
      pending = this.#create(kernel, constants);
      this.#pending.set(key, pending);
      const done = () => this.#pending.delete(key);
      pending.then((pipeline) => this.#shelf(kernel).pipelines.set(key, pipeline)).then(done, done);
    }
    return pending;
  }

  /** How many pipelines and modules are kept, and how many of them are transient. */
  get held(): { pipelines: number; modules: number; transientPipelines: number; transientModules: number } {
    const [lasting, transient] = [this.#lasting, this.#transient];
    return {
      pipelines: lasting.pipelines.size + transient.pipelines.size,
      modules: lasting.modules.size + transient.modules.size,
      transientPipelines: transient.pipelines.size,
      transientModules: transient.modules.size,
    };
  }

  async #create(kernel: Kernel, constants: Constants): Promise<Pipeline> {
    const module = this.#module(kernel);
    const access = Object.values(kernel.bindings);
    const layoutId = access.map(([first]) => first).join("");
    const layout = this.#layout(layoutId, access);
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
    const { modules } = this.#shelf(kernel);
    let module = modules.get(code);
    if (!module) {
      // The scope keeps a compile error from becoming an uncaptured one; createComputePipelineAsync reports it.
      this.device.pushErrorScope("validation");
      module = this.device.createShaderModule({ code, label: kernel.name });
      void this.device.popErrorScope().catch(() => null);
      modules.set(code, module);
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
  const parts = [`Kernel ${kernel.name} does not compile, ${where}`, line && `    ${line}`, kernel.hint];
  return new GpuError("gpu/shader", parts.filter(Boolean).join("\n"), { cause });
}
