/**
 * The methods of `superlens attribute`, a row each: what they mean, what can be checked before there is a GPU, and how their
 * answers are shown. The methods themselves are the library's.
 */

import { refuseNormedBias } from "../hooks/circuits/outputs.ts";
import {
  type AttributionComparison,
  activationPatch,
  attributionPatch,
  type CircuitGraph,
  compareWithExact,
  type EdgeAttributionOptions,
  edgeAttribution,
  type HookedModel,
  type IntegratedGradients,
  integratedGradients,
  type Metric,
  type PatchGrid,
} from "../hooks/index.ts";
import { type CheckedMetric, checkMetrics, gradientModeOf } from "../hooks/metrics.ts";
import { planPatch } from "../hooks/patching/activation-patch.ts";
import { promptPair } from "../hooks/patching/experiment.ts";
import { metricEnd, SITE } from "../hooks/patching/sites.ts";
import { resolvePoint } from "../hooks/points.ts";
import * as s from "../schema/schema.ts";
import { grouped, table } from "./output.ts";
import type { ModelFacts } from "./session.ts";

/** What every method is asked. */
export interface Question {
  /** Token ids. */
  clean: number[];
  corrupted: number[];
  metric: Metric;
  metricPosition?: number | undefined;
  /** A site; for `ig` a point. */
  at?: string | undefined;
  /** Cells that attribution patching is compared with exact patching on. */
  check: number;
}

/** What was found: lines for people, an object for programs. */
export interface Answer {
  lines: string[];
  json: object;
}

/** Edges that are printed. */
const MOST_EDGES = 20;

interface Method {
  meaning: string;
  /** What `at` is unless told; undefined: the method has no place to choose. */
  at?: string;
  /** What `at` names. */
  takes?: "site" | "point";
  /** All that needs no weights. What it throws ends the command. */
  check(facts: ModelFacts, question: Question): void;
  answer(model: HookedModel, question: Question, signal: AbortSignal): Promise<Answer>;
}

const METHODS = {
  attribution: {
    meaning: "the linear estimate of exact, from one backward pass; --check says how good it is",
    at: "resid_pre",
    takes: "site",
    check(facts, question) {
      planPatch(facts, patchOf(question));
      checkGradient(facts, question);
    },
    async answer(model, question, signal) {
      const patch = { ...patchOf(question), signal };
      if (question.check === 0) return gridAnswer(await attributionPatch(model, patch));
      return compared(await compareWithExact(model, patch, { sample: question.check }));
    },
  },
  exact: {
    meaning: "every activation is patched",
    at: "resid_pre",
    takes: "site",
    check(facts, question) {
      planPatch(facts, patchOf(question));
      checkMetrics([question.metric as CheckedMetric], facts.spec);
    },
    answer: async (model, question, signal) =>
      gridAnswer(await activationPatch(model, { ...patchOf(question), signal })),
  },
  ig: {
    meaning: "integrated gradients of the clean prompt's embeddings, from the corrupted ones on",
    at: "hook_embed",
    takes: "point",
    check(facts, question) {
      promptPair(facts, question);
      resolvePoint(facts.spec, question.at ?? "hook_embed");
      metricEnd(question.metricPosition, question.clean.length);
      checkGradient(facts, question);
    },
    async answer(model, { clean: input, corrupted: baseline, metric, metricPosition, at }, signal) {
      return scoresAnswer(await integratedGradients(model, { input, baseline, metric, metricPosition, at, signal }));
    },
  },
  eap: edgeMethod(
    "eap",
    "edge attribution patching: the linear estimate for every edge between heads, MLPs and logits",
  ),
  "eap-ig": edgeMethod("eap-ig-inputs", "the same with the gradient averaged between both prompts' embeddings"),
} as const satisfies Record<string, Method>;

export type MethodName = keyof typeof METHODS;

/** The names, and what they mean. */
export const METHOD_NAMES = Object.keys(METHODS) as MethodName[];
export const methodOf = (name: MethodName): Method => METHODS[name];

function edgeMethod(method: EdgeAttributionOptions["method"], meaning: string): Method {
  return {
    meaning,
    check(facts, question) {
      refuseNormedBias(facts.spec);
      promptPair(facts, question);
      metricEnd(question.metricPosition, question.clean.length);
      checkGradient(facts, question);
    },
    async answer(model, { clean, corrupted, metric, metricPosition }, signal) {
      return edgesAnswer(await edgeAttribution(model, { clean, corrupted, metric, metricPosition, method, signal }));
    },
  };
}

/** @throws HookError `hook/metric` for a metric without a gradient */
function checkGradient({ spec }: ModelFacts, { metric }: Question): void {
  checkMetrics([metric as CheckedMetric], spec);
  gradientModeOf(metric as CheckedMetric, spec);
}

/** What the methods that patch a site take. */
function patchOf({ clean, corrupted, metric, metricPosition, at }: Question) {
  return { clean, corrupted, metric, metricPosition, at: s.readArgument(SITE, at, "attribute", "at") };
}

function gridAnswer(grid: PatchGrid): Answer {
  const ends = `clean ${grid.clean.toFixed(4)}, corrupted ${grid.corrupted.toFixed(4)}`;
  return {
    lines: [`${ends}; in the table 0 is the corrupted run, 1 the clean one`, grid.toTable(grid.normalized())],
    json: grid.toJSON(),
  };
}

/** The grid of attribution patching, and how wrong it is. */
function compared({ grid, cells, ...comparison }: AttributionComparison): Answer {
  const { correlation, largestError, largestChange, signDiffers } = comparison;
  const { lines, json } = gridAnswer(grid);
  const errors = `largest error ${largestError.toFixed(3)} of changes up to ${largestChange.toFixed(3)}`;
  const said = `compared with exact patching, ${cells.length} of ${grid.values.length} cells: correlation ${correlation.toFixed(3)}, ${errors}, ${signDiffers.length} with the other sign`;
  const { worst } = comparison;
  return {
    lines: [...lines, said],
    json: { ...json, exact: { correlation, largestError, largestChange, worst, signDiffers, cells } },
  };
}

function scoresAnswer({ positions, scores, value, baseline, sum, gap, at }: IntegratedGradients): Answer {
  const rows = positions.labels.map((label, index) => [label, (scores[index] as number).toFixed(4)]);
  return {
    lines: [
      `clean ${value.toFixed(4)}, corrupted ${baseline.toFixed(4)}`,
      ...table(rows, ["left", "right"]),
      `together ${sum.toFixed(4)}, which differs from clean - corrupted by ${gap.toExponential(1)}`,
    ],
    json: { at, positions, scores: [...scores], clean: value, corrupted: baseline, sum, gap },
  };
}

/** The largest edges; as JSON the whole graph, as EAP-IG reads it. */
function edgesAnswer(graph: CircuitGraph): Answer {
  const edges = [...graph.edges.values()].sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
  const rows = edges.slice(0, MOST_EDGES).map(({ name, score }) => [score.toFixed(4), name]);
  const count = `${rows.length} of ${grouped(edges.length)} edges`;
  return {
    lines: [`${count}, by what the metric gains when one carries the corrupted output:`, ...table(rows, ["right"])],
    json: graph.toJSON(),
  };
}
