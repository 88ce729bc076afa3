/** A stack of labelled residual vectors: [component, batch, pos, dModel] on the GPU until it is read. */
import { HookError } from "../../errors.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { nearestNames } from "../../schema/nearest.ts";
import * as s from "../../schema/schema.ts";

/**
 * Components of the residual stream on the GPU, [component, batch, pos, dModel], with a label each. The caller destroys
 * it.
 */
export class ResidualStack {
  constructor(
    /** One a component, as TransformerLens names them: `embed`, `0_attn_out`, `L0H3`, `2_pre`, … */
    readonly labels: readonly string[],
    /** [component, batch, pos, dModel]; zeros where a sequence has fewer positions than the longest. */
    readonly tensor: Tensor,
    /** For each sequence the positions on the pos axis, ascending. */
    readonly positions: readonly (readonly number[])[],
  ) {}

  get shape(): readonly number[] {
    return this.tensor.shape;
  }

  /** @throws HookError `hook/no-such-component` with the nearest labels. */
  indexOf(label: string): number {
    const index = this.labels.indexOf(s.readArgument(s.text, label, "ResidualStack", "label"));
    if (index >= 0) return index;
    const near = nearestNames(label, this.labels, 3).join(", ");
    throw new HookError("hook/no-such-component", `The stack has no component "${label}". Nearest: ${near}.`);
  }

  /** One component [batch, pos, dModel], or all of them [component, batch, pos, dModel]. */
  async read(label?: string): Promise<Float32Array> {
    if (label === undefined) return this.tensor.read();
    const size = this.tensor.length / this.labels.length;
    const index = this.indexOf(label);
    return this.tensor.read(index * size, (index + 1) * size);
  }

  /** Frees the GPU memory. */
  destroy(): void {
    this.tensor.destroy();
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}
