import { ATTRIBUTION_PATCH_OPTIONS } from "../../src/hooks/attribution/attribution-patch.ts";
import { COMPARE_OPTIONS, COMPARED_PATCH_OPTIONS } from "../../src/hooks/attribution/compare.ts";
import { INTEGRATED_GRADIENTS_OPTIONS } from "../../src/hooks/attribution/integrated-gradients.ts";
import { TOKEN_SCORE_OPTIONS } from "../../src/hooks/attribution/token-scores.ts";
import { ATTRIBUTION_GRAPH_OPTIONS } from "../../src/hooks/attribution-graph/attribution-graph.ts";
import { CIRCUIT_OPTIONS } from "../../src/hooks/circuits/circuit.ts";
import { EDGE_ATTRIBUTION_OPTIONS } from "../../src/hooks/circuits/edge-attribution.ts";
import { FAITHFULNESS_OPTIONS } from "../../src/hooks/circuits/faithfulness.ts";
import { HOOKED_GENERATE_OPTIONS } from "../../src/hooks/generate.ts";
import { TOP_FEATURES_OPTIONS } from "../../src/hooks/modules/active.ts";
import { FEATURE_ATTRIBUTION_OPTIONS } from "../../src/hooks/modules/attribution.ts";
import { DICTIONARY_OPTIONS } from "../../src/hooks/modules/load.ts";
import { MAX_ACTIVATING_OPTIONS } from "../../src/hooks/modules/max-activating.ts";
import { SPLICE_OPTIONS } from "../../src/hooks/modules/splice.ts";
import { ABLATE_OPTIONS } from "../../src/hooks/patching/ablate.ts";
import { ACTIVATION_PATCH_OPTIONS } from "../../src/hooks/patching/activation-patch.ts";
import { CAUSAL_TRACE_OPTIONS } from "../../src/hooks/patching/causal-trace.ts";
import { INJECT_OPTIONS } from "../../src/hooks/patching/inject.ts";
import { COMPOSITION_OPTIONS } from "../../src/hooks/paths/composition.ts";
import { HEAD_CIRCUIT_OPTIONS } from "../../src/hooks/paths/factored.ts";
import { HEAD_SVD_OPTIONS } from "../../src/hooks/paths/head-svd.ts";
import { JACOBIAN_OPTIONS } from "../../src/hooks/paths/jacobian.ts";
import { PATH_PATCH_OPTIONS } from "../../src/hooks/paths/path-patch.ts";
import { HOOKED_FORWARD_OPTIONS } from "../../src/hooks/plan.ts";
import { ATTENTION_SUMMARY_OPTIONS } from "../../src/hooks/readouts/attention.ts";
import { ATTRIBUTION_OPTIONS } from "../../src/hooks/readouts/attribution.ts";
import {
  HEAD_SCORE_OPTIONS,
  RANDOM_TOKENS_OPTIONS,
  REPEATED_TOKENS_OPTIONS,
} from "../../src/hooks/readouts/head-scores.ts";
import { LOGIT_LENS_OPTIONS } from "../../src/hooks/readouts/logit-lens.ts";
import { LOSS_PER_TOKEN_OPTIONS } from "../../src/hooks/readouts/loss-per-token.ts";
import { ACCUMULATED_OPTIONS, DECOMPOSE_OPTIONS, HEAD_RESULTS_OPTIONS } from "../../src/hooks/readouts/residual.ts";
import { TEST_PROMPT_OPTIONS } from "../../src/hooks/readouts/test-prompt.ts";
import { SWEEP_OPTIONS } from "../../src/hooks/sweep-options.ts";
import { BEAM_OPTIONS } from "../../src/model/drafts/beam.ts";
import { NGRAM_OPTIONS } from "../../src/model/drafts/ngrams.ts";
import { SUPERPOSED_OPTIONS } from "../../src/model/drafts/superposed.ts";
import { ENCODE_OPTIONS, KV_CACHE_OPTIONS, TOKEN_POSITION_OPTIONS } from "../../src/model/loaded-model.ts";
import { LOG_PROBS_OPTIONS } from "../../src/model/log-probs.ts";
import { PROCESS_OPTIONS } from "../../src/model/processed.ts";
import type { Schema } from "../../src/schema/schema.ts";
import { CHAT_TEMPLATE_OPTIONS } from "../../src/tokenizer/chat.ts";
import { loadTokenizer } from "../../src/tokenizer/index.ts";
import { hooked } from "../hooks/support.ts";
import { filesOf, randomArrays, stored } from "../modules/files.ts";
import { benchCalls } from "./bench-calls.ts";
import { fileCalls } from "./file-calls.ts";
import { paperCalls } from "./paper-calls.ts";
import { pictureCalls } from "./picture-calls.ts";
import * as api from "./public.ts";
import { theoryCalls } from "./theory-calls.ts";
import { MINI_CONFIG, trainCalls } from "./train-calls.ts";

