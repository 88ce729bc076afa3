/**
 * Kernels: WGSL with a declared interface, compiled once per set of override constants (see `pipelines.ts`).
 *
 * Group 0 is always the kernel's parameters, a uniform struct in an arena that all dispatches of a submission share; group
 * 1 is its storage buffers. `bindings` gives each the name of its WGSL variable, in the order of @binding, and a dispatch
 * names its buffers so: one that is missing or misspelt does not compile. Declaring the interface here rather than
 * deriving it (`layout: "auto"`) lets kernels share layouts and makes a wrong call fail with the kernel's name. A test
 * reads the WGSL of every kernel and compares it with this declaration.
 */
import { type Tile, withTile } from "./unroll.ts";

export type Access = "read" | "write";
export type ParamType = "u32" | "i32" | "f32";

const paramsOf =
  <Type extends ParamType>(type: Type) =>
  <const Name extends string>(...names: Name[]) =>
    Object.fromEntries(names.map((name) => [name, type])) as Record<Name, Type>;

/** Parameters of a type, in order: `{ ...u32("rowCount", "width"), ...f32("eps") }`. */
export const u32 = paramsOf("u32");
export const f32 = paramsOf("f32");

export interface Kernel<Param extends string = string, Binding extends string = string> {
  /** For people: in messages, and in the times of a profile. */
  readonly name: string;
  /** WGSL, whole. */
  readonly code: string;
  readonly entryPoint: string;
  /** What it does with each storage buffer, by the name of its WGSL variable and in the order of @binding. */
  readonly bindings: Readonly<Record<Binding, Access>>;
  /** Their names, for a dispatch to look up its buffers by. */
  readonly bindingNames: readonly Binding[];
  /** The fields of the WGSL `Params` struct, in order; scalars only. */
  readonly params: Readonly<Record<Param, ParamType>>;
  /** Whether it was made of what somebody wrote, of which there may be any number: only the latest are kept compiled. */
  readonly transient?: boolean;
  /** What to know when it does not compile, if somebody else wrote a part of it. */
  readonly hint?: string;
}

/** A kernel from its WGSL, the parts in order, and constants (see `unroll.ts`). */
export function defineKernel<const Param extends string, const Binding extends string>(
  kernel: Omit<Kernel<Param, Binding>, "entryPoint" | "code" | "bindingNames"> & {
    sources: string | readonly string[];
    entryPoint?: string;
    tile?: Tile;
    sizes?: Tile;
  },
): Kernel<Param, Binding> {
  const { sources, entryPoint = "main", tile = {}, sizes = {}, ...rest } = kernel;
  const bindingNames = Object.keys(kernel.bindings) as Binding[];
  return { ...rest, bindingNames, entryPoint, code: withTile([sources].flat().join("\n"), tile, sizes) };
}

export type Constants = Readonly<Record<string, number>>;

/** Of each kernel that was dispatched. Kernels that compile to the same have the same. */
const identities = new WeakMap<Kernel, string>();
const identityOfContent = new Map<string, string>();

/** What tells two pipelines apart: code, entry point and bindings, for which a number stands, and the constants. */
export function pipelineKey(kernel: Kernel, constants: Constants): string {
  let key = identities.get(kernel) ?? identify(kernel);
  for (const name in constants) key += `,${name}=${constants[name]}`;
  return key;
}

/** Transient code stands for itself: a list of all that there ever was would grow for ever. */
function identify(kernel: Kernel): string {
  const content = `${kernel.entryPoint}(${Object.values(kernel.bindings)})\n${kernel.code}`;
  const identity = kernel.transient ? content : (identityOfContent.get(content) ?? `${identityOfContent.size}`);
  if (!kernel.transient) identityOfContent.set(content, identity);
  identities.set(kernel, identity);
  return identity;
}
