/**
 * Dictionaries in a pass: sparse autoencoders and transcoders as small graphs that are spliced at a value.
 *
 * A dictionary reads an activation, says in features what it finds there, and gives the sum of their directions: of the same
 * activation (a sparse autoencoder), of another of the block (a transcoder), or of one in each later block as well (a
 * cross-layer transcoder). What it gives takes the activation's place, with or without the error that it makes:
 *
 *     acts = activation(encode(x));  recons = decode(acts);  error = y - recons of unedited acts;  y' = recons (+ error)
 *
 * The points inside have SAELens's names, behind the name of the point that is read, and of the one that is written:
 * `<hook>.hook_sae_input`, `.hook_sae_acts_pre`, `.hook_sae_acts_post`, `.hook_sae_recons`, `.hook_sae_error`, `.hook_sae_output`.
 */
import { HookError } from "../errors.ts";
import { type Graph, GraphBuilder } from "../graph/graph.ts";
import { ADD } from "../ops/add.ts";
import { COPY } from "../ops/copy.ts";
import { DECODE, GATED_RELU, JUMP_RELU, RESHAPE, TOP_K } from "../ops/dictionary.ts";
import { ACTIVATION } from "../ops/elementwise.ts";
import { MATMUL } from "../ops/matmul.ts";
import { AFFINE } from "../ops/norm.ts";
import type { Op, Value } from "../ops/op.ts";
import { SELECT } from "../ops/select.ts";
import { ROW_STATISTICS, STANDARDIZE, UNSTANDARDIZE } from "../ops/standardize.ts";

/** How pre-activations become the activations of features. */
export type FeatureActivation =
  | { kind: "relu" }
  /** The k largest of a row, those above 0. */
  | { kind: "topk"; k: number }
  /** What is above the feature's threshold. */
  | { kind: "jumprelu" }
  /** What a gate of its own lets through. */
  | { kind: "gated" };

/** A dictionary of one block, as a pass needs it. Its weights are `Weights.modules`, by the same index. */
export interface ModuleSpec {
  /** The point whose activation it reads. */
  hookIn: string;
  /** The point whose activation it gives, by itself or with others that write there. */
  hookOut: string;
  /** Further points that it writes, of later blocks, with the names of the decoders; of cross-layer transcoders. */
  writes: { hook: string; decoder: string }[];
  /** Which dictionary it belongs to: several of one write to the same point, of two they may not. */
  group: number;
  dIn: number;
  dSae: number;
  dOut: number;
  activation: FeatureActivation;
  /** How what it reads is brought to a standard place and spread; `givesBack`: what it gives is brought back. */
  normalize?: { kind: "layer_norm" | "constant_norm_rescale"; givesBack: boolean } | undefined;
  /** Subtracts the decoder's bias from what it reads. */
  subtractsDecoderBias: boolean;
  /** A linear map beside the features (`W_skip`). */
  hasSkip: boolean;
  /** What it reads and gives are all heads' vectors as one. */
  isOfHeads: boolean;
  /** The error of the reconstruction is added, so that an unedited pass is as it was. */
  error: boolean;
  /** Leaves the features out: what it gives is its linear map alone, and the rest of the activation is the error. */
  isLinear?: boolean;
}

/** Vectors that are added, as the weights of a norm: the only kind of op there is for that. */
const PLAIN = { kind: "none", eps: 0, weightOffset: 0 } as const;

/** The names of the points inside, behind a hook's. */
export const MODULE_POINTS = {
  input: "hook_sae_input",
  actsPre: "hook_sae_acts_pre",
  actsPost: "hook_sae_acts_post",
  recons: "hook_sae_recons",
  error: "hook_sae_error",
  output: "hook_sae_output",
} as const;

/** A graph with dictionaries spliced in. `changed`: the points that hooks change, or whose gradients are wanted. */
export function spliceModules(
  graph: Graph,
  modules: readonly ModuleSpec[],
  changed: { has(point: string): boolean } = { has: () => false },
): Graph {
  return new Splicing(graph, modules, changed).run();
}

/** SAELens's of `layer_norm`; `constant_norm_rescale` has none. */
const LAYER_NORM_EPS = 1e-5;

/** What an encoder made: the activations of features, and where its rows lay before they were standardized. */
interface Encoded {
  readonly acts: Value;
  readonly statistics: Value | undefined;
}

/** What a module has read, until it writes. */
interface Reading {
  /** As the model has it, at every head. */
  readonly read: Value;
  /** Undefined where features are left out. */
  readonly edited: Encoded | undefined;
  /** The same where nobody has edited anything inside; made when it is needed apart. */
  clean: Encoded | undefined;
}

