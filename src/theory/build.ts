/**
 * Builds the transformer that performs K tasks in superposition, as an ordinary model.
 *
 * Four operations, each an attention layer followed by an MLP: derive the sum, match examples with tasks, weigh the
 * tasks, superpose their answers. Four layers hold one operation each; in the seven-layer layout every half has a
 * layer of its own, except the last two. Same maps, same result. See docs/theory.md.
 */

import * as s from "../schema/schema.ts";
import { type AssembledModel, assemble, type DenseTensor, denseTensors, type Ends, type Stage } from "./assemble.ts";
import { binaryCode, isCounted, positionOf, promptLength } from "./codes.ts";
import type { TaskDefinition } from "./definition.ts";
import { TheoryError } from "./errors.ts";
import { deriveHeads, deriveMlp } from "./parts/derive.ts";
import { matchHeads, roundMlp } from "./parts/match.ts";
import { logMlp, superposeHeads } from "./parts/superpose.ts";
import { logitMlp, weighHeads } from "./parts/weigh.ts";
import {
  CONSTRUCTION_OPTIONS,
  type Constants,
  type ConstructionOptions,
  chooseConstants,
  chooseHeads,
  headsNeeded,
  type Plan,
  planConstruction,
} from "./plan.ts";
import { along, LinearMap, type ResidualLayout, type SpaceSpan } from "./spaces.ts";
import { SparseMatrix } from "./sparse.ts";
import { BOS_TOKEN, compileTasks, type Program } from "./tasks.ts";

/** A constructed transformer without its weights: what it computes, and where in the residual stream. */
export interface Blueprint extends Omit<AssembledModel, "weights"> {
  program: Program;
  layout: ResidualLayout;
  /** m. Prompts have exactly this many examples. */
  examples: number;
  constants: Constants;
  /** The d tokens, then BOS: token ids are places in this list. */
  vocabulary: string[];
}

/** The constructed transformer: an ordinary model, and what it was built to compute. */
export interface SuperpositionModel extends Blueprint {
  /** Tensor name -> float64 entries. Matrices are `[out, in]`. */
  weights: AssembledModel["weights"];
  /** The weights as float32, made on first use. Large models: iterate `denseTensors(model)` instead. */
  readonly tensors: Map<string, DenseTensor>;
}

/** What `config.json` of a constructed model says besides the spec. */
export interface SuperpositionConfig {
  definition: TaskDefinition;
  examples: number;
  heads: number;
  layers: number;
  constants: Constants;
  vocabulary: string[];
  /** Token id of BOS, which is also the answer "no task". */
  bos: number;
  /** Where each subspace sits in the residual stream. */
  spaces: readonly SpaceSpan[];
  /** Layer of each stage. */
  stages: AssembledModel["stages"];
}

/**
 * Builds the model for a task definition.
 * Throws `TheoryError`: `theory/definition`, `theory/vocabulary`, `theory/sum`, `theory/heads` or `theory/size`.
 */
export function buildSuperposition(definition: TaskDefinition, asked: ConstructionOptions): SuperpositionModel {
  const options = s.readOptions(CONSTRUCTION_OPTIONS, asked, "buildSuperposition");
  const program = compileTasks(definition);
  const plan = planConstruction(program, options);
  const nHeads = chooseHeads(headsNeeded(program), options.heads);
  const model = assemble(plan.layout, arrange(stagesOf(plan), options.layers ?? 4), nHeads, endsOf(plan));
  let tensors: Map<string, DenseTensor> | undefined;
  return {
    ...model,
    program,
    layout: plan.layout,
    examples: plan.examples,
    constants: chooseConstants(options),
    vocabulary: [...definition.vocabulary, BOS_TOKEN],
    get tensors() {
      tensors ??= new Map(denseTensors(model));
      return tensors;
    },
  };
}

