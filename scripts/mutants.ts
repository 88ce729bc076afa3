/**
 * The bugs that `mutate.ts` puts in, one at a time, each of which a test must notice.
 *
 * They bite at structure: which ops run, for which rows, in what order, in whose memory, and what is kept for later. A wrong
 * expression in a shader needs no mutant: every kernel is compared with its reference on many shapes.
 */
import type { Mutant } from "./mutant.ts";
import { EXPERT_MUTANTS } from "./mutants-experts.ts";
import { GGUF_MUTANTS } from "./mutants-gguf.ts";
import { GRADIENT_MUTANTS } from "./mutants-gradients.ts";
import { GRAPH_MUTANTS } from "./mutants-graph.ts";
import { QUANTIZED_MUTANTS } from "./mutants-quantized.ts";
import { STREAMED_MUTANTS } from "./mutants-streamed.ts";
import { TYPE_MUTANTS } from "./mutants-types.ts";

const PLACE = ["test/graph/place.test.ts"];
const REACH = ["test/graph/reach.test.ts"];
const REFERENCES = ["test/graph/references.test.ts"];
const HOOKS = ["test/graph/hooks.test.ts"];
const PLANS = ["test/graph/plans.test.ts"];
const EQUIVALENCE = ["test/engine/equivalence.test.ts"];
const SWEEPS = ["test/hooks/sweep.test.ts"];
const PATHS = ["test/paths/path-patch.test.ts"];
const MEASURES = ["test/hooks/measures.test.ts"];
const BENCH = ["test/bench/reference.test.ts", "test/bench/run.test.ts"];