class Splicing extends GraphBuilder {
  readonly #now = new Map<Value, Value>();
  readonly #readings: (Reading | undefined)[];

  constructor(
    private readonly graph: Graph,
    private readonly modules: readonly ModuleSpec[],
    private readonly changed: { has(point: string): boolean },
  ) {
    super();
    this.#readings = modules.map(() => undefined);
  }

  run(): Graph {
    const current = (value: Value) => this.#now.get(value) ?? value;
    for (const op of this.graph.ops) {
      const outputs = op.outputs.map((value) => ({ ...value, points: [] as string[] }));
      this.ops.push({ ...op, inputs: op.inputs.map(current), outputs } as Op);
      op.outputs.forEach((value, index) => {
        this.#now.set(value, this.#through(value.points, outputs[index] as Value));
      });
    }
    const { output } = this.graph;
    return { ops: this.ops, output: output && current(output) };
  }

  /** Names a value's points one by one; a module that writes one of them makes another value, which has it and those after it. */
  #through(points: readonly string[], value: Value): Value {
    let now = value;
    this.layer = value.layer;
    for (const point of points) {
      const writers = this.modules.flatMap((module, index) => (writtenBy(module, point) ? [index] : []));
      for (const index of writers) if (this.#module(index).hookIn === point) this.#read(index, now);
      if (writers.length > 0) now = this.#write(writers, point, now);
      this.name(now, point);
      if (writers.length > 0) this.#nameOutput(writers, point, now);
      this.modules.forEach(({ hookIn }, index) => {
        if (hookIn === point && !this.#readings[index]) this.#read(index, now);
      });
    }
    return now;
  }

  #module(index: number): ModuleSpec {
    return this.modules[index] as ModuleSpec;
  }