export interface Call {
  name: string;
  /** Exports that it stands for; its name when absent. */
  covers?: readonly string[];
  args: readonly unknown[];
  // biome-ignore lint/suspicious/noExplicitAny: malformed on purpose.
  run: (...args: any[]) => unknown;
  /** What the last argument is read by. */
  options?: Schema;
}

/** A dictionary of three features. */
function dictionaryFiles(): api.FilesSource {
  const shapes = { W_enc: [32, 3], W_dec: [3, 32], b_enc: [3], b_dec: [32] };
  const cfg = {
    architecture: "standard",
    d_in: 32,
    d_sae: 3,
    apply_b_dec_to_input: false,
    metadata: { hook_name: "blocks.1.hook_resid_pre" },
  };
  return filesOf({ "cfg.json": cfg, "sae_weights.safetensors": stored(randomArrays(1, shapes), "F32") });
}

/** A transcoder of three features for each of three blocks. */
function transcoderFiles(): api.FilesSource {
  const shapes = { W_enc: [3, 32], W_dec: [3, 32], b_enc: [3], b_dec: [32] };
  const bytes = stored(randomArrays(1, shapes), "F32");
  return filesOf(Object.fromEntries([0, 1, 2].map((layer) => [`layer_${layer}.safetensors`, bytes])));
}

/** A cache as a checkpoint of it reads it back. */
async function savedCache(cache: api.ActivationCache): Promise<api.Checkpoint> {
  const blob = new Blob([(await cache.save()) as BlobPart]);
  return api.openCheckpoint(new api.FilesSource([{ name: "cache.safetensors", blob }]), { file: "cache.safetensors" });
}

const PATCHED = "blocks.1.hook_resid_pre";

