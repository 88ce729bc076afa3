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
import type { TrainedWeight, WeightGradients } from "../model/weights/gradients.ts";

function normKernel(entryPoint: "squares" | "total") {
  return defineKernel({
    name: `gradient norm, ${entryPoint}`,
    entryPoint,
    sources: [reduce, gradientNormSource],
    bindings: { x: "read", out: "write" },
    params: { count: "u32", firstPartial: "u32", clip: "f32" },
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
  readonly betas?: readonly [number, number] | undefined;
  /** Added to the root of the second moment. Default 1e-8. */
  readonly eps?: number | undefined;
  /** Of matrices, embeddings among them; biases and norms do not decay. Default 0.01. */
  readonly weightDecay?: number | undefined;
  /** The norm that all gradients together are cut to; none when absent. */
  readonly clip?: number | undefined;
}

/** A weight's buffer, with its moments. */
interface Slot extends TrainedWeight {
  readonly m: GPUBuffer;
  readonly v: GPUBuffer;
}

export class AdamW {
  readonly #slots: readonly Slot[];
  readonly #partials: Tensor;
  /** [norm of all gradients, the factor that cuts it], of the last step. */
  readonly norm: Tensor;

  constructor(
    private readonly gpu: Gpu,
    gradients: WeightGradients,
    private readonly options: AdamWOptions,
  ) {
    const moment = (size: number) => gpu.createBuffer(size, STORAGE_USAGE, "moment of AdamW");
    this.#slots = gradients
      .trained()
      .map((weight) => ({ ...weight, m: moment(weight.weight.size), v: moment(weight.weight.size) }));
    const partials = this.#slots.reduce((sum, { count }) => sum + Math.ceil(count / ELEMENTS), 0);
    this.#partials = gpu.tensor([partials], "sums of squares");
    this.norm = gpu.tensor([2], "norm of the gradients");
  }

  /** Records step number `step`, from 1: every weight moves, and its gradient is zero again. */
  record(recorder: Recorder, lr: number, step: number): void {
    const { betas: [beta1, beta2] = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01, clip = 0 } = this.options;
    const constants = reduceConstants(recorder);
    let firstPartial = 0;
    for (const { gradient, count } of this.#slots) {
      const groups = Math.ceil(count / ELEMENTS);
      recorder.dispatch(SQUARES, {
        params: { count, firstPartial, clip },
        buffers: { x: { buffer: gradient }, out: this.#partials },
        workgroups: foldGrid(this.gpu, groups),
        constants,
      });
      firstPartial += groups;
    }
    recorder.dispatch(TOTAL, {
      params: { count: firstPartial, firstPartial: 0, clip },
      buffers: { x: this.#partials, out: this.norm },
      workgroups: [1],
      constants,
    });
    const corrections = { correction1: 1 - beta1 ** step, rootCorrection2: Math.sqrt(1 - beta2 ** step) };
    for (const { weight, gradient, m, v, count, isMatrix } of this.#slots) {
      recorder.dispatch(ADAMW, {
        params: { count, lr, decay: isMatrix ? weightDecay : 0, beta1, beta2, eps, ...corrections },
        buffers: {
          norm: this.norm,
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
    this.norm.destroy();
  }
}
