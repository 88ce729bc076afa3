/**
 * The vector form of the theorem, built from the stages that the package ships: no vocabulary, unit vectors x in R^d, tasks that are orthogonal matrices A_k.
 *
 * An example is n vectors, its label A_k x for some task and slot. Inputs enter as embeddings, and the logits at the
 * last position are the vector OUT = sum_k w_k A_k x itself. The same match, weigh and superpose stages run; derive and
 * log have no meaning here, so three layers are enough (seven in the theorem's layout, two of them idle).
 * A pair counts as a match when y . A_k x exceeds the threshold; pairs within about ln(3)/gamma of it are undecided.
 */
import { type AssembledModel, assemble, type Ends, type Stage } from "../../src/theory/assemble.ts";
import { arrange, positionTable } from "../../src/theory/build.ts";
import { bitsFor, positionOf, promptLength } from "../../src/theory/codes.ts";
import { TheoryError } from "../../src/theory/errors.ts";
import { matchHeads, roundMlp } from "../../src/theory/parts/match.ts";
import { superposeHeads } from "../../src/theory/parts/superpose.ts";
import { logitMlp, weighHeads } from "../../src/theory/parts/weigh.ts";
import {
  checkExamples,
  chooseConstants,
  chooseHeads,
  DEFAULT_CONSTANTS,
  type HeadTask,
  type Plan,
} from "../../src/theory/plan.ts";
import { along, ResidualLayout } from "../../src/theory/spaces.ts";
import { SparseMatrix } from "../../src/theory/sparse.ts";

export interface VectorTask {
  name: string;
  /** The input slot the task reads. */
  slot: number;
  /** A_k, `[d][d]`: the label is matrix times input. */
  matrix: readonly (readonly number[])[];
}

export interface VectorOptions {
  /** d, n (inputs and label) and m. */
  dimension: number;
  exampleLength: number;
  examples: number;
  tasks: readonly VectorTask[];
  heads?: number;
  /** 3, or 7 as in the theorem. */
  layers?: 3 | 7;
  /** y . A_k x above this is a match. Default 3/4. */
  threshold?: number;
  beta?: number;
  bound?: number;
}

export interface VectorModel extends AssembledModel {
  layout: ResidualLayout;
  options: VectorOptions;
  /** y . A_k x above this is a match. */
  threshold: number;
}

/** Examples of n vectors and a query of n - 1 vectors, each of length d. */
export interface VectorPrompt {
  examples: readonly (readonly (readonly number[])[])[];
  query: readonly (readonly number[])[];
}

/**
 * Builds the vector form. Throws `theory/heads`, or `theory/size` (also for a matrix that is not d x d or not
 * orthogonal).
 */
export function buildVectorForm(options: VectorOptions): VectorModel {
  const plan = planVectors(options);
  const stages: Stage[] = [
    { name: "match", heads: matchHeads(plan) },
    { name: "round", mlp: roundMlp(plan) },
    { name: "weigh", heads: weighHeads(plan) },
    { name: "logit", mlp: logitMlp(plan) },
    { name: "superpose", heads: superposeHeads(plan) },
    { name: "log" },
  ];
  const blocks = arrange(stages, options.layers ?? 3, 2);
  const nHeads = chooseHeads(plan.tasks.length, options.heads);
  const model = assemble(plan.layout, blocks, nHeads, vectorEnds(plan));
  return { ...model, layout: plan.layout, options, threshold: plan.threshold };
}

function planVectors(options: VectorOptions): Plan {
  const { dimension, exampleLength, examples, tasks } = options;
  checkExamples(examples);
  const threshold = options.threshold ?? 3 / 4;
  if (!(threshold > 0 && threshold < 1)) {
    throw new TheoryError("theory/size", `threshold is ${threshold}; it must lie between 0 and 1`);
  }
  const beta = options.beta ?? DEFAULT_CONSTANTS.beta;
  const exampleBits = bitsFor(examples + 1);
  const slotBits = bitsFor(exampleLength);
  const K = tasks.length;
  return {
    // A match clears the threshold by gamma (1 - threshold) = beta; a matching vector at the wrong position stays
    // 2 beta - gamma (1 - threshold) = beta below it.
    ...chooseConstants({ beta, gamma: beta / (1 - threshold), bound: options.bound }),
    layout: new ResidualLayout({
      TOK: dimension,
      ONE: 1,
      BOS: 1,
      COUNT: 1,
      JB: exampleBits,
      IB: slotBits,
      MATCH: K,
      WEIGHT: K,
      LOGIT: K,
      OUT: dimension,
    }),
    vocabularySize: dimension,
    exampleLength,
    examples,
    exampleBits,
    slotBits,
    tasks: tasks.map((task) => vectorHeadTask(task, dimension, exampleLength)),
    threshold,
    sum: null,
  };
}

