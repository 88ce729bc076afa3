/** What the tests of hooks share: models of fixtures, everything a pass shows, random edits, and how errors read. */
import { SuperlensError } from "../../src/errors.ts";
import { axisSize } from "../../src/hooks/edit.ts";
import {
  type ActivationCache,
  type Edit,
  type EditOp,
  type ForwardResult,
  type HookedForwardOptions,
  HookedModel,
  pointTable,
} from "../../src/hooks/index.ts";
import type { Axis } from "../../src/hooks/points.ts";
import type { ModelInput } from "../../src/model/input.ts";
import type { LoadOptions } from "../../src/model/load.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import { EDIT_OPS } from "../../src/ops/edit-call.ts";
import type { EditFormula } from "../../src/ops/edit-reference.ts";
import { loadFixture } from "../support/fixtures.ts";
import { gaussians, integer, pickOne } from "../support/numbers.ts";

export async function hooked(family: string, options: LoadOptions = {}): Promise<HookedModel> {
  return new HookedModel(await loadFixture(family, options));
}

/** Runs `body` with a fixture's model and frees it. */
export async function withHooked(family: string, body: (model: HookedModel) => Promise<void>): Promise<void> {
  using model = await hooked(family);
  await body(model);
}

/** Runs a forward pass, hands it to `body` and frees it. */
export async function withForward<T>(
  model: HookedModel,
  input: ModelInput,
  options: HookedForwardOptions,
  body: (result: ForwardResult) => Promise<T>,
): Promise<T> {
  using result = await model.forward(input, options);
  return await body(result);
}

/** The logits of a pass, [batch, pos, vocab]. */
export function logitsOf(
  model: HookedModel,
  input: ModelInput,
  options: HookedForwardOptions = {},
): Promise<Float32Array> {
  return withForward(model, input, options, ({ logits }) => logits.read());
}

/** One captured point on the host. */
export function captured(
  model: HookedModel,
  input: ModelInput,
  point: string,
  options: HookedForwardOptions = {},
): Promise<Float32Array> {
  return withForward(model, input, { ...options, capture: point }, ({ cache }) => cache.read(point));
}

/** Every entry of a cache on the host. */
export async function readAll(cache: ActivationCache): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const name of cache.names) values.set(name, await cache.read(name));
  return values;
}

/** Whether a point is the divisor of a norm, near which rounding differences blow up. */
export const isDivisor = (name: string) => name.endsWith("hook_scale");

/** `code: message` of the superlens error that a call ends in; whatever else happens is thrown. */
export async function failureOf(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    if (error instanceof SuperlensError) return `${error.name} ${error.code}: ${error.message}`;
    throw error;
  }
  throw new Error("The call succeeded.");
}

/** Random ids of a fixture's vocabulary. */
export function randomIds(random: () => number, count: number, vocabSize = 96): number[] {
  return Array.from({ length: count }, () => integer(random, 0, vocabSize - 1));
}

export const OPS = Object.keys(EDIT_OPS) as EditOp[];

/** An expression of everything that expressions may read, and what it computes. */
export const EDIT_EXPRESSION = "x * 0.5 + v * f32(d % 5 + p) * 0.25 - f32(h) * 0.1 + f32(b)";
export const EDIT_FORMULA: EditFormula = (x, v, { b, p, h, d }) => x * 0.5 + v * ((d % 5) + p) * 0.25 - h * 0.1 + b;

/** An edit that is valid for a sequence of `length` tokens, at any point of the model. */
export function randomEdit(random: () => number, spec: ModelSpec, length: number): Edit {
  const point = pickOne(random, [...pointTable(spec).values()]);
  const { axes } = point.kind;
  const sizeOf = (axis: Axis) => axisSize(axis, { spec, lengths: [length] }, point);
  const width = sizeOf(axes.at(-1) as Axis);
  const headAxis = axes.slice(0, -1).find((axis) => ["head", "kvHead", "slot"].includes(axis));
  const heads = headAxis ? sizeOf(headAxis) : 0;
  const positions = random() < 0.7 ? [integer(random, 0, length - 1)] : [-1 - integer(random, 0, length - 1)];
  if (random() < 0.3)
    positions.push(
      ...[0, 1, 2]
        .filter(
          (position) => position < length && !positions.includes(position) && !positions.includes(position - length),
        )
        .slice(0, 1),
    );
  const edit: Edit & { dims?: number[] } = { at: point.name, op: pickOne(random, OPS), positions };
  if (heads > 0 && random() < 0.7) edit.heads = [integer(random, 0, heads - 1)];
  if (random() < 0.3) {
    // Of the keys a query always sees its own.
    const own = ((positions[0] as number) + length) % length;
    const first = point.kind.axes.at(-1) === "key" ? own : integer(random, 0, width - 1);
    edit.dims = [...new Set([first, integer(random, 0, width - 1)])];
  }
  const selected = edit.dims?.length ?? width;
  const vector = () => gaussians(random, selected);
  if (edit.op === "scale") edit.value = 0.5 + random();
  else if (edit.op === "wgsl") edit.expression = EDIT_EXPRESSION;
  if (edit.op === "set" || edit.op === "add" || edit.op === "lerp" || edit.op === "project_out" || edit.op === "wgsl") {
    edit.value = random() < 0.3 && edit.op !== "project_out" ? random() : vector();
  }
  if (edit.op === "lerp") edit.alpha = random();
  // A divisor near zero would blow up rounding differences; keep norm scales away from it.
  if (point.name.endsWith("hook_scale")) return { at: point.name, op: "scale", positions, value: 0.5 + random() };
  return edit;
}
