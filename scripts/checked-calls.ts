/** Every options object of the public API: the calls that take it, its schema, and the interface that describes it. */

import { BENCH_OPTIONS } from "../src/bench/options.ts";
import { RUN_OPTIONS } from "../src/bench/run.ts";
import { ATTRIBUTION_PATCH_OPTIONS } from "../src/hooks/attribution/attribution-patch.ts";
import { COMPARE_OPTIONS, COMPARED_PATCH_OPTIONS } from "../src/hooks/attribution/compare.ts";
import { INTEGRATED_GRADIENTS_OPTIONS } from "../src/hooks/attribution/integrated-gradients.ts";
import { TOKEN_SCORE_OPTIONS } from "../src/hooks/attribution/token-scores.ts";
import { ATTRIBUTION_GRAPH_OPTIONS } from "../src/hooks/attribution-graph/attribution-graph.ts";
import { CIRCUIT_TRACER_OPTIONS } from "../src/hooks/attribution-graph/circuit-tracer.ts";
import { PRUNE_OPTIONS } from "../src/hooks/attribution-graph/nodes.ts";
import { BACKWARD_OPTIONS } from "../src/hooks/backward.ts";
import { CIRCUIT_OPTIONS } from "../src/hooks/circuits/circuit.ts";
import { EDGE_ATTRIBUTION_OPTIONS } from "../src/hooks/circuits/edge-attribution.ts";
import { FAITHFULNESS_OPTIONS } from "../src/hooks/circuits/faithfulness.ts";
import { COMPARE_MODELS_OPTIONS } from "../src/hooks/compare-models.ts";
import { EDIT } from "../src/hooks/edit.ts";
import { HOOKED_GENERATE_OPTIONS } from "../src/hooks/generate.ts";
import { TOP_FEATURES_OPTIONS } from "../src/hooks/modules/active.ts";
import { FEATURE_ATTRIBUTION_OPTIONS } from "../src/hooks/modules/attribution.ts";
import { DICTIONARY_OPTIONS } from "../src/hooks/modules/load.ts";
import { MAX_ACTIVATING_OPTIONS } from "../src/hooks/modules/max-activating.ts";
import { SPLICE_OPTIONS } from "../src/hooks/modules/splice.ts";
import { ABLATE_OPTIONS } from "../src/hooks/patching/ablate.ts";
import { ACTIVATION_PATCH_OPTIONS } from "../src/hooks/patching/activation-patch.ts";
import { CAUSAL_TRACE_OPTIONS } from "../src/hooks/patching/causal-trace.ts";
import { INJECT_OPTIONS } from "../src/hooks/patching/inject.ts";
import { COMPOSITION_OPTIONS } from "../src/hooks/paths/composition.ts";
import { HEAD_CIRCUIT_OPTIONS } from "../src/hooks/paths/factored.ts";
import { HEAD_SVD_OPTIONS } from "../src/hooks/paths/head-svd.ts";
import { JACOBIAN_OPTIONS } from "../src/hooks/paths/jacobian.ts";
import { PATH_PATCH_OPTIONS } from "../src/hooks/paths/path-patch.ts";
import { RECEIVER } from "../src/hooks/paths/receivers.ts";
import { HOOKED_FORWARD_OPTIONS } from "../src/hooks/plan.ts";
import { ATTENTION_SUMMARY_OPTIONS } from "../src/hooks/readouts/attention.ts";
import { ATTRIBUTION_OPTIONS } from "../src/hooks/readouts/attribution.ts";
import {
  HEAD_SCORE_OPTIONS,
  RANDOM_TOKENS_OPTIONS,
  REPEATED_TOKENS_OPTIONS,
} from "../src/hooks/readouts/head-scores.ts";
import { LOGIT_LENS_OPTIONS } from "../src/hooks/readouts/logit-lens.ts";
import { LOSS_PER_TOKEN_OPTIONS } from "../src/hooks/readouts/loss-per-token.ts";
import { ACCUMULATED_OPTIONS, DECOMPOSE_OPTIONS, HEAD_RESULTS_OPTIONS } from "../src/hooks/readouts/residual.ts";
import { TEST_PROMPT_OPTIONS } from "../src/hooks/readouts/test-prompt.ts";
import { SWEEP_OPTIONS } from "../src/hooks/sweep-options.ts";
import { BEAM_OPTIONS } from "../src/model/drafts/beam.ts";
import { NGRAM_OPTIONS } from "../src/model/drafts/ngrams.ts";
import { SUPERPOSED_OPTIONS } from "../src/model/drafts/superposed.ts";
import { LOAD_OPTIONS } from "../src/model/load.ts";
import { ENCODE_OPTIONS, KV_CACHE_OPTIONS, TOKEN_POSITION_OPTIONS } from "../src/model/loaded-model.ts";
import { LOG_PROBS_OPTIONS } from "../src/model/log-probs.ts";
import { PROCESS_OPTIONS } from "../src/model/processed.ts";
import { ANSWER_OPTIONS } from "../src/paper/answers.ts";
import { BATCH_OPTIONS } from "../src/paper/batches.ts";
import { DEFAULT_MODELS_OPTIONS } from "../src/paper/embedded.ts";
import { LINE_OPTIONS } from "../src/paper/lines.ts";
import { MEASURE_OPTIONS } from "../src/paper/measure.ts";
import { PRESET_SIZE, PRESET_SPEC } from "../src/paper/preset-spec.ts";
import { PROMPT_OPTIONS } from "../src/paper/prompts.ts";
import { RUN_REPORT_OPTIONS } from "../src/paper/run-all.ts";
import { RUN_FIGURE_OPTIONS } from "../src/paper/runs.ts";
import { TRAIN_PRESET_OPTIONS } from "../src/paper/train-preset.ts";
import { ATTENTION_VIEW_OPTIONS } from "../src/pictures/attention-view.ts";
import { BAR_CHART_OPTIONS } from "../src/pictures/bar-chart.ts";
import { GROUPED_BARS_OPTIONS } from "../src/pictures/grouped-bars.ts";
import { HEAT_MAP_OPTIONS } from "../src/pictures/heat-map.ts";
import { PLOT_AXIS } from "../src/pictures/plot-axis.ts";
import { POINT_PLOT_OPTIONS } from "../src/pictures/point-plot.ts";
import { TERNARY_PLOT_OPTIONS } from "../src/pictures/ternary-plot.ts";
import type { Schema } from "../src/schema/schema.ts";
import { CONSTRUCTION_OPTIONS } from "../src/theory/plan.ts";
import { VERIFY_OPTIONS } from "../src/theory/verify/index.ts";
import { CHAT_TEMPLATE_OPTIONS } from "../src/tokenizer/chat.ts";
import { ADAMW_OPTIONS } from "../src/train/adamw.ts";
import { TRAIN_DICTIONARY_OPTIONS } from "../src/train/dictionary.ts";
import { INITIAL_WEIGHTS_OPTIONS } from "../src/train/initialise.ts";
import { SAVE_OPTIONS } from "../src/train/save.ts";
import { SCHEDULE } from "../src/train/schedule.ts";
import { TRAIN_CHECKPOINTS, TRAIN_OPTIONS } from "../src/train/train.ts";