/** The calls, on a model and results that live as long as the device. */
export async function callsOf(gpu: api.Gpu): Promise<Call[]> {
  const model = await hooked("gpt2", { gpu });
  const writer = await hooked("gpt2", { gpu });
  // By default scores of heads are taken on sequences as long as the model allows, up to 101 tokens.
  const short = await api.loadModel(api.initialWeights(MINI_CONFIG, { init: "gpt2", seed: 1 }), { gpu });
  const chat = { chat_template: "{{ messages[0].content }}" };
  const files = { json: async (name: string) => (name === "tokenizer_config.json" ? chat : undefined) };
  const tokenizer = await loadTokenizer(files, { modelType: "gpt2", vocabSize: 50257 });
  for (const each of [writer, writer.base]) Object.assign(each, { tokenizer });
  const ids = [1, 2, 3];
  const { cache, logits } = await model.forward(ids, { capture: ["*hook_resid*", "*hook_pattern", "*hook_z"] });
  const square = new api.NdArray(Float32Array.of(1, 2, 3, 4), [2, 2]);
  const kv = model.createKvCache({ sequences: 2 });
  const metric = api.metric.logitDiff(4, 5);
  const experiment = { metric };
  const patch = { ...experiment, clean: ids, corrupted: [3, 2, 1], at: "resid_pre", layers: 0 };
  const lens = await api.logitLens(model, ids, {});
  const stack = await api.accumulatedResid(model, ids);
  const grid = await api.ablate(model, { input: ids, kind: "zero", metric, layers: 0 });
  const composition = await api.allCompositionScores(model, { mode: "V" });
  const scores = await api.headScores(model, ids, "previous");
  const attribution = await api.directLogitAttribution(model, ids, { tokens: 4 });
  const graph = api.CircuitGraph.of(model.spec).withScores(() => 1);
  const dictionary = await api.loadDictionary(model, dictionaryFiles());
  const hooks = { hook: "mlp.hook_in", hookOut: "mlp.hook_out" };
  const transcoders = await api.loadDictionary(model, transcoderFiles(), hooks);
  const edit: api.Edit = { at: PATCHED, op: "scale", value: 2 };
  return [
    {
      name: "Model.createKvCache",
      args: [{}],
      run: (options) => model.createKvCache(options),
      options: KV_CACHE_OPTIONS,
    },
    { name: "Model.weight", args: ["blocks.1.attn.W_O"], run: (name) => model.weight(name) },
    {
      name: "Model.processed",
      args: [{}],
      run: async (options) => (await model.processed(options)).destroy(),
      options: PROCESS_OPTIONS,
    },
    {
      name: "Model.toTokens",
      args: ["Hello", {}],
      run: (text, options) => writer.toTokens(text, options),
      options: ENCODE_OPTIONS,
    },
    {
      name: "Model.chat",
      args: [[{ role: "user", content: "Hello" }], {}],
      run: (messages, options) => writer.chat(messages, options),
      options: CHAT_TEMPLATE_OPTIONS,
    },
    {
      name: "Tokenizer.applyChatTemplate",
      args: [[{ role: "user", content: "Hello" }], {}],
      run: (messages, options) => tokenizer?.applyChatTemplate(messages, options),
      options: CHAT_TEMPLATE_OPTIONS,
    },
    { name: "Model.toText", args: [ids], run: (given) => writer.toText(given) },
    {
      name: "Model.toStrTokens",
      args: [ids, {}],
      run: (given, options) => writer.toStrTokens(given, options),
      options: ENCODE_OPTIONS,
    },
    { name: "Model.toSingleToken", args: [" Paris"], run: (text) => writer.toSingleToken(text) },
    {
      name: "Model.tokenPosition",
      args: [2, ids, {}],
      run: (token, input, options) => model.tokenPosition(token, input, options),
      options: TOKEN_POSITION_OPTIONS,
    },
    { name: "Model.pointNames", args: ["*"], run: (patterns) => model.pointNames(patterns) },
    {
      name: "Model.forward",
      args: [ids, {}],
      run: (input, options) => model.forward(input, options),
      options: HOOKED_FORWARD_OPTIONS,
    },
    { name: "plain Model.forward", args: [ids, {}], run: (input, options) => model.base.forward(input, options) },
    { name: "Model.forward with an edit", args: [edit], run: (edits) => model.forward(ids, { edits }) },
    ...Object.keys(edit).map((key) => ({
      name: `an edit's ${key}`,
      args: [edit[key as "at"]],
      run: (value: unknown) => model.forward(ids, { edits: { ...edit, [key]: value } as api.Edit }),
    })),
    ...["alpha", "expression", "batch", "positions", "heads", "dims"].map((key) => ({
      name: `an edit's ${key}`,
      args: [undefined],
      run: (value: unknown) => model.forward(ids, { edits: { ...edit, [key]: value } as api.Edit }),
    })),
    {
      name: "Model.runWithCache",
      args: [ids, {}],
      run: (input, options) => model.runWithCache(input, options),
      options: HOOKED_FORWARD_OPTIONS,
    },
    {
      name: "Model.runWithHooks",
      args: [ids, [[PATCHED, () => undefined]], {}],
      run: (input, hooks, options) => model.runWithHooks(input, hooks, options),
      options: HOOKED_FORWARD_OPTIONS,
    },
    { name: "a hook", args: [() => undefined], run: (hook) => model.runWithHooks(ids, { [PATCHED]: hook }) },
    {
      name: "what a hook returns",
      args: [undefined],
      run: (value) => model.runWithHooks(ids, { [PATCHED]: () => value }),
    },
    {
      name: "loadDictionary",
      args: [model, dictionaryFiles(), {}],
      run: async (given, source, options) => (await api.loadDictionary(given, source, options)).destroy(),
      options: DICTIONARY_OPTIONS,
    },
    {
      name: "inspectDictionary",
      args: [dictionaryFiles(), {}],
      run: (source, options) => api.inspectDictionary(source, options),
      options: DICTIONARY_OPTIONS,
    },
    {
      name: "topFeatures",
      args: [model, dictionary, ids, {}],
      run: (...args) => api.topFeatures(...(args as Parameters<typeof api.topFeatures>)),
      options: TOP_FEATURES_OPTIONS,
    },
    {
      name: "featureAttribution",
      args: [model, dictionary, { input: ids, metric }],
      run: (...args) => api.featureAttribution(...(args as Parameters<typeof api.featureAttribution>)),
      options: FEATURE_ATTRIBUTION_OPTIONS,
    },
    {
      name: "attributionGraph",
      covers: ["attributionGraph", "AttributionGraph"],
      args: [model, transcoders, { input: ids }],
      run: (...args) => api.attributionGraph(...(args as Parameters<typeof api.attributionGraph>)),
      options: ATTRIBUTION_GRAPH_OPTIONS,
    },
    {
      name: "maxActivating",
      covers: ["maxActivating", "MaxActivating"],
      args: [model, dictionary, [ids], {}],
      run: (...args) => api.maxActivating(...(args as Parameters<typeof api.maxActivating>)),
      options: MAX_ACTIVATING_OPTIONS,
    },
    {
      name: "saveDictionary",
      args: [dictionary, new api.MemoryStore()],
      run: (given, to) => api.saveDictionary(given, typeof to === "string" ? new api.MemoryStore() : to),
    },
    {
      name: "Model.withModules",
      covers: ["Dictionary"],
      args: [dictionary, {}],
      run: (dictionaries, options) => model.withModules(dictionaries, options).destroy(),
      options: SPLICE_OPTIONS,
    },
    {
      name: "Model.withEdits",
      args: [[edit], async () => undefined],
      run: (edits, body) => model.withEdits(edits, body),
    },
    {
      name: "Model.generate",
      args: [ids, { maxNewTokens: 2 }],
      run: (input, options) => model.generate(input, options),
      options: HOOKED_GENERATE_OPTIONS,
    },
    {
      name: "Model.logProbs",
      args: [ids, [[4], [5, 6]], {}],
      run: (prompt, answers, options) => model.logProbs(prompt, answers, options),
      options: LOG_PROBS_OPTIONS,
    },
    {
      name: "superposedDecode",
      args: [model, ids, { drafts: 2, maxNewTokens: 2 }],
      run: api.superposedDecode,
      options: SUPERPOSED_OPTIONS,
    },
    {
      name: "beamSearch",
      args: [model, ids, { drafts: 2, maxNewTokens: 2 }],
      run: api.beamSearch,
      options: BEAM_OPTIONS,
    },
    {
      name: "NgramModel",
      args: [[ids], { vocabSize: 5 }],
      run: (texts, options) => new api.NgramModel(texts, options),
      options: NGRAM_OPTIONS,
    },
    {
      name: "Model.sweep",
      args: [{ input: ids, cells: [[edit]], metric }],
      run: (options) => model.sweep(options),
      options: SWEEP_OPTIONS,
    },
    ...(["logit", "prob", "logProb", "rank"] as const).map((kind) => ({
      name: `metric.${kind}`,
      args: [4],
      run: (token: never) => model.sweep({ input: ids, cells: [edit], metric: api.metric[kind](token) }),
    })),
    {
      name: "metric.logitDiff",
      args: [4, 5],
      run: (a, b) => model.sweep({ input: ids, cells: [edit], metric: api.metric.logitDiff(a, b) }),
    },
    {
      name: "metric.logits",
      args: [[4, 5]],
      run: (tokens) => model.sweep({ input: ids, cells: [edit], metric: api.metric.logits(tokens) }),
    },
    {
      name: "metric.kl",
      args: [undefined],
      run: (reference) => model.sweep({ input: ids, cells: [edit], metric: api.metric.kl(reference) }),
    },
    {
      name: "activationPatch",
      args: [model, patch],
      run: api.activationPatch,
      options: ACTIVATION_PATCH_OPTIONS,
    },
    {
      name: "attributionPatch",
      args: [model, patch],
      run: api.attributionPatch,
      options: ATTRIBUTION_PATCH_OPTIONS,
    },
    {
      name: "compareWithExact",
      args: [model, patch, { sample: 2 }],
      run: api.compareWithExact,
      options: COMPARE_OPTIONS,
    },
    {
      name: "compareWithExact of a patch",
      args: [patch],
      run: (options) => api.compareWithExact(model, options),
      options: COMPARED_PATCH_OPTIONS,
    },
    {
      name: "integratedGradients",
      args: [model, { ...experiment, input: ids, steps: 1 }],
      run: api.integratedGradients,
      options: INTEGRATED_GRADIENTS_OPTIONS,
    },
    ...Object.entries({ saliency, gradientTimesActivation }).map(([name, run]) => ({
      name,
      args: [model, { ...experiment, input: ids }],
      run,
      options: TOKEN_SCORE_OPTIONS,
    })),
    {
      name: "ablate",
      args: [model, { ...experiment, input: ids, kind: "zero", layers: 0 }],
      run: api.ablate,
      options: ABLATE_OPTIONS,
    },
    {
      name: "causalTrace",
      args: [model, { ...experiment, prompt: ids, subject: 0, samples: 1, layers: 0 }],
      run: api.causalTrace,
      options: CAUSAL_TRACE_OPTIONS,
    },
    {
      name: "injectAtLayers",
      args: [model, { ...experiment, input: ids, vector: 0, layers: 0 }],
      run: api.injectAtLayers,
      options: INJECT_OPTIONS,
    },
    {
      name: "edgeAttribution",
      args: [model, { ...experiment, clean: ids, corrupted: [3, 2, 1], method: "eap" }],
      run: api.edgeAttribution,
      options: EDGE_ATTRIBUTION_OPTIONS,
    },
    {
      name: "faithfulness",
      args: [model, graph, { ...experiment, clean: ids, corrupted: [3, 2, 1] }],
      run: api.faithfulness,
      options: FAITHFULNESS_OPTIONS,
    },
    { name: "circuit", args: [graph, 3, {}], run: api.circuit, options: CIRCUIT_OPTIONS },
    { name: "CircuitGraph.fromJSON", args: [graph.toJSON()], run: (json) => api.CircuitGraph.fromJSON(json) },
    ...(["cfg", "nodes", "edges"] as const).map((key) => ({
      name: `a graph's ${key}`,
      args: [graph.toJSON()[key]],
      run: (value: unknown) => api.CircuitGraph.fromJSON({ ...graph.toJSON(), [key]: value }),
    })),
    {
      name: "pathPatch",
      args: [model, { ...experiment, clean: ids, corrupted: [3, 2, 1], layers: 0, heads: 1 }],
      run: api.pathPatch,
      options: PATH_PATCH_OPTIONS,
    },
    {
      name: "a receiver of pathPatch",
      args: [{ at: "v", layer: 1 }],
      run: (receivers) =>
        api.pathPatch(model, { ...experiment, clean: ids, corrupted: [3, 2, 1], layers: 0, receivers }),
    },
    {
      name: "jacobian",
      args: [model, { input: ids, from: "hook_embed", to: PATCHED, rows: 0 }],
      run: api.jacobian,
      options: JACOBIAN_OPTIONS,
    },
    {
      name: "headSvd",
      args: [model, { layer: 0, head: 1, circuit: "OV" }],
      run: api.headSvd,
      options: HEAD_SVD_OPTIONS,
    },
    {
      name: "headCircuit",
      covers: ["headCircuit", "FactoredMatrix"],
      args: [model, { layer: 0, head: 1, circuit: "QK" }],
      run: api.headCircuit,
      options: HEAD_CIRCUIT_OPTIONS,
    },
    {
      name: "allCompositionScores",
      args: [model, { mode: "Q" }],
      run: api.allCompositionScores,
      options: COMPOSITION_OPTIONS,
    },
    {
      name: "CompositionScores.at",
      args: [0, 0, 1, 0],
      run: (...at: [number, number, number, number]) => composition.at(...at),
      covers: ["CompositionScores"],
    },
    { name: "lossPerToken", args: [model, ids, {}], run: api.lossPerToken, options: LOSS_PER_TOKEN_OPTIONS },
    {
      name: "testPrompt",
      args: [model, { prompt: ids, answer: [4] }],
      run: api.testPrompt,
      options: TEST_PROMPT_OPTIONS,
    },
    { name: "logitLens", args: [model, ids, {}], run: api.logitLens, options: LOGIT_LENS_OPTIONS },
    {
      name: "directLogitAttribution",
      args: [model, ids, { tokens: 4 }],
      run: api.directLogitAttribution,
      options: ATTRIBUTION_OPTIONS,
    },
    {
      name: "attentionSummary",
      args: [model, ids, {}],
      run: api.attentionSummary,
      options: ATTENTION_SUMMARY_OPTIONS,
    },
    {
      name: "headScores",
      args: [model, ids, "previous", {}],
      run: api.headScores,
      options: HEAD_SCORE_OPTIONS,
    },
    ...Object.entries(repeatedTokenCalls).map(([name, run]) => ({
      name,
      args: [short, { length: 2, batch: 1, layers: 0 }],
      run,
      options: REPEATED_TOKENS_OPTIONS,
    })),
    {
      name: "repeatedRandomTokens",
      args: [model, { length: 2 }],
      run: repeatedRandomTokens,
      options: RANDOM_TOKENS_OPTIONS,
    },
    { name: "accumulatedResid", args: [model, ids, {}], run: api.accumulatedResid, options: ACCUMULATED_OPTIONS },
    { name: "decomposeResid", args: [model, ids, {}], run: api.decomposeResid, options: DECOMPOSE_OPTIONS },
    { name: "headResults", args: [model, ids, {}], run: api.headResults, options: HEAD_RESULTS_OPTIONS },
    { name: "a readout of a cache", args: [cache], run: (source) => api.accumulatedResid(model, source) },
    { name: "Logits.at", args: [0, -1], run: (row, position) => logits.at(row, position) },
    { name: "ActivationCache.tensor", args: [PATCHED], run: (name) => cache.shape(name) },
    { name: "ActivationCache.at", args: [PATCHED, {}], run: (name, place) => cache.at(name, place) },
    { name: "ActivationCache.read", args: [PATCHED, {}], run: (name, slice) => cache.read(name, slice) },
    { name: "ActivationCache.array", args: [PATCHED, {}], run: (name, slice) => cache.array(name, slice) },
    {
      name: "NdArray",
      args: [Float32Array.of(1, 2, 3, 4), [2, 2]],
      run: (data, shape) => new api.NdArray(data, shape),
    },
    { name: "NdArray.at", args: [0, 1], run: (...index) => square.at(...index) },
    { name: "NdArray.slice", args: [null, [0, 1]], run: (...cuts) => square.slice(...cuts) },
    { name: "NdArray.mean", args: [0], run: (...axes) => square.mean(...axes) },
    {
      name: "a cache's entry as a value",
      args: [{ batch: 0, position: -1 }],
      run: (place) =>
        model.forward(ids, { edits: { at: PATCHED, op: "set", positions: 0, value: cache.at(PATCHED, place) } }),
    },
    {
      name: "ActivationCache.load",
      args: [gpu, await savedCache(cache)],
      run: (to, checkpoint) => api.ActivationCache.load(to, checkpoint),
    },
    { name: "KvCache.fork", args: [[0]], run: (picks) => kv.fork(picks) },
    { name: "KvCache.truncate", args: [0, 0], run: (sequence, length) => kv.truncate(sequence, length) },
    { name: "Tensor.read", args: [0, 1], run: (start, end) => logits.tensor.read(start, end) },
    {
      name: "compareModels",
      args: [model, model, [1, 2, 3], {}],
      run: (first, second, input, options) => api.compareModels(first, second, input, options),
    },
    { name: "Grid.at", args: [0, 0], run: (layer, column) => grid.at(layer, column) },
    { name: "Grid.toTable", args: [undefined, 3], run: (values, digits) => grid.toTable(values, digits) },
    { name: "LogitLens.at", args: ["0_pre", -1, 0], run: (label, position, row) => lens.at(label, position, row) },
    { name: "ResidualStack.read", args: ["0_pre"], run: (label) => stack.read(label) },
    { name: "HeadScores.at", args: [0, 0], run: (layer, head) => scores.at(layer, head) },
    { name: "HeadScores.top", args: [3], run: (count) => scores.top(count) },
    { name: "LogitAttribution.at", args: ["embed", 0], run: (label, row) => attribution.at(label, row) },
    { name: "LogitAttribution.top", args: [3, 0], run: (count, row) => attribution.top(count, row) },
    { name: "Gpu", args: [gpu.host], run: (host) => void new api.Gpu(host) },
    ...fileCalls(),
    ...(await theoryCalls(gpu)),
    ...trainCalls(writer),
    ...(await paperCalls(gpu)),
    ...(await benchCalls()),
    ...pictureCalls([grid, lens, scores, composition, attribution], cache),
    { name: "resolvePoints", args: [model.spec, "*"], run: api.resolvePoints },
    { name: "pointTable", args: [model.spec], run: api.pointTable },
  ];
}

const { saliency, gradientTimesActivation } = api;
const { inductionScores, duplicateTokenScores, previousTokenScores, repeatedRandomTokens } = api;
const repeatedTokenCalls = { inductionScores, duplicateTokenScores, previousTokenScores };