function vectorHeadTask({ name, slot, matrix }: VectorTask, d: number, n: number): HeadTask {
  if (!Number.isInteger(slot) || slot < 0 || slot > n - 2) {
    throw new TheoryError("theory/size", `task "${name}" reads slot ${slot}; input slots are 0 to ${n - 2}`);
  }
  if (matrix.length !== d || matrix.some((row) => row.length !== d)) {
    throw new TheoryError("theory/size", `the matrix of task "${name}" is not ${d} x ${d}`);
  }
  checkOrthogonal(name, matrix);
  return {
    name,
    source: "TOK",
    slot,
    rows: matrix.map((row, answer) => ({ answer, reads: row.map((value, j) => along("TOK", j, value)) })),
  };
}

function checkOrthogonal(name: string, matrix: VectorTask["matrix"]): void {
  matrix.forEach((a, i) => {
    for (const [j, b] of matrix.slice(0, i + 1).entries()) {
      const product = a.reduce((sum, value, c) => sum + value * (b[c] as number), 0);
      if (Math.abs(product - (i === j ? 1 : 0)) < 1e-6) continue;
      throw new TheoryError(
        "theory/size",
        `the matrix of task "${name}" is not orthogonal: rows ${i} and ${j} have inner product ${product}`,
      );
    }
  });
}

/** Tokens of the vector form are the basis vectors and a zero vector for position 0; the logits are OUT. */
function vectorEnds(plan: Plan): Ends {
  const { layout, vocabularySize: d } = plan;
  const embed = new SparseMatrix([d + 1, layout.dModel]);
  const unembed = new SparseMatrix([d + 1, layout.dModel]);
  for (let i = 0; i < d; i++) {
    embed.add(i, layout.dimension("TOK", i), 1);
    unembed.add(i, layout.dimension("OUT", i), 1);
  }
  return {
    vocabSize: d + 1,
    maxPositions: promptLength(plan.examples, plan.exampleLength),
    embed,
    positions: positionTable(plan),
    unembed,
    unembedBias: new SparseMatrix([d + 1]),
  };
}

/** The prompt as `inputsEmbeds`, `[positions, dModel]`: vectors in TOK, zero at position 0. Throws `theory/prompt`. */
export function vectorEmbeds({ options, layout }: VectorModel, prompt: VectorPrompt): Float64Array<ArrayBuffer> {
  const { dimension, exampleLength: n, examples: m } = options;
  const groups = [...prompt.examples, prompt.query];
  groups.forEach((group, j) => {
    const expected = j < m ? n : n - 1;
    if (groups.length === m + 1 && group.length === expected && group.every((x) => x.length === dimension)) return;
    throw new TheoryError(
      "theory/prompt",
      `a prompt is ${m} examples of ${n} vectors and a query of ${n - 1}, each of ${dimension} numbers; ` +
        `this one has ${groups.length - 1} examples, and group ${j} has ${group.length} vectors`,
    );
  });
  const embeds = new Float64Array(promptLength(m, n) * layout.dModel);
  groups.forEach((group, j) => {
    group.forEach((vector, slot) => {
      const start = positionOf(j, slot, n) * layout.dModel + layout.dimension("TOK", 0);
      embeds.set(vector, start);
    });
  });
  return embeds;
}

/** What the theorem says the model returns: weights w_k and OUT = sum_k w_k A_k x, computed directly. */
export function idealVectors(model: VectorModel, prompt: VectorPrompt): { weights: number[]; out: number[] } {
  const { dimension, tasks, examples } = model.options;
  const apply = (matrix: VectorTask["matrix"], x: readonly number[]) =>
    matrix.map((row) => row.reduce((sum, value, j) => sum + value * (x[j] as number), 0));
  const out = new Array<number>(dimension).fill(0);
  const weights = tasks.map(({ matrix, slot }) => {
    const matches = prompt.examples.filter((example) => {
      const answer = apply(matrix, example[slot] as readonly number[]);
      const label = example.at(-1) as readonly number[];
      return answer.reduce((sum, value, i) => sum + value * (label[i] as number), 0) > model.threshold;
    });
    return matches.length / examples;
  });
  tasks.forEach(({ matrix, slot }, k) => {
    apply(matrix, prompt.query[slot] as readonly number[]).forEach((value, i) => {
      out[i] = (out[i] as number) + (weights[k] as number) * value;
    });
  });
  return { weights, out };
}