/** The `config.json` of a constructed model. */
export function superpositionConfig(model: SuperpositionModel): {
  model_type: "custom";
  spec: SuperpositionModel["spec"];
  superposition: SuperpositionConfig;
} {
  const { spec, program, examples, constants, vocabulary, layout, stages } = model;
  return {
    model_type: "custom",
    spec,
    superposition: {
      definition: program.definition,
      examples,
      heads: spec.nHeads,
      layers: spec.nLayers,
      constants,
      vocabulary,
      bos: program.bos,
      spaces: layout.spans,
      stages,
    },
  };
}

function stagesOf(plan: Plan): Stage[] {
  return [
    { name: "derive", heads: deriveHeads(plan) },
    { name: "decode", mlp: deriveMlp(plan) },
    { name: "match", heads: matchHeads(plan) },
    { name: "round", mlp: roundMlp(plan) },
    { name: "weigh", heads: weighHeads(plan) },
    { name: "logit", mlp: logitMlp(plan) },
    { name: "superpose", heads: superposeHeads(plan) },
    { name: "log", mlp: logMlp(plan) },
  ];
}

/**
 * Which stages share a layer: pairs, or one each but for the last two, after `idle` empty layers.
 * Throws `theory/size` when neither layout has `layers` layers.
 */
export function arrange(stages: Stage[], layers: number, idle = 0): Stage[][] {
  const pairs = stages.filter((_, s) => s % 2 === 0).map((_, p) => stages.slice(2 * p, 2 * p + 2));
  const empty = Array.from({ length: idle }, (): Stage[] => []);
  const apart = [...empty, ...stages.slice(0, -2).map((stage) => [stage]), stages.slice(-2)];
  const layout = [pairs, apart].find((blocks) => blocks.length === layers);
  if (layout !== undefined) return layout;
  throw new TheoryError(
    "theory/size",
    `${layers} layers were asked for; the construction has layouts of ${pairs.length} and ${apart.length} layers`,
  );
}

function endsOf(plan: Plan): Ends {
  const { layout, vocabularySize: d } = plan;
  const embed = new LinearMap(layout, { name: "embedding", writes: ["TOK"] });
  const unembed = new LinearMap(layout, { name: "unembedding", reads: ["LOG"] });
  for (let id = 0; id < d; id++) {
    embed.write(id, [along("TOK", id)]);
    unembed.read(id, [along("LOG", id)]);
  }
  const ends: Ends = {
    vocabSize: d + 1,
    maxPositions: promptLength(plan.examples, plan.exampleLength),
    embed: new SparseMatrix([d + 1, layout.dModel]),
    positions: positionTable(plan),
    unembed: new SparseMatrix([d + 1, layout.dModel]),
    unembedBias: new SparseMatrix([d + 1]),
  };
  for (const { unit, dimension, value } of embed.writeEntries) ends.embed.add(unit, dimension, value);
  for (const { unit, dimension, value } of unembed.readEntries) ends.unembed.add(unit, dimension, value);
  // BOS is the null answer: far below any task's (at least log(1/m)), far above log(0) = -2 bound.
  ends.unembedBias.add(d, 0, -plan.bound);
  return ends;
}

/** `[maxPositions, dModel]`: everything a position knows about itself. */
export function positionTable(plan: Plan): SparseMatrix {
  const { layout, examples, exampleLength, exampleBits, slotBits } = plan;
  const map = new LinearMap(layout, { name: "position embedding", writes: ["ONE", "BOS", "COUNT", "JB", "IB"] });
  const length = promptLength(examples, exampleLength);
  map.write(0, [along("ONE"), along("BOS")]);
  for (let example = 0; example <= examples; example++) {
    const slots = example < examples ? exampleLength : exampleLength - 1;
    for (let slot = 0; slot < slots; slot++) {
      map.write(positionOf(example, slot, exampleLength), [
        along("ONE"),
        along("COUNT", 0, isCounted(example, slot, examples, exampleLength) ? 1 : 0),
        ...binaryCode(example, exampleBits).map((sign, b) => along("JB", b, sign)),
        ...binaryCode(slot, slotBits).map((sign, b) => along("IB", b, sign)),
      ]);
    }
  }
  const table = new SparseMatrix([length, layout.dModel]);
  for (const { unit, dimension, value } of map.writeEntries) table.add(unit, dimension, value);
  return table;
}