export const MUTANTS: readonly Mutant[] = [
  // Fusion.
  {
    name: "fusion: a value that another op reads is computed away",
    file: "src/graph/fuse.ts",
    from: "value && uses.get(value) === 1 ?",
    to: "value ?",
    tests: PLACE,
    quick: true,
  },
  {
    name: "fusion: queries that were read already are made later",
    file: "src/graph/fuse.ts",
    from: "return op.outputs.some((value) => read.has(value)) ? undefined : (op as Op<A>);",
    to: "return op as Op<A>;",
    tests: PLACE,
  },
  {
    name: "fusion: a norm takes the place of the residual",
    file: "src/graph/fuse.ts",
    from: "{ ...norm.attributes, accumulate: true }",
    to: "norm.attributes",
    tests: REFERENCES,
  },
  // Places.
  {
    name: "place: a slot is freed before its last reader",
    file: "src/graph/place.ts",
    from: "frees[index]?.push(slot)",
    to: "frees[index - 1]?.push(slot)",
    tests: PLACE,
  },
  {
    name: "place: a slot is never freed",
    file: "src/graph/place.ts",
    from: "frees: frees[index] as number[]",
    to: "frees: []",
    tests: PLACE,
  },
  {
    name: "place: an op in place overwrites what is still needed",
    file: "src/graph/place.ts",
    from: "const own = this.#takesOver(op, before) ? before",
    to: "const own = this.graph ? before",
    tests: PLACE,
    quick: true,
  },
  {
    name: "place: values side by side lie on one another",
    file: "src/graph/place.ts",
    from: 'if (width !== "keys") start += heads * width;',
    to: "",
    tests: PLACE,
  },
  // Lowering.
  {
    name: "lower: the rows that give logits are the first ones",
    file: "src/graph/lower.ts",
    from: 'const chosen = this.#rowsOf(last).rows.select((set === "picked" ? picked : outputRows) as readonly number[]);',
    to: 'const chosen = this.#rowsOf(last).rows.slice(0, ((set === "picked" ? picked : outputRows) as readonly number[]).length);',
    tests: EQUIVALENCE,
  },
  {
    name: "lower: rows join one block late",
    file: "src/graph/lower.ts",
    from: "activeRows?.[set]",
    to: "activeRows?.[Math.max(0, set - 1)]",
    tests: SWEEPS,
  },
  // Hooks in the graph.
  {
    name: "hooks: later ops read the value as it was",
    file: "src/graph/hooks.ts",
    from: "op.inputs.some((value) => changed.has(value)) ?",
    to: "hooks.size === 0 ?",
    tests: HOOKS,
    quick: true,
  },
  {
    name: "hooks: captures come before edits",
    file: "src/graph/hooks.ts",
    from: "  for (const [index, point] of edits.entries()) put(point, { kind: EDIT, index });\n  for (const [index, point] of callbacks.entries()) put(point, { kind: CALLBACK, index });\n  for (const [index, { name, ofGradient }] of captures.entries()) {\n    put(name, { kind: ofGradient ? GRADIENT_OF : CAPTURE, index });\n  }\n",
    to: "  for (const [index, { name, ofGradient }] of captures.entries()) {\n    put(name, { kind: ofGradient ? GRADIENT_OF : CAPTURE, index });\n  }\n  for (const [index, point] of edits.entries()) put(point, { kind: EDIT, index });\n  for (const [index, point] of callbacks.entries()) put(point, { kind: CALLBACK, index });\n",
    tests: HOOKS,
    quick: true,
  },
  {
    name: "hooks: a second edit begins from the value before the first",
    file: "src/graph/hooks.ts",
    from: "const before = current(value);",
    to: "const before = value;",
    tests: HOOKS,
  },
  {
    name: "hooks: the logits are those before their edits",
    file: "src/graph/hooks.ts",
    from: "graph.output && current(graph.output)",
    to: "graph.output",
    tests: HOOKS,
  },
  {
    name: "hooks: edits of a norm miss the norms of copies",
    file: "src/graph/hooks.ts",
    from: "return kind === EDIT\n",
    to: "return kind === SEED\n",
    tests: HOOKS,
  },
  {
    name: "prune: what has an effect and no reader is dropped",
    file: "src/graph/prune.ts",
    from: "!op.kind.hasEffect && ",
    to: "",
    tests: HOOKS,
    quick: true,
  },
  // Reach.
  {
    name: "reach: keys and values change no later row",
    file: "src/graph/reach.ts",
    from: "others || (own && isAcross(op, index))",
    to: "others",
    tests: REACH,
  },
  {
    name: "reach: logits need no earlier row's keys and values",
    file: "src/graph/reach.ts",
    from: "const all = isAcross(op, index) && (wanted.own || wanted.others);",
    to: "const all = isAcross(op, index) && false;",
    tests: REACH,
  },
  {
    name: "reach: the row that gives the logits is needed by others alone",
    file: "src/graph/reach.ts",
    from: 'at("ownAtEnd", value.layer, changed.own && wanted.own);',
    to: 'at("ownAtEnd", value.layer, changed.own && wanted.others);',
    tests: REACH,
  },
  {
    name: "reach: rows between two edits are not computed",
    file: "src/graph/reach.ts",
    from: "Math.min(joins[position] as number, joins[position + 1] as number)",
    to: "joins[position] as number",
    tests: REACH,
  },
  {
    name: "reach: an edit of a norm changes nothing at the norms of copies",
    file: "src/graph/graph.ts",
    from: "values.get(point)?.push(value);",
    to: "values.get(point)?.at(0);",
    tests: REACH,
  },
  {
    name: "reach: a row joins after the block in which it is measured",
    file: "src/graph/reach.ts",
    from: "  start(end, from);\n",
    to: "",
    tests: MEASURES,
  },
  {
    name: "sweeps: the first cell's projection for all",
    file: "src/hooks/sweep.ts",
    from: "[point === undefined ? row : place, output]",
    to: "[row, output]",
    tests: MEASURES,
  },
  {
    name: "patching: the outcome of a projection is that of the patched prompt",
    file: "src/hooks/patching/sites.ts",
    from: 'kind === "project" && at ? [at] : []',
    to: "kind === undefined && at ? [at] : []",
    tests: MEASURES,
  },
  {
    name: "patching: each head at each position patches every position",
    file: "src/hooks/patching/activation-patch.ts",
    from: "[{ ...patch, ...where, positions: [position] }]",
    to: "[{ ...patch, ...where, ...(where.heads ? {} : { positions: [position] }) }]",
    tests: ["test/patching/experiments.test.ts"],
  },
  // Dictionaries.
  {
    name: "modules: the error is that of edited features",
    file: "src/model/modules.ts",
    from: "const clean = isChanged ? this.#reconstruct(writers, own, point, y, false) : recons;",
    to: "const clean = recons;",
    tests: ["test/modules/fixtures.test.ts"],
  },
  {
    name: "modules: rows of the last block are those of the block before",
    file: "src/model/modules.ts",
    from: 'if (y.rows !== "output" || x.rows === "output") return x;',
    to: "return x;",
    tests: ["test/modules/formats.test.ts"],
  },
  {
    name: "dictionary: of equal features too many stay",
    file: "shaders/keep_largest.wgsl",
    from: "if (seen > staying) {",
    to: "if (seen > equals) {",
    tests: ["test/modules/sparse.test.ts"],
  },
  {
    name: "npz: pickled objects are read as numbers",
    file: "src/checkpoint/npz.ts",
    from: 'if (descr.includes("O"))',
    to: 'if (descr.includes("pickle"))',
    tests: ["test/modules/formats.test.ts"],
  },
  // Tracing.
  {
    name: "trace: a residual that is given gets positions added",
    file: "src/model/trace.ts",
    from: "form.startAtLayer === undefined ? this.#embedding()",
    to: "!form.startAtLayer ? this.#embedding()",
    tests: ["test/hooks/start.test.ts"],
  },
  {
    name: "trace: the MLP of a parallel block reads attention's norm",
    file: "src/model/trace.ts",
    from: "const shared = parallelSharedNorm || normedResidual ? normed : undefined;",
    to: "const shared = normed;",
    tests: REFERENCES,
    quick: true,
  },
  {
    name: "trace: heads read copies that nobody changes",
    file: "src/model/trace-builder.ts",
    from: "this.form.changed?.has(point) ? copy : residual",
    to: "copy",
    tests: REFERENCES,
  },
  {
    name: "head inputs: keys and values are made with the queries' rows of W",
    file: "src/ops/head-inputs.ts",
    from: "parts.slice(0, part)",
    to: "parts.slice(0, 0)",
    tests: REFERENCES,
  },
  {
    name: "trace: the residual scale is missing",
    file: "src/model/trace.ts",
    from: "if (scale !== 1) term =",
    to: "if (scale === 0) term =",
    tests: REFERENCES,
  },
  {
    name: "trace: rows end before their keys and values are stored",
    file: "src/model/trace-attention.ts",
    from: "b.add(STORE, own, {",
    to: 'b.add(STORE, b.form.narrow && layer === b.spec.nLayers - 1 ? own.map((x) => b.select(x, "output")) : own, {',
    tests: REFERENCES,
  },
  {
    name: "trace: values are rotated",
    file: "src/model/trace-attention.ts",
    from: "const [turnedQ, turnedK] = turned(b, q, k);",
    to: "const [turnedQ, turnedK] = turned(b, q, k);\n    if (v) [v] = rotated(b, v, undefined);",
    tests: REFERENCES,
  },
  {
    name: "trace: every block has the first one's window",
    file: "src/model/trace-attention.ts",
    from: "window: settings.window,",
    to: "window: spec.layers[0]?.window ?? null,",
    tests: REFERENCES,
  },
  // Plans.
  {
    name: "plans: hooks do not tell plans apart",
    file: "src/model/plans.ts",
    from: "JSON.stringify([form, points, gradients?.weights, gradients?.recompute])",
    to: "JSON.stringify([form, gradients?.weights, gradients?.recompute])",
    tests: PLANS,
    quick: true,
  },
  {
    name: "plans: the form of a pass does not tell plans apart",
    file: "src/model/plans.ts",
    from: "JSON.stringify([form, points, gradients?.weights, gradients?.recompute])",
    to: "JSON.stringify([points, gradients?.weights, gradients?.recompute])",
    tests: PLANS,
  },
  // Ops that the references do not run.
  {
    name: "join: rows take the residual of the position before",
    file: "src/ops/join.ts",
    from: "pairs.push(joining.sources[row] as number, row)",
    to: "pairs.push(Math.max(0, (joining.sources[row] as number) - 1), row)",
    tests: SWEEPS,
  },
  {
    name: "embeds: every chunk takes those of the first",
    file: "src/ops/embeds.ts",
    from: "const start = (firstRow * width) % 64;",
    to: "const start = 0;",
    tests: ["test/engine/storage.test.ts"],
  },
  {
    name: "edit: one position off",
    file: "src/ops/edit.ts",
    from: "rows.indexOf(sequence, position)",
    to: "rows.indexOf(sequence, position - 1)",
    tests: ["test/hooks/edit-values.test.ts"],
  },
  {
    name: "edit: values of the first row for every row",
    file: "src/hooks/edit.ts",
    from: "rowIndex * perRow + headIndex",
    to: "headIndex",
    tests: ["test/hooks/edit-values.test.ts"],
  },
  {
    name: "edit: values of a pattern with queries before heads",
    file: "src/hooks/edit.ts",
    from: "const headFirst = isHeadFirst(point.name);",
    to: "const headFirst = false;",
    tests: ["test/hooks/round-trip.test.ts"],
  },
  {
    name: "edit: values of queries and heads exchanged",
    file: "src/hooks/edit.ts",
    from: "[0, headFirst ? 1 : 2, headFirst ? 2 : 1].map(strideOf)",
    to: "[0, headFirst ? 2 : 1, headFirst ? 1 : 2].map(strideOf)",
    tests: ["test/hooks/round-trip.test.ts"],
  },
  {
    name: "edit: a tensor's axes are not looked at",
    file: "src/hooks/edit.ts",
    from: "own.length < 2 ||",
    to: "own.length < 9 ||",
    tests: ["test/hooks/errors.test.ts"],
  },
  {
    name: "sweep: merged edits share the first cell's values",
    file: "src/hooks/merge-edits.ts",
    from: "valueStart: target.valueStart + start",
    to: "valueStart: target.valueStart",
    tests: SWEEPS,
  },
  {
    name: "sweep: rows of every prompt join where the first one's do",
    file: "src/hooks/sweep.ts",
    from: "prompt * this.plan.longest + position",
    to: "position",
    tests: ["test/hooks/sweep-batch.test.ts"],
  },
  {
    name: "sweep: every prompt is compared with the first one's run",
    file: "src/hooks/sweep.ts",
    from: "prompt * this.model.spec.vocabSize",
    to: "0",
    tests: ["test/hooks/sweep-batch.test.ts"],
  },
  {
    name: "readouts: the residual between attention and MLP is left out",
    file: "src/hooks/readouts/residual.ts",
    from: "if (block < layer ? includeMid : mlpInput)",
    to: "if (block < layer && includeMid)",
    tests: ["test/readouts/residual.test.ts"],
  },
  // Weights and configs.
  {
    name: "weights: heads of W_O are its inner axis",
    file: "src/model/weights/table.ts",
    from: '"dModel (head dValue) -> head dValue dModel"',
    to: '"dModel (dValue head) -> head dValue dModel"',
    tests: ["test/engine/weights.test.ts"],
  },
  {
    name: "weights: what a model cannot do without may be missing",
    file: "src/model/weights/table.ts",
    from: 'WEIGHTS[name].isOptional ? "optional" : "required"',
    to: '"optional"',
    tests: ["test/families/custom.test.ts", "test/engine/config-against-file.test.ts"],
  },
  {
    name: "config: null is taken for missing",
    file: "src/model/config.ts",
    from: "return names.filter((key) => this.raw[key] !== undefined);",
    to: "return names.filter((key) => this.has(key));",
    tests: ["test/families/config.test.ts", "test/families/keys.test.ts"],
  },
  // Kernels and the GPU.
  {
    name: "family: a choice is taken where it does not fit",
    file: "src/kernels/family.ts",
    from: "each.name === name && each.fits(host, shape)",
    to: "each.name === name",
    tests: ["test/kernels/tuner.test.ts"],
  },
  {
    name: "tuner: its check lets everything pass",
    file: "src/kernels/tuning/benchmark.ts",
    from: "if (error < TOLERANCE) return kernel;",
    to: "if (error >= 0) return kernel;",
    tests: ["test/kernels/tuner.test.ts"],
  },
  {
    name: "kernels: two parameters of one type have changed places",
    file: "src/kernels/definitions.ts",
    from: '"firstEntry", "firstRow"',
    to: '"firstRow", "firstEntry"',
    tests: ["test/kernels/interfaces.test.ts"],
    quick: true,
  },
  {
    name: "kernels: two buffers that are read have changed places",
    file: "src/kernels/definitions.ts",
    from: 'logits: "read", normalizers: "read"',
    to: 'normalizers: "read", logits: "read"',
    tests: ["test/kernels/interfaces.test.ts"],
    quick: true,
  },
  {
    name: "pipelines: a kernel's name stands for its code",
    file: "src/gpu/kernel.ts",
    from: "identities.get(kernel) ?? identify(kernel)",
    to: "kernel.name",
    tests: ["test/engine/pipelines.test.ts"],
  },
  {
    name: "pipelines: the oldest expression goes, however often it is used",
    file: "src/gpu/recent.ts",
    from: "if (value !== undefined) this.set(key, value);",
    to: "",
    tests: ["test/engine/pipelines.test.ts"],
  },
  {
    name: "recorder: memory that was given back is handed out twice",
    file: "src/gpu/recorder.ts",
    from: "this.#released.get(this.gpu.pool.sizeFor(bytes))?.pop()",
    to: "this.#released.get(this.gpu.pool.sizeFor(bytes))?.at(-1)",
    tests: ["test/hooks/values.test.ts"],
  },
  {
    name: "recorder: what a pass needs may be destroyed before it runs",
    file: "src/gpu/recorder.ts",
    from: "for (const resource of this.#needed) resource.assertAlive();",
    to: "",
    tests: ["test/engine/lifetimes.test.ts"],
  },
  // The key-value cache and generation.
  {
    name: "key-value cache: truncated slots stay listed",
    file: "src/model/kv-cache.ts",
    from: "this.store.drop((this.sequences[sequence] as number[]).splice(length));",
    to: "this.store.drop((this.sequences[sequence] as number[]).slice(length));",
    tests: EQUIVALENCE,
  },
  {
    name: "key-value cache: a fork does not hold on to the slots it shares",
    file: "src/model/kv-cache.ts",
    from: "    for (const slots of sequences) this.store.share(slots);\n",
    to: "",
    tests: EQUIVALENCE,
  },
  {
    name: "key-value cache: positions of a continued sequence start at zero",
    file: "src/model/engine.ts",
    from: "(before[sequence] as number) + index, slots[index]",
    to: "index, slots[index]",
    tests: EQUIVALENCE,
  },
  {
    name: "decoding: a program is kept over a cache that grew while it was made",
    file: "src/model/decode.ts",
    from: "this.request.kv.store.capacity === this.capacity",
    to: "true",
    tests: ["test/generate/decode.test.ts"],
  },
  {
    name: "sampling: of equal logits not the lowest token",
    file: "shaders/argmax.wgsl",
    from: "index < indices[first]",
    to: "index > indices[first]",
    tests: ["test/generate/sampling.test.ts"],
  },
  // Paths.
  {
    name: "paths: a head's own layer keeps what it sends",
    file: "src/hooks/paths/path-patch.ts",
    from: "point.order > order && name",
    to: "point.order > order || name",
    tests: PATHS,
  },
  {
    name: "paths: the nodes between are not frozen",
    file: "src/hooks/paths/path-patch.ts",
    from: "...later.map(",
    to: "...later.slice(later.length).map(",
    tests: PATHS,
  },
  {
    name: "paths: every sender's receivers get what the first one sends",
    file: "src/hooks/paths/path-patch.ts",
    from: "receive(receivers, sent, copy, clean, end)",
    to: "receive(receivers, sent, 0 * copy, clean, end)",
    tests: PATHS,
  },
  {
    name: "jacobian: the seed is at every position",
    file: "src/hooks/paths/jacobian.ts",
    from: "rows.position(row) === position ? rows.sequence(row) : entries.length",
    to: "rows.sequence(row)",
    tests: ["test/paths/jacobian.test.ts"],
  },
  {
    name: "svd: what is rounding counts as a direction",
    file: "src/hooks/paths/low-rank-svd.ts",
    from: "(lengths[index] as number) > noise",
    to: "(lengths[index] as number) > 0",
    tests: ["test/paths/head-svd.test.ts"],
  },
  // Around the engine.
  {
    name: "both ways: a pass ends within a sequence",
    file: "src/model/causality.ts",
    from: "while (end > first && isCut(end)) end--;",
    to: "",
    tests: ["test/engine/bidirectional.test.ts"],
  },
  {
    name: "tokenizer: a join is made after its neighbour has changed",
    file: "src/tokenizer/bpe.ts",
    from: "rank === undefined || joined[rank] !== token",
    to: "rank === undefined",
    tests: ["test/tokenizer/differential.test.ts"],
  },
  {
    name: "tokenizer: a chat gets special tokens around its own",
    file: "src/tokenizer/huggingface.ts",
    from: "if (options?.addSpecialTokens === false) return parts.idsOf(text);",
    to: "",
    tests: ["test/tokenizer/chat.test.ts"],
    quick: true,
  },
  {
    name: "processed: a norm's stored offset is not folded",
    file: "src/model/weights/process.ts",
    from: "(scales[at % spec.dModel] as number) + weightOffset",
    to: "(scales[at % spec.dModel] as number)",
    tests: ["test/model/processed.test.ts"],
  },
  {
    name: "processed: the first value head's bias serves all query heads",
    file: "src/model/weights/process.ts",
    from: "ofHeads[valueHead * dValue + (at % dValue)]",
    to: "ofHeads[at % dValue]",
    tests: ["test/model/processed.test.ts"],
  },
  {
    name: "bench: only the first run is checked",
    file: "src/bench/measure.ts",
    from: "checks.push(await test.run());",
    to: "await test.run();",
    tests: BENCH,
  },
  ...GRADIENT_MUTANTS,
  ...GRAPH_MUTANTS,
  ...TYPE_MUTANTS,
  ...EXPERT_MUTANTS,
  ...GGUF_MUTANTS,
  ...QUANTIZED_MUTANTS,
  ...STREAMED_MUTANTS,
];
