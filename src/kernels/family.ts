/**
 * A family of kernels: several kernels that compute the same thing. Which is fastest depends on the adapter and the shape.
 *
 * A family chooses one for each shape: the tuner's choice for the shape's class on this device, else the first candidate that
 * is expected to win on such an adapter, else the reference. The reference is the operation as it is defined. Every device
 * can run it, and every candidate is checked against it. A run with reference kernels takes no other.
 */
import type { Gpu } from "../gpu/gpu.ts";
import type { GpuHost } from "../gpu/host.ts";
import type { RecorderOptions } from "../gpu/recorder.ts";

/** Of a device, what decides which kernels it can run. */
export type DeviceFacts = Pick<GpuHost, "adapterInfo" | "features" | "limits">;

/** Kinds of adapters that differ in what is fast on them. SwiftShader is software, too. */
export type ExpectedOn = "software" | "swiftshader" | "hardware";

/** One kernel of a family. */
export interface Candidate<Shape> {
  /** Unique among the candidates that fit a shape. */
  readonly name: string;
  /** Where it is expected to win, and is taken without being timed. */
  readonly expectedOn: readonly ExpectedOn[];
  /** On which shapes it is expected to win there; default: on all that fit. */
  expectedFor?(shape: Shape): boolean;
  /** Whether the device can run it on such a shape, and it is meant for that. */
  fits(device: DeviceFacts, shape: Shape): boolean;
}

export class KernelFamily<Shape, Kernel extends Candidate<Shape>> {
  readonly #chosen = new WeakMap<object, Map<string, Kernel>>();

  constructor(
    readonly name: string,
    /** Of those that fit a shape, the first that is expected to win is the default. */
    readonly candidates: readonly Kernel[],
    readonly reference: Kernel,
    /** The class of a shape, as text. All shapes of a class take one kernel, as far as it fits. */
    readonly keyOf: (shape: Shape) => string,
  ) {}

  /** The kernel for a shape on the device of a run. The matmuls of a pass have few shapes, so a run looks each up once. */
  choose(run: RecorderOptions & { readonly gpu: Gpu }, shape: Shape): Kernel {
    const { gpu, kernels } = run;
    if (kernels === "reference") return this.reference;
    const chosen = this.#chosen.get(run) ?? new Map<string, Kernel>();
    this.#chosen.set(run, chosen);
    const key = Object.values(shape as object).join();
    const kernel = chosen.get(key) ?? this.tuned(gpu, shape) ?? this.defaultFor(gpu.host, shape);
    chosen.set(key, kernel);
    return kernel;
  }

  /** What the tuner found for the shape's class, if it did, and this version has such a kernel that fits. */
  tuned({ choices, host }: Gpu, shape: Shape): Kernel | undefined {
    const name = choices.get(this.keyOf(shape));
    if (name === undefined) return undefined;
    return [...this.candidates, this.reference].find((each) => each.name === name && each.fits(host, shape));
  }

  /** What is taken where nothing was timed. */
  defaultFor(device: DeviceFacts, shape: Shape): Kernel {
    const { kind, isSoftware } = device.adapterInfo;
    const kinds: readonly string[] = [kind, isSoftware ? "software" : "hardware"];
    const isExpected = (each: Kernel) =>
      each.expectedOn.some((expected) => kinds.includes(expected)) && each.expectedFor?.(shape) !== false;
    return this.candidates.find((each) => isExpected(each) && each.fits(device, shape)) ?? this.reference;
  }
}
