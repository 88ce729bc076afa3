/** A JavaScript function of an activation: its rows go to the host, and what the function makes of them comes back. */
import { HookError } from "../errors.ts";
import { gather } from "../kernels/calls.ts";
import type { View } from "../kernels/view.ts";
import * as s from "../schema/schema.ts";
import type { Callback } from "./bindings.ts";
import { defineOp, sameShape } from "./op.ts";
import { layoutOf, rowPairs } from "./places.ts";

interface CallbackAttributes {
  readonly index: number;
  readonly headFirst: boolean;
  /** Copies of the activation stand for it elsewhere, which a change of this one would not reach. */
  readonly isFollowed?: boolean;
}

export const CALLBACK = defineOp<CallbackAttributes>({
  name: "callback",
  formula: "f(x), in JavaScript",
  shapes: sameShape,
  inPlace: () => [0],
  hasEffect: true,
  lower({ recorder, attributes: { index, headFirst, isFollowed }, outputs, rows, bindings }) {
    const hooks = bindings.hooks as NonNullable<typeof bindings.hooks>;
    const { name, shape, run } = hooks.callbacks[index] as Callback;
    const layout = layoutOf(shape, headFirst);
    const lists = rowPairs(recorder, hooks, "allPositions", rows, layout);
    if (!lists) return;
    const length = shape.reduce((product, size) => product * size, 1);
    const packed = recorder.upload(new Float32Array(length));
    const target = { ...layout, buffer: packed };
    gather(recorder, outputs[0] as View, target, lists.pairs);
    recorder.host(async () => {
      const activation = await packed.read();
      const before = isFollowed && activation.slice();
      const returned = await run(activation, { name, shape });
      const after = returned === undefined ? activation : hookResult(returned, name, shape, length);
      if (before) assertUnchanged(name, before, after);
      return () => recorder.gpu.device.queue.writeBuffer(packed.buffer, 0, after as Float32Array<ArrayBuffer>);
    });
    gather(recorder, target, outputs[0] as View, lists.reversed);
  },
});

/** @throws HookError `hook/unsupported` */
function assertUnchanged(name: string, before: Float32Array, after: Float32Array): void {
  if (before.every((value, i) => Object.is(value, after[i]))) return;
  throw new HookError(
    "hook/unsupported",
    `The hook at ${name} changes the norm of the residual, and other hooks of this pass give heads or the MLP of the block copies with norms of their own, which it does not see. Make the change with an edit, which reaches all of them, or in another pass.`,
  );
}

/** @throws HookError `hook/value-shape` for anything but as many numbers as the activation has. */
function hookResult(returned: unknown, name: string, shape: readonly number[], length: number): Float32Array {
  const takes = `the activation [${shape.join(", ")}] has ${length} numbers. Return a flat list of as many, or nothing to keep what the array holds.`;
  if (!s.isListLike(returned))
    throw new HookError("hook/value-shape", `The hook at ${name} returned no list of numbers; ${takes}`);
  if (returned.length !== length)
    throw new HookError("hook/value-shape", `The hook at ${name} returned ${returned.length} numbers; ${takes}`);
  if (returned instanceof Float32Array) return returned;
  const bad = Array.from(returned).findIndex((value) => typeof value !== "number");
  if (bad < 0) return Float32Array.from(returned as ArrayLike<number>);
  throw new HookError("hook/value-shape", `Entry ${bad} that the hook at ${name} returned is no number; ${takes}`);
}
