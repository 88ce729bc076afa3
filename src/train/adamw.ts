/** AdamW on the GPU: moments beside each weight, the clip of the gradients' norm, and a step that reads nothing back. */
import adamwSource from "../../shaders/adamw.wgsl";
import gradientNormSource from "../../shaders/gradient_norm.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import type { Gpu } from "../gpu/gpu.ts";
import { defineKernel } from "../gpu/kernel.ts";
import { foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { STORAGE_USAGE } from "../gpu/usage.ts";
import { elementGrid, reduceConstants } from "../kernels/launch.ts";
import type { TrainedWeight } from "../model/weights/gradients.ts";
import type { InMemory } from "../model/weights/tensors.ts";
import * as s from "../schema/schema.ts";

function normKernel(entryPoint: "squares" | "total") {
  return defineKernel({
    name: `gradient norm, ${entryPoint}`,
    entryPoint,
    sources: [reduce, gradientNormSource],
    bindings: { x: "read", out: "write" },
    params: { count: "u32", firstPartial: "u32", clip: "f32", step: "f32" },
  });
}

const SQUARES = normKernel("squares");
const TOTAL = normKernel("total");
/** As in the shader. */
const ELEMENTS = 4096;

const ADAMW = defineKernel({
  name: "adamw",
  sources: adamwSource,
  bindings: { norm: "read", weights: "write", gradient: "write", m: "write", v: "write" },
  params: {
    count: "u32",
    lr: "f32",
    decay: "f32",
    beta1: "f32",
    beta2: "f32",
    eps: "f32",
    correction1: "f32",
    rootCorrection2: "f32",
  },
});

/** Settings of AdamW. */
export interface AdamWOptions {
  /** Decay rates of the two moments. Default [0.9, 0.999]. */
  betas?: readonly [number, number];
  /** Added to the root of the second moment. Default 1e-8. */
  eps?: number;
  /** Of matrices, embeddings among them; biases and norms do not decay. Default 0.01. */
  weightDecay?: number;
  /** The norm that all gradients together are cut to; none when absent. */
  clip?: number;
}

const belowOne = s.simple<number>(
  "a number of at least 0 and below 1",
  (value) => typeof value === "number" && value >= 0 && value < 1,
);

export const ADAMW_OPTIONS = s.object<AdamWOptions>("the options of AdamW", {
  betas: s.pair("two numbers", belowOne),
  eps: s.positive,
  weightDecay: s.notNegative,
  clip: s.positive,
});

/** The moments of the gradients, which lie as the weights do. */
type Moment = "m" | "v";

/** A buffer of weights, with all that belongs to it. */
interface Slot {
  readonly weight: GPUBuffer;
  readonly gradient: GPUBuffer;
  readonly m: GPUBuffer;
  readonly v: GPUBuffer;
  readonly count: number;
  /** Whether it is of a matrix, an embedding among them. */
  readonly isMatrix: boolean;
}

export class AdamW {
  readonly #slots: readonly Slot[];
  readonly #moments: Readonly<Record<Moment, InMemory[]>> = { m: [], v: [] };
  readonly #partials: Tensor;
  readonly #norm: Tensor;

  constructor(
    private readonly gpu: Gpu,
    weights: readonly TrainedWeight[],
    private readonly options: AdamWOptions,
  ) {
    this.#slots = weights.flatMap((weight) => this.#slotsOf(weight));
    const partials = this.#slots.reduce((sum, { count }) => sum + Math.ceil(count / ELEMENTS), 0);
    this.#partials = gpu.tensor([partials], "sums of squares");
    this.#norm = gpu.tensor([4], "norm of the gradients");
  }

  #slotsOf({ planned, matrix, buffers, gradients }: TrainedWeight): Slot[] {
    const moment = (name: Moment) => {
      const held = buffers.map(({ size }) => this.gpu.createBuffer(size, STORAGE_USAGE, `moment ${name} of AdamW`));
      this.#moments[name].push({ planned, matrix, buffers: held });
      return held;
    };
    const [m, v] = [moment("m"), moment("v")];
    return matrix.parts.map(({ bytes }, index) => ({
      weight: buffers[index] as GPUBuffer,
      gradient: gradients[index] as GPUBuffer,
      m: m[index] as GPUBuffer,
      v: v[index] as GPUBuffer,
      count: bytes / 4,
      isMatrix: !planned.isVector,
    }));
  }

  /** Of all gradients together in the last step, before it is cut; and the first step where it was not finite. Waits for the GPU. */
  async readNorm(): Promise<{ gradNorm: number; badStep: number | undefined }> {
    const [gradNorm, , badStep] = (await this.#norm.read()) as unknown as [number, number, number];
    return { gradNorm, badStep: badStep === 0 ? undefined : badStep };
  }

  /** The moments in memory, to be kept and restored. */
  moments(name: Moment): readonly InMemory[] {
    return this.#moments[name];
  }

  /** Records step number `step`, from 1: every weight moves, and its gradient is zero again. */
  record(recorder: Recorder, lr: number, step: number): void {
    const { betas: [beta1, beta2] = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01, clip = 0 } = this.options;
    const constants = reduceConstants(recorder);
    let firstPartial = 0;
    for (const { gradient, count } of this.#slots) {
      const groups = Math.ceil(count / ELEMENTS);
      recorder.dispatch(SQUARES, {
        params: { count, firstPartial, clip, step },
        buffers: { x: { buffer: gradient }, out: this.#partials },
        workgroups: foldGrid(this.gpu, groups),
        constants,
      });
      firstPartial += groups;
    }
    recorder.dispatch(TOTAL, {
      params: { count: firstPartial, firstPartial: 0, clip, step },
      buffers: { x: this.#partials, out: this.#norm },
      workgroups: [1],
      constants,
    });
    const corrections = { correction1: 1 - beta1 ** step, rootCorrection2: Math.sqrt(1 - beta2 ** step) };
    for (const { weight, gradient, m, v, count, isMatrix } of this.#slots) {
      recorder.dispatch(ADAMW, {
        params: { count, lr, decay: isMatrix ? weightDecay : 0, beta1, beta2, eps, ...corrections },
        buffers: {
          norm: this.#norm,
          weights: { buffer: weight },
          gradient: { buffer: gradient },
          m: { buffer: m },
          v: { buffer: v },
        },
        workgroups: elementGrid(recorder, count),
      });
    }
  }

  /** Frees moments and sums. */
  destroy(): void {
    for (const { m, v } of this.#slots) for (const buffer of [m, v]) this.gpu.destroyBuffer(buffer);
    this.#partials.destroy();
    this.#norm.destroy();
  }
}
