/** Dictionaries put into a model: what a view of it is made of, checked before anything runs. */
import { ConfigError, HookError } from "../../errors.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { ModelSpec, ModuleSpec } from "../../model/spec.ts";
import * as s from "../../schema/schema.ts";
import { rowWidth } from "../plan.ts";
import { type Axis, type Point, resolvePoint } from "../points.ts";
import { Dictionary, type DictionaryModule } from "./dictionary.ts";

/** How dictionaries are spliced in. */
export interface SpliceOptions {
  /**
   * Adds the error of the reconstruction, so that a pass is what it was until a feature is edited. Default true; with false the
   * reconstruction goes on in the activation's place.
   */
  error?: boolean;
}

export const SPLICE_OPTIONS = s.object<SpliceOptions>("the options of withModules", { error: s.flag });

/** One dictionary or several. */
export const DICTIONARIES = s.oneOrMore(
  "dictionaries",
  s.instance("a dictionary that loadDictionary() gave", Dictionary),
);

/** What is known of a dictionary before its weights are read. */
export type KnownDictionary = Pick<Dictionary, "label" | "modules">;

/** The spec of a model with dictionaries spliced in. @throws HookError `module/twice`, `module/hook`; ConfigError `module/shape` */
export function splicedSpec(spec: ModelSpec, dictionaries: readonly KnownDictionary[], error: boolean): ModelSpec {
  if (spec.modules)
    throw new HookError(
      "module/twice",
      "This view has dictionaries spliced in already. Give withModules() of the model itself all of them.",
    );
  const modules = dictionaries.flatMap((dictionary, group) => {
    for (const module of dictionary.modules) checkModule(spec, module, dictionary.label);
    return dictionary.modules.map((module): ModuleSpec => ({ ...module, group, error }));
  });
  checkPlaces(modules);
  return { ...spec, modules };
}

/** @throws HookError `module/destroyed`, `module/device` */
export function assertUsable(dictionary: Dictionary, gpu: Gpu): void {
  dictionary.assertAlive();
  if (dictionary.gpu === gpu) return;
  throw new HookError(
    "module/device",
    `The dictionary ${dictionary.label} lies on another GPU device than the model. Load it for this model: loadDictionary(model, source).`,
  );
}

/** What a point that a dictionary may read or write looks like: a vector a position, or one for each head. */
const VECTORS: readonly (readonly Axis[])[] = [
  ["batch", "pos", "dModel"],
  ["batch", "pos", "dMlp"],
  ["batch", "pos", "head", "dHead"],
  ["batch", "pos", "head", "dValue"],
];

/** @throws HookError `hook/no-such-point`, `module/hook`; ConfigError `module/shape` */
export function checkModule(spec: ModelSpec, module: DictionaryModule, label: string): void {
  const { hookIn, hookOut, writes, dIn, dOut, isOfHeads } = module;
  const places = [
    { name: hookIn, width: dIn },
    ...[hookOut, ...writes.map(({ hook }) => hook)].map((name) => ({ name, width: dOut })),
  ];
  for (const { name, width } of places) {
    const point = resolvePoint(spec, name);
    checkAxes(point, isOfHeads, label);
    const own = rowWidth(point, { spec, lengths: [1], starts: [0] });
    if (own !== width)
      throw new ConfigError(
        "module/shape",
        `The dictionary ${label} is of vectors of ${width}, and ${name} of this ${spec.family} model has ${own}. Take one that was trained on this model.`,
      );
  }
}

function checkAxes({ name, kind: { axes } }: Point, isOfHeads: boolean, label: string): void {
  const hasHeads = axes.includes("head");
  const isVector = VECTORS.some((each) => each.join() === axes.join());
  if (isVector && hasHeads === isOfHeads) return;
  throw new HookError(
    "module/hook",
    isVector
      ? `The dictionary ${label} belongs to ${name}, which has ${hasHeads ? "a vector for each head, and it is of one for all: reshape_activations must be hook_z" : "no heads: reshape_activations must be none"}.`
      : `The dictionary ${label} belongs to ${name}, which is [${axes.join(", ")}]. Dictionaries are of vectors of positions: the residual, what attention or the MLP reads or gives, its hidden layer, or hook_z.`,
  );
}

/** @throws HookError `module/twice` where two dictionaries would read or write the same point. */
function checkPlaces(modules: readonly ModuleSpec[]): void {
  const twice = (hook: string) =>
    new HookError(
      "module/twice",
      `Two dictionaries belong to ${hook}. Splice in one of them, or each in a view of its own.`,
    );
  const readers = new Set<string>();
  const writers = new Map<string, number>();
  const names = new Map<string, ModuleSpec>();
  for (const module of modules) {
    const { hookIn, hookOut, writes, group } = module;
    if (readers.has(hookIn)) throw twice(hookIn);
    readers.add(hookIn);
    for (const hook of [hookIn, hookOut]) {
      if ((names.get(hook) ?? module) !== module) throw twice(hook);
      names.set(hook, module);
    }
    for (const hook of [hookOut, ...writes.map((each) => each.hook)]) {
      if ((writers.get(hook) ?? group) !== group) throw twice(hook);
      writers.set(hook, group);
    }
  }
}
