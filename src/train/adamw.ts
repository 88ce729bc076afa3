/**
 * AdamW on the GPU: moments that lie as the gradients do, the clip of the gradients' norm, and a step that reads nothing back.
 * Gradients lie in a few buffers, of which each takes one dispatch for its norm and one for four weights.
 */
import adamwSource from "../../shaders/adamw.wgsl";
import gradientNormSource from "../../shaders/gradient_norm.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import type { Gpu } from "../gpu/gpu.ts";
import { defineKernel, f32, u32 } from "../gpu/kernel.ts";
import { type BufferSlice, foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { elementGrid, reduceConstants } from "../kernels/launch.ts";
import { type FlatMemory, SLICE_BYTES } from "../model/weights/flat-memory.ts";
import type { TrainedWeight, WeightGradients } from "../model/weights/gradients.ts";
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

/** Weights of a dispatch: with gradients, moments and norm, eight buffers, as many as every adapter binds. */
const WEIGHTS = ["0", "1", "2", "3"] as const;

const adamwOf = (name: string, element: string) =>
  defineKernel({
    name,
    sources: [`alias Element = ${element};`, adamwSource],
    bindings: {
      ...{ norm: "read", gradient: "write", m: "write", v: "write" },
      ...{ weight0: "write", weight1: "write", weight2: "write", weight3: "write" },
    },
    params: {
      ...f32("lr", "beta1", "beta2", "eps", "correction1", "rootCorrection2"),
      ...u32("start0", "start1", "start2", "start3", "count0", "count1", "count2", "count3"),
      ...f32("decay0", "decay1", "decay2", "decay3"),
    },
  });

const ADAMW = { one: adamwOf("adamw", "f32"), four: adamwOf("adamw four", "vec4<f32>") };

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

/** The moments of the gradients, which lie as the gradients do. */
type Moment = "m" | "v";

/** A buffer of weights. */
interface Slot {
  readonly weight: BufferSlice;
  /** Elements of the gradients' buffer before its own. */
  readonly start: number;
  readonly count: number;
  /** Whether it is of a matrix, an embedding among them. */
  readonly isMatrix: boolean;
}

/** A buffer of gradients, with all that belongs to it. */
interface Flat {
  readonly gradient: GPUBuffer;
  readonly m: GPUBuffer;
  readonly v: GPUBuffer;
  /** The weights in the order of their gradients, as many as a dispatch takes at once. */
  readonly groups: readonly (readonly Slot[])[];
}

function slotsIn(gradients: GPUBuffer, weights: readonly TrainedWeight[]): Slot[] {
  return weights.flatMap(({ weight, gradient }) =>
    gradient.slices.flatMap(({ buffer, offset = 0, size = 0 }, index) => {
      if (buffer !== gradients) return [];
      const own = weight.slices[index] as BufferSlice;
      return [{ weight: own, start: offset / 4, count: size / 4, isMatrix: !weight.planned.isVector }];
    }),
  );
}

export class AdamW {
  readonly #flats: readonly Flat[];
  readonly #moments: Readonly<Record<Moment, FlatMemory>>;
  readonly #partials: Tensor;
  readonly #norm: Tensor;
  /** What is bound where a dispatch has no weight. */
  readonly #spare: Tensor;

  constructor(
    private readonly gpu: Gpu,
    gradients: Pick<WeightGradients, "trained" | "memory">,
    private readonly options: AdamWOptions,
  ) {
    const weights = gradients.trained();
    const { memory } = gradients;
    const [m, v] = [memory.like("moments m of AdamW"), memory.like("moments v of AdamW")];
    this.#moments = { m, v };
    this.#flats = memory.buffers.map((gradient, index) => ({
      gradient,
      m: m.buffers[index] as GPUBuffer,
      v: v.buffers[index] as GPUBuffer,
      groups: inGroups(slotsIn(gradient, weights)),
    }));
    const partials = this.#flats.reduce((sum, { gradient }) => sum + partialsOf(gradient), 0);
    this.#partials = gpu.tensor([partials], "sums of squares");
    this.#norm = gpu.tensor([4], "norm of the gradients");
    this.#spare = gpu.tensor([(WEIGHTS.length * SLICE_BYTES) / 4], "no weights");
  }

  /** Of all gradients together in the last step, before it is cut; and the first step where it was not finite. Waits for the GPU. */
  async readNorm(): Promise<{ gradNorm: number; badStep: number | undefined }> {
    const [gradNorm, , badStep] = (await this.#norm.read()) as unknown as [number, number, number];
    return { gradNorm, badStep: badStep === 0 ? undefined : badStep };
  }

  /** The moments in memory, to be kept and restored. */
  moments(name: Moment): readonly InMemory[] {
    return this.#moments[name].held;
  }

  /** Records step number `step`, from 1: every weight moves, and its gradient is zero again. */
  record(recorder: Recorder, lr: number, step: number): void {
    this.#recordNorm(recorder, step);
    for (const flat of this.#flats) for (const group of flat.groups) this.#move(recorder, flat, group, lr, step);
  }

  #recordNorm(recorder: Recorder, step: number): void {
    const { clip = 0 } = this.options;
    const constants = reduceConstants(recorder);
    let firstPartial = 0;
    for (const { gradient } of this.#flats) {
      recorder.dispatch(SQUARES, {
        params: { count: gradient.size / 4, firstPartial, clip, step },
        buffers: { x: { buffer: gradient }, out: this.#partials },
        workgroups: foldGrid(this.gpu, partialsOf(gradient)),
        constants,
      });
      firstPartial += partialsOf(gradient);
    }
    recorder.dispatch(TOTAL, {
      params: { count: firstPartial, firstPartial: 0, clip, step },
      buffers: { x: this.#partials, out: this.#norm },
      workgroups: [1],
      constants,
    });
  }

  #move(recorder: Recorder, { gradient, m, v }: Flat, group: readonly Slot[], lr: number, step: number): void {
    const { betas: [beta1, beta2] = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01 } = this.options;
    const corrections = { correction1: 1 - beta1 ** step, rootCorrection2: Math.sqrt(1 - beta2 ** step) };
    const width = group.every(({ count }) => count % 4 === 0) ? 4 : 1;
    const first = (group[0] as Slot).start;
    const last = group.at(-1) as Slot;
    const end = last.start + last.count;
    const of = <Name extends string, Value>(name: Name, value: (slot: Slot | undefined, index: number) => Value) =>
      Object.fromEntries(WEIGHTS.map((n, index) => [`${name}${n}`, value(group[index], index)])) as Record<
        `${Name}${(typeof WEIGHTS)[number]}`,
        Value
      >;
    recorder.dispatch(width === 4 ? ADAMW.four : ADAMW.one, {
      params: {
        ...{ lr, beta1, beta2, eps, ...corrections },
        ...of("start", (slot) => (slot?.start ?? end) / width),
        ...of("count", (slot) => (slot?.count ?? 0) / width),
        ...of("decay", (slot) => (slot?.isMatrix ? weightDecay : 0)),
      },
      buffers: {
        norm: this.#norm,
        gradient: { buffer: gradient },
        m: { buffer: m },
        v: { buffer: v },
        ...of("weight", (slot, index) => slot?.weight ?? this.#spareSlice(index)),
      },
      workgroups: elementGrid(recorder, (end - first) / width),
    });
  }

  /** No two bindings of a dispatch may write to the same memory. */
  #spareSlice(index: number): BufferSlice {
    return { buffer: this.#spare.buffer, offset: index * SLICE_BYTES, size: SLICE_BYTES };
  }

  /** Frees moments and sums. */
  destroy(): void {
    for (const each of [this.#moments.m, this.#moments.v, this.#partials, this.#norm, this.#spare]) each.destroy();
  }
}

const partialsOf = ({ size }: GPUBuffer) => Math.ceil(size / 4 / ELEMENTS);

function inGroups(slots: readonly Slot[]): Slot[][] {
  return Array.from({ length: Math.ceil(slots.length / WEIGHTS.length) }, (_, group) =>
    slots.slice(group * WEIGHTS.length, (group + 1) * WEIGHTS.length),
  );
}