export interface CheckedCall {
  /** As a heading. */
  calls: string;
  schema: Schema;
  /** The interface whose comments say what each option does. */
  type: string;
  /** Where it and those that it extends are. */
  files: readonly string[];
}

const INPUT = "src/model/input.ts";
const MODEL = "src/model/runner.ts";
const GENERATE = ["src/hooks/generate.ts", "src/model/generate.ts", "src/model/sampling.ts", INPUT];
const EXPERIMENT = ["src/hooks/patching/experiment.ts", "src/hooks/sweep-options.ts"];
const ATTRIBUTION = "src/hooks/attribution/";
const PICTURES = "src/pictures/";
const PROMPT_PAIR = "src/hooks/circuits/prompts.ts";
const RESIDUAL = ["src/hooks/readouts/residual.ts"];

export const CHECKED_CALLS: readonly CheckedCall[] = [
  {
    calls: "`loadModel`, `loadSuperposition`",
    schema: LOAD_OPTIONS,
    type: "LoadOptions",
    files: ["src/model/load.ts", "src/hosts/request.ts", "src/model/tuning.ts"],
  },
  {
    calls: "`forward`, `runWithCache`, `runWithHooks`",
    schema: HOOKED_FORWARD_OPTIONS,
    type: "HookedForwardOptions",
    files: ["src/hooks/plan.ts", MODEL, INPUT],
  },
  {
    calls: "`backward`",
    schema: BACKWARD_OPTIONS,
    type: "BackwardOptions",
    files: ["src/hooks/backward.ts", INPUT],
  },
  {
    calls: "`model.withModules`",
    schema: SPLICE_OPTIONS,
    type: "SpliceOptions",
    files: ["src/hooks/modules/splice.ts"],
  },
  {
    calls: "`compareModels`",
    schema: COMPARE_MODELS_OPTIONS,
    type: "LongCallOptions",
    files: ["src/model/long-call.ts"],
  },
  {
    calls: "`topFeatures`",
    schema: TOP_FEATURES_OPTIONS,
    type: "TopFeaturesOptions",
    files: ["src/hooks/modules/active.ts", "src/model/long-call.ts"],
  },
  {
    calls: "`featureAttribution`",
    schema: FEATURE_ATTRIBUTION_OPTIONS,
    type: "FeatureAttributionOptions",
    files: ["src/hooks/modules/attribution.ts", "src/model/long-call.ts"],
  },
  {
    calls: "`attributionGraph`",
    schema: ATTRIBUTION_GRAPH_OPTIONS,
    type: "AttributionGraphOptions",
    files: [
      "src/hooks/attribution-graph/attribution-graph.ts",
      "src/hooks/attribution-graph/nodes.ts",
      "src/model/long-call.ts",
    ],
  },
  {
    calls: "`graph.prune`, of an attribution graph",
    schema: PRUNE_OPTIONS,
    type: "PruneOptions",
    files: ["src/hooks/attribution-graph/nodes.ts"],
  },
  {
    calls: "`graph.toCircuitTracer`",
    schema: CIRCUIT_TRACER_OPTIONS,
    type: "CircuitTracerOptions",
    files: ["src/hooks/attribution-graph/circuit-tracer.ts", "src/hooks/attribution-graph/nodes.ts"],
  },
  {
    calls: "`maxActivating`",
    schema: MAX_ACTIVATING_OPTIONS,
    type: "MaxActivatingOptions",
    files: ["src/hooks/modules/max-activating.ts", "src/model/long-call.ts"],
  },
  {
    calls: "`loadDictionary`, `inspectDictionary`",
    schema: DICTIONARY_OPTIONS,
    type: "DictionaryOptions",
    files: ["src/hooks/modules/load.ts"],
  },
  { calls: "An edit", schema: EDIT, type: "Edit", files: ["src/hooks/edit.ts"] },
  { calls: "`generate`", schema: HOOKED_GENERATE_OPTIONS, type: "HookedGenerateOptions", files: GENERATE },
  {
    calls: "`logProbs`",
    schema: LOG_PROBS_OPTIONS,
    type: "LogProbsOptions",
    files: ["src/model/log-probs.ts"],
  },
  {
    calls: "`superposedDecode`",
    schema: SUPERPOSED_OPTIONS,
    type: "SuperposedOptions",
    files: ["src/model/drafts/superposed.ts", "src/model/drafts/drafts.ts", INPUT],
  },
  {
    calls: "`beamSearch`",
    schema: BEAM_OPTIONS,
    type: "DraftOptions",
    files: ["src/model/drafts/drafts.ts", INPUT],
  },
  { calls: "`NgramModel`", schema: NGRAM_OPTIONS, type: "NgramOptions", files: ["src/model/drafts/ngrams.ts"] },
  { calls: "`toTokens`, `toStrTokens`", schema: ENCODE_OPTIONS, type: "EncodeInputOptions", files: [INPUT] },
  {
    calls: "`tokenPosition`",
    schema: TOKEN_POSITION_OPTIONS,
    type: "TokenPositionOptions",
    files: ["src/model/loaded-model.ts", INPUT],
  },
  {
    calls: "`chat`, `applyChatTemplate`",
    schema: CHAT_TEMPLATE_OPTIONS,
    type: "ChatTemplateOptions",
    files: ["src/tokenizer/chat.ts"],
  },
  { calls: "`processed`", schema: PROCESS_OPTIONS, type: "ProcessOptions", files: ["src/model/processed.ts"] },
  { calls: "`createKvCache`", schema: KV_CACHE_OPTIONS, type: "KvCacheOptions", files: ["src/model/loaded-model.ts"] },
  { calls: "`sweep`", schema: SWEEP_OPTIONS, type: "SweepOptions", files: EXPERIMENT },
  {
    calls: "`activationPatch`",
    schema: ACTIVATION_PATCH_OPTIONS,
    type: "ActivationPatchOptions",
    files: ["src/hooks/patching/activation-patch.ts", ...EXPERIMENT],
  },
  {
    calls: "`attributionPatch`",
    schema: ATTRIBUTION_PATCH_OPTIONS,
    type: "AttributionPatchOptions",
    files: [`${ATTRIBUTION}attribution-patch.ts`, "src/hooks/patching/activation-patch.ts", ...EXPERIMENT],
  },
  {
    calls: "`compareWithExact`, its second argument",
    schema: COMPARED_PATCH_OPTIONS,
    type: "ComparedPatchOptions",
    files: [
      `${ATTRIBUTION}compare.ts`,
      `${ATTRIBUTION}attribution-patch.ts`,
      "src/hooks/patching/activation-patch.ts",
      ...EXPERIMENT,
    ],
  },
  {
    calls: "`compareWithExact`, its third argument",
    schema: COMPARE_OPTIONS,
    type: "CompareOptions",
    files: [`${ATTRIBUTION}compare.ts`],
  },
  {
    calls: "`integratedGradients`",
    schema: INTEGRATED_GRADIENTS_OPTIONS,
    type: "IntegratedGradientsOptions",
    files: [`${ATTRIBUTION}integrated-gradients.ts`, `${ATTRIBUTION}token-scores.ts`],
  },
  {
    calls: "`saliency`, `gradientTimesActivation`",
    schema: TOKEN_SCORE_OPTIONS,
    type: "TokenScoreOptions",
    files: [`${ATTRIBUTION}token-scores.ts`],
  },
  {
    calls: "`ablate`",
    schema: ABLATE_OPTIONS,
    type: "AblateOptions",
    files: ["src/hooks/patching/ablate.ts", ...EXPERIMENT],
  },
  {
    calls: "`causalTrace`",
    schema: CAUSAL_TRACE_OPTIONS,
    type: "CausalTraceOptions",
    files: ["src/hooks/patching/causal-trace.ts", ...EXPERIMENT],
  },
  {
    calls: "`injectAtLayers`",
    schema: INJECT_OPTIONS,
    type: "InjectOptions",
    files: ["src/hooks/patching/inject.ts", ...EXPERIMENT],
  },
  {
    calls: "`edgeAttribution`",
    schema: EDGE_ATTRIBUTION_OPTIONS,
    type: "EdgeAttributionOptions",
    files: ["src/hooks/circuits/edge-attribution.ts", PROMPT_PAIR],
  },
  { calls: "`faithfulness`", schema: FAITHFULNESS_OPTIONS, type: "PromptPairOptions", files: [PROMPT_PAIR] },
  { calls: "`circuit`", schema: CIRCUIT_OPTIONS, type: "CircuitOptions", files: ["src/hooks/circuits/circuit.ts"] },
  {
    calls: "`pathPatch`",
    schema: PATH_PATCH_OPTIONS,
    type: "PathPatchOptions",
    files: ["src/hooks/paths/path-patch.ts", ...EXPERIMENT],
  },
  { calls: "A receiver of `pathPatch`", schema: RECEIVER, type: "Receiver", files: ["src/hooks/paths/receivers.ts"] },
  {
    calls: "`jacobian`",
    schema: JACOBIAN_OPTIONS,
    type: "JacobianOptions",
    files: ["src/hooks/paths/jacobian.ts"],
  },
  {
    calls: "`headSvd`",
    schema: HEAD_SVD_OPTIONS,
    type: "HeadSvdOptions",
    files: ["src/hooks/paths/head-svd.ts", "src/hooks/paths/factored.ts"],
  },
  {
    calls: "`headCircuit`",
    schema: HEAD_CIRCUIT_OPTIONS,
    type: "HeadCircuitOptions",
    files: ["src/hooks/paths/factored.ts"],
  },
  {
    calls: "`allCompositionScores`",
    schema: COMPOSITION_OPTIONS,
    type: "CompositionOptions",
    files: ["src/hooks/paths/composition.ts"],
  },
  {
    calls: "`lossPerToken`",
    schema: LOSS_PER_TOKEN_OPTIONS,
    type: "LossPerTokenOptions",
    files: ["src/hooks/readouts/loss-per-token.ts", INPUT],
  },
  {
    calls: "`testPrompt`",
    schema: TEST_PROMPT_OPTIONS,
    type: "TestPromptOptions",
    files: ["src/hooks/readouts/test-prompt.ts", "src/model/log-probs.ts", INPUT],
  },
  {
    calls: "`logitLens`",
    schema: LOGIT_LENS_OPTIONS,
    type: "LogitLensOptions",
    files: ["src/hooks/readouts/logit-lens.ts"],
  },
  {
    calls: "`directLogitAttribution`",
    schema: ATTRIBUTION_OPTIONS,
    type: "AttributionOptions",
    files: ["src/hooks/readouts/attribution.ts"],
  },
  { calls: "`accumulatedResid`", schema: ACCUMULATED_OPTIONS, type: "AccumulatedOptions", files: RESIDUAL },
  { calls: "`decomposeResid`", schema: DECOMPOSE_OPTIONS, type: "DecomposeOptions", files: RESIDUAL },
  { calls: "`headResults`", schema: HEAD_RESULTS_OPTIONS, type: "ResidualOptions", files: RESIDUAL },
  {
    calls: "`attentionSummary`",
    schema: ATTENTION_SUMMARY_OPTIONS,
    type: "AttentionSummaryOptions",
    files: ["src/hooks/readouts/attention.ts"],
  },
  {
    calls: "`headScores`",
    schema: HEAD_SCORE_OPTIONS,
    type: "HeadScoreOptions",
    files: ["src/hooks/readouts/head-scores.ts"],
  },
  {
    calls: "`inductionScores`, `duplicateTokenScores`, `previousTokenScores`",
    schema: REPEATED_TOKENS_OPTIONS,
    type: "RepeatedTokensOptions",
    files: ["src/hooks/readouts/head-scores.ts"],
  },
  {
    calls: "`repeatedRandomTokens`",
    schema: RANDOM_TOKENS_OPTIONS,
    type: "RandomTokensOptions",
    files: ["src/hooks/readouts/head-scores.ts"],
  },
  {
    calls: "`buildSuperposition`",
    schema: CONSTRUCTION_OPTIONS,
    type: "ConstructionOptions",
    files: ["src/theory/plan.ts"],
  },
  { calls: "`train`", schema: TRAIN_OPTIONS, type: "TrainOptions", files: ["src/train/train.ts"] },
  { calls: "`schedule` of `train`", schema: SCHEDULE, type: "Schedule", files: ["src/train/schedule.ts"] },
  { calls: "`optimizer` of `train`", schema: ADAMW_OPTIONS, type: "AdamWOptions", files: ["src/train/adamw.ts"] },
  {
    calls: "`checkpoint` of `train`",
    schema: TRAIN_CHECKPOINTS,
    type: "TrainCheckpoints",
    files: ["src/train/train.ts"],
  },
  {
    calls: "`initialWeights`",
    schema: INITIAL_WEIGHTS_OPTIONS,
    type: "InitialWeightsOptions",
    files: ["src/train/initialise.ts"],
  },
  {
    calls: "`trainPreset`",
    schema: TRAIN_PRESET_OPTIONS,
    type: "TrainPresetOptions",
    files: ["src/paper/train-preset.ts"],
  },
  {
    calls: "A preset of your own: `trainingPreset`, and FILE.json of `superlens train`",
    schema: PRESET_SPEC,
    type: "PresetSpec",
    files: ["src/paper/preset-spec.ts"],
  },
  { calls: "`size` of a preset", schema: PRESET_SIZE, type: "PresetSize", files: ["src/paper/preset-spec.ts"] },
  {
    calls: "`defaultModels`",
    schema: DEFAULT_MODELS_OPTIONS,
    type: "DefaultModelsOptions",
    files: ["src/paper/embedded.ts"],
  },
  {
    calls: "`trainDictionary`",
    schema: TRAIN_DICTIONARY_OPTIONS,
    type: "TrainDictionaryOptions",
    files: ["src/train/dictionary.ts"],
  },
  { calls: "`saveModel`", schema: SAVE_OPTIONS, type: "SaveOptions", files: ["src/train/save.ts"] },
  {
    calls: "`trainPreset`",
    schema: TRAIN_PRESET_OPTIONS,
    type: "TrainPresetOptions",
    files: ["src/paper/train-preset.ts"],
  },
  {
    calls: "`answerProbabilities`",
    schema: ANSWER_OPTIONS,
    type: "AnswerOptions",
    files: ["src/paper/answers.ts", "src/model/log-probs.ts", INPUT],
  },
  { calls: "`trainingBatches`", schema: BATCH_OPTIONS, type: "BatchOptions", files: ["src/paper/batches.ts"] },
  { calls: "`evaluationPrompts`", schema: PROMPT_OPTIONS, type: "PromptOptions", files: ["src/paper/prompts.ts"] },
  { calls: "`likeliestLines`", schema: LINE_OPTIONS, type: "LineOptions", files: ["src/paper/lines.ts"] },
  { calls: "`measurePrompts`", schema: MEASURE_OPTIONS, type: "MeasureOptions", files: ["src/paper/measure.ts"] },
  { calls: "`runReport`", schema: RUN_REPORT_OPTIONS, type: "RunReportOptions", files: ["src/paper/run-all.ts"] },
  { calls: "`runFigure`", schema: RUN_FIGURE_OPTIONS, type: "RunFigureOptions", files: ["src/paper/runs.ts"] },
  { calls: "`heatMap`", schema: HEAT_MAP_OPTIONS, type: "HeatMapOptions", files: [`${PICTURES}heat-map.ts`] },
  {
    calls: "`attentionView`",
    schema: ATTENTION_VIEW_OPTIONS,
    type: "AttentionViewOptions",
    files: [`${PICTURES}attention-view.ts`],
  },
  { calls: "`barChart`", schema: BAR_CHART_OPTIONS, type: "BarChartOptions", files: [`${PICTURES}bar-chart.ts`] },
  {
    calls: "`groupedBars`",
    schema: GROUPED_BARS_OPTIONS,
    type: "GroupedBarsOptions",
    files: [`${PICTURES}grouped-bars.ts`],
  },
  { calls: "`pointPlot`", schema: POINT_PLOT_OPTIONS, type: "PointPlotOptions", files: [`${PICTURES}point-plot.ts`] },
  {
    calls: "`ternaryPlot`",
    schema: TERNARY_PLOT_OPTIONS,
    type: "TernaryPlotOptions",
    files: [`${PICTURES}ternary-plot.ts`],
  },
  { calls: "An axis of a plot: `x`, `y`", schema: PLOT_AXIS, type: "PlotAxis", files: [`${PICTURES}plot-axis.ts`] },
  { calls: "`verify`", schema: VERIFY_OPTIONS, type: "VerifyOptions", files: ["src/theory/verify/index.ts"] },
  {
    calls: "`runBench`",
    schema: RUN_OPTIONS,
    type: "RunOptions",
    files: ["src/bench/run.ts", "src/bench/options.ts", "src/hosts/request.ts"],
  },
  { calls: "`planTests`", schema: BENCH_OPTIONS, type: "BenchOptions", files: ["src/bench/options.ts"] },
];