  #weight(module: number, name: string) {
    return { name, module };
  }

  /** Both names of a point inside a module. */
  #names({ hookIn, hookOut }: ModuleSpec, point: string): string[] {
    return [...new Set([hookIn, hookOut])].map((hook) => `${hook}.${point}`);
  }

  #named(value: Value, module: ModuleSpec, point: string): Value {
    for (const name of this.#names(module, point)) this.name(value, name);
    return value;
  }

  #isChanged(module: ModuleSpec): boolean {
    const { input, actsPre, actsPost, recons } = MODULE_POINTS;
    return [input, actsPre, actsPost, recons].some((point) =>
      this.#names(module, point).some((name) => this.changed.has(name)),
    );
  }

  #read(index: number, read: Value): void {
    const module = this.#module(index);
    const isFresh = module.isOfHeads;
    const x = this.#flat(module, read);
    // Who changes what the dictionary reads does not change the activation.
    const input = !isFresh && this.#isChanged(module) ? this.one(COPY, [x], {}) : x;
    this.#named(input, module, MODULE_POINTS.input);
    const edited = module.isLinear ? undefined : this.#encode(index, input, true);
    this.#readings[index] = { read, edited, clean: undefined };
  }

  #flat({ isOfHeads }: ModuleSpec, x: Value): Value {
    return isOfHeads ? this.one(RESHAPE, [x], { heads: 1, width: x.heads * (x.width as number) }) : x;
  }

  #affine(index: number, x: Value, name: string): Value {
    return this.one(AFFINE, [x], { spec: PLAIN, weights: this.#weight(index, name) });
  }

  /** Activations of features [row, dSae]; with the points on the way, or without. */
  #encode(index: number, input: Value, isNamed: boolean): Encoded {
    const module = this.#module(index);
    const { activation, dSae, normalize } = module;
    const name = (value: Value, point: string) => (isNamed ? this.#named(value, module, point) : value);
    const isCentred = normalize?.kind === "layer_norm";
    const statistics = normalize && this.one(ROW_STATISTICS, [input], { isCentred });
    const eps = isCentred ? LAYER_NORM_EPS : 0;
    const standard = statistics ? this.one(STANDARDIZE, [input, statistics], { eps }) : input;
    const x = module.subtractsDecoderBias ? this.#affine(index, standard, "inputShift") : standard;
    const parts = [{ heads: 1, width: dSae }];
    const encoder = { weight: this.#weight(index, "W_enc"), parts };
    if (activation.kind === "gated") {
      const both = this.one(MATMUL, [x], encoder);
      const magnitude = name(this.#affine(index, both, "magnitude"), MODULE_POINTS.actsPre);
      const gate = this.#affine(index, both, "gate");
      return { acts: name(this.one(GATED_RELU, [magnitude, gate], {}), MODULE_POINTS.actsPost), statistics };
    }
    const bias = this.#weight(index, "b_enc");
    const pre = name(this.one(MATMUL, [x], { ...encoder, bias }), MODULE_POINTS.actsPre);
    return { acts: name(this.#activate(index, pre), MODULE_POINTS.actsPost), statistics };
  }

  #activate(index: number, pre: Value): Value {
    const { activation } = this.#module(index);
    if (activation.kind === "topk") return this.one(TOP_K, [pre], { k: activation.k });
    if (activation.kind === "jumprelu")
      return this.one(JUMP_RELU, [pre], { threshold: this.#weight(index, "threshold") });
    return this.one(ACTIVATION, [pre], { activation: "relu" });
  }

  /** What modules make of an activation that they write; y as the model computed it. */
  #write(writers: readonly number[], point: string, y: Value): Value {
    const own = this.#ownerOf(writers, point);
    const module = this.#module(own);
    const isChanged = writers.some((index) => this.#isChanged(this.#module(index)));
    const recons = this.#reconstruct(writers, own, point, y, true);
    if (!module.error) return recons;
    const clean = isChanged ? this.#reconstruct(writers, own, point, y, false) : recons;
    const error = this.one(ADD, [y, clean], { scale: -1 });
    this.#named(error, module, MODULE_POINTS.error);
    return this.one(ADD, [recons, error], { scale: 1 });
  }

  /** The module whose decoder's bias and skip belong to the point. */
  #ownerOf(writers: readonly number[], point: string): number {
    const own = writers.find((index) => this.#module(index).hookOut === point);
    const missing = writers.find((index) => !this.#readings[index]);
    if (missing !== undefined)
      throw new HookError(
        "hook/not-reached",
        `The dictionary that writes ${point} reads ${this.#module(missing).hookIn}, which this pass does not compute before it. Begin the pass earlier, or leave the dictionary out.`,
      );
    return own as number;
  }

  /** The sum of the features' directions [row, heads, width], as y is; with the point on the way, or of unedited features. */
  #reconstruct(writers: readonly number[], own: number, point: string, y: Value, isNamed: boolean): Value {
    const module = this.#module(own);
    if (module.isLinear) return this.#skip(own, y);
    const terms = writers.map((index) => this.#decoded(index, point, y, isNamed));
    const sum = terms.reduce((total, term) => this.one(ADD, [total, term], { scale: 1 }));
    let recons = this.#affine(own, sum, "outputShift");
    if (isNamed) this.#named(recons, module, MODULE_POINTS.recons);
    const { statistics } = this.#encoded(own, isNamed);
    if (statistics && module.normalize?.givesBack)
      recons = this.one(UNSTANDARDIZE, [recons, this.#atRows(statistics, y)], {});
    if (module.isOfHeads) recons = this.one(RESHAPE, [recons], { heads: y.heads, width: y.width });
    return module.hasSkip ? this.one(ADD, [recons, this.#skip(own, y)], { scale: 1 }) : recons;
  }

  #decoded(index: number, point: string, y: Value, isEdited: boolean): Value {
    const module = this.#module(index);
    const { acts } = this.#encoded(index, isEdited);
    const decoder = module.hookOut === point ? "W_dec" : decoderFor(module, point);
    const attributes = { weight: this.#weight(index, decoder), width: module.dOut };
    return this.one(DECODE, [this.#atRows(acts, y)], attributes, undefined, y.rows);
  }

  #encoded(index: number, isEdited: boolean): Encoded {
    const reading = this.#readings[index] as Reading;
    if (isEdited) return reading.edited as Encoded;
    reading.clean ??= this.#encode(index, this.#flat(this.#module(index), reading.read), false);
    return reading.clean;
  }

  #skip(index: number, y: Value): Value {
    const { read } = this.#readings[index] as Reading;
    const parts = [{ heads: 1, width: this.#module(index).dOut }];
    return this.one(
      MATMUL,
      [this.#atRows(read, y)],
      { weight: this.#weight(index, "W_skip"), parts },
      undefined,
      y.rows,
    );
  }

  /** The rows that y has, where the last block goes on with some of them alone. */
  #atRows(x: Value, y: Value): Value {
    if (y.rows !== "output" || x.rows === "output") return x;
    return this.one(SELECT, [x], { rows: "output" }, undefined, "output");
  }

  #nameOutput(writers: readonly number[], point: string, value: Value): void {
    const own = writers.find((index) => this.#module(index).hookOut === point) as number;
    this.#named(value, this.#module(own), MODULE_POINTS.output);
  }
}

/** Whether a module gives the activation of a point, or part of it. */
export function writtenBy({ hookOut, writes }: ModuleSpec, point: string): boolean {
  return hookOut === point || writes.some(({ hook }) => hook === point);
}

const decoderFor = ({ writes }: ModuleSpec, point: string) =>
  writes.find(({ hook }) => hook === point)?.decoder as string;
