/** The bugs `mutate.ts` puts in: each once made, or easily made, in an engine like this one. */

export interface Mutant {
  name: string;
  file: string;
  /** Text that occurs once in the file, and what replaces it. */
  from: string;
  to: string;
  /** Test files of which one at least must fail. */
  tests: string[];
}

const ATTENTION = ["test/kernels/attention.test.ts"];
const MATMUL = ["test/kernels/matmul.test.ts"];
const NORM = ["test/kernels/norm.test.ts"];
const ELEMENTWISE = ["test/kernels/elementwise.test.ts"];
const GOLDEN = ["test/engine/golden.test.ts"];
const EQUIVALENCE = ["test/engine/equivalence.test.ts"];
const STORAGE = ["test/engine/storage.test.ts"];
const FAILURES = ["test/engine/failures.test.ts"];
const TUNER = ["test/kernels/tuner.test.ts"];

export const MUTANTS: readonly Mutant[] = [
  {
    name: "window one key too wide",
    file: "shaders/attention_shared.wgsl",
    from: "return position + 1u - params.window;",
    to: "return position - params.window;",
    tests: ATTENTION,
  },
  {
    name: "query does not see itself",
    file: "shaders/attention.wgsl",
    from: "let keyTotal = position + 1u - firstKey;",
    to: "let keyTotal = max(1u, position - firstKey);",
    tests: ATTENTION,
  },
  {
    name: "running softmax forgets to correct the sums",
    file: "shaders/attention.wgsl",
    from: "    sums *= correction;\n",
    to: "",
    tests: ATTENTION,
  },
  {
    name: "block of four keys counts keys past the end",
    file: "shaders/attention_direct.wgsl",
    from: "key + i <= position);",
    to: "key + i <= position + 1u);",
    tests: ATTENTION,
  },
  {
    name: "wrong head mapping of grouped queries",
    file: "shaders/attention.wgsl",
    from: "let kvHead = head / (params.nHeads / params.nKvHeads);",
    to: "let kvHead = head % params.nKvHeads;",
    tests: ATTENTION,
  },
  {
    name: "soft cap before scale",
    file: "shaders/attention_shared.wgsl",
    from: "score = params.softCap * tanh(clamp(score / params.softCap, -10.0, 10.0));",
    to: "score = params.scale * params.softCap * tanh(clamp(product / params.softCap, -10.0, 10.0));",
    tests: ATTENTION,
  },
  {
    name: "ALiBi rewards distance",
    file: "shaders/attention_shared.wgsl",
    from: "(f32(key) - f32(position))",
    to: "(f32(position) - f32(key))",
    tests: ATTENTION,
  },
  {
    name: "pattern leaks to masked keys",
    file: "shaders/attention_softmax.wgsl",
    from: "let visible = key >= first && key <= position;",
    to: "let visible = key >= first && key <= position + 1u;",
    tests: ATTENTION,
  },
  {
    name: "swapped RoPE halves",
    file: "shaders/rope_store.wgsl",
    from: "vec2<f32>(x * angle.x - y * angle.y, y * angle.x + x * angle.y)",
    to: "vec2<f32>(x * angle.x + y * angle.y, y * angle.x - x * angle.y)",
    tests: ATTENTION,
  },
  {
    name: "RoPE style ignored",
    file: "src/model/attention.ts",
    from: '...(rope?.style === "interleaved" && { INTERLEAVED: 1 }),',
    to: "",
    tests: GOLDEN,
  },
  {
    name: "RoPE positions off by one",
    file: "shaders/rope_store.wgsl",
    from: "ropeTable[rowTable[row].y * half + pair]",
    to: "ropeTable[(rowTable[row].y + 1u) * half + pair]",
    tests: ATTENTION,
  },
  {
    name: "values written under the wrong head",
    file: "shaders/rope_store.wgsl",
    from: "let kvHead = (head - params.nHeads) % params.nKvHeads;",
    to: "let kvHead = (head - params.nHeads) / 2u;",
    tests: ATTENTION,
  },
  {
    name: "missed bias of queries, keys and values",
    file: "src/model/attention.ts",
    from: "block.qkv, qkv, { bias: block.qkvBias });",
    to: "block.qkv, qkv, {});",
    tests: GOLDEN,
  },
  {
    name: "missed bias of the unembedding",
    file: "src/model/forward.ts",
    from: "bias: b_U,",
    to: "",
    tests: GOLDEN,
  },
  {
    name: "bias of the first part for every part",
    file: "src/model/ops.ts",
    from: "biasStart: part.firstRow,",
    to: "biasStart: 0,",
    tests: MATMUL,
  },
  {
    name: "activation before bias and scale",
    file: "shaders/matmul_shared.wgsl",
    from: "value = activate(value * params.scale);",
    to: "value = activate(value) * params.scale;",
    tests: MATMUL,
  },
  {
    name: "tile reads past the width",
    file: "shaders/matmul_tiled.wgsl",
    from: "if (k < params.width) {",
    to: "if (k <= params.width) {",
    tests: MATMUL,
  },
  {
    name: "matvec drops the fourth row",
    file: "shaders/matvec.wgsl",
    from: "if (rowsHere > 3u) {",
    to: "if (rowsHere > 4u) {",
    tests: MATMUL,
  },
  {
    name: "bf16 halves swapped",
    file: "shaders/weights_bf16.wgsl",
    from: "vec2<u32>(packed << 16u, packed & 0xffff0000u)",
    to: "vec2<u32>(packed & 0xffff0000u, packed << 16u)",
    tests: MATMUL,
  },
  {
    name: "sigmoid that overflows",
    file: "shaders/activation.wgsl",
    from: "return select(e, 1.0, x >= 0.0) / (1.0 + e);",
    to: "return 1.0 / (1.0 + exp(clamp(-x, -87.0, 87.0)));",
    tests: ELEMENTWISE,
  },
  {
    name: "gate and linear part swapped",
    file: "shaders/mlp_act.wgsl",
    from: "activate(pre[at]) * pre[at + params.width]",
    to: "activate(pre[at + params.width]) * pre[at]",
    tests: ELEMENTWISE,
  },
  {
    name: "embedding looks in the wrong part",
    file: "shaders/embed.wgsl",
    from: "index >= params.firstRow + params.tableRows",
    to: "index >= params.tableRows",
    tests: ELEMENTWISE,
  },
  {
    name: "variance in one pass",
    file: "shaders/norm_shared.wgsl",
    from: "return sqrt(reduceSum(thread, squares) / f32(params.width) + params.eps);",
    to: "var raw = 0.0;\n  for (var d = thread; d < params.width; d += 64u) { raw += x[start + d] * x[start + d]; }\n  return sqrt(max(0.0, reduceSum(thread, raw + 0.0 * squares) / f32(params.width) - mean * mean) + params.eps);",
    tests: NORM,
  },
  {
    name: "eps outside of the root",
    file: "shaders/norm_shared.wgsl",
    from: "/ f32(params.width) + params.eps);",
    to: "/ f32(params.width)) + params.eps;",
    tests: NORM,
  },
  {
    name: "gemma's weight offset forgotten",
    file: "shaders/norm.wgsl",
    from: "value *= weights[d] + params.weightOffset;",
    to: "value *= weights[d];",
    tests: NORM,
  },
  {
    name: "norm of keys takes the first head's weight",
    file: "src/model/attention.ts",
    from: 'weightStride: qkNorm === "perHead" ? spec.dHead : 0,',
    to: "weightStride: 0,",
    tests: [...GOLDEN, "test/engine/custom.test.ts"],
  },
  {
    name: "forgotten residual scale of the MLP",
    file: "src/model/mlp.ts",
    from: "      scale: spec.block.residualScale,\n",
    to: "",
    tests: GOLDEN,
  },
  {
    name: "parallel MLP reads the residual after attention",
    file: "src/model/forward.ts",
    from: "    if (!parallel) {",
    to: "    if (!parallel || !spec.block.parallelSharedNorm) {",
    tests: GOLDEN,
  },
  {
    name: "learned positions without their offset",
    file: "src/model/forward.ts",
    from: "recordPositions(context, weights.W_pos, spec.positions.offset, residual);",
    to: "recordPositions(context, weights.W_pos, 0, residual);",
    tests: GOLDEN,
  },
  {
    name: "q, k and v of a head taken from the wrong place",
    file: "src/model/load-weights.ts",
    from: "first: group * selection.groupSize + selection.start",
    to: "first: group * selection.count + selection.start",
    tests: GOLDEN,
  },
  {
    name: "transposed split: rows and columns exchanged",
    file: "src/model/storage.ts",
    from: "target[column * rows + row] = source[row * columns + column] as number;",
    to: "target[row * columns + column] = source[row * columns + column] as number;",
    tests: GOLDEN,
  },
  {
    name: "weights of the second part at the first part's rows",
    file: "src/model/load-weights.ts",
    from: "(from - firstRow) * rowBytes, (to - firstRow) * rowBytes",
    to: "0, (to - from) * rowBytes",
    tests: STORAGE,
  },
  {
    name: "mixed types stored as the first one's",
    file: "src/model/storage.ts",
    from: 'return others.every((other) => other === first) ? first : "f32";',
    to: "return others.length >= 0 ? first : first;",
    tests: STORAGE,
  },
  {
    name: "stale KV slot: truncated slots stay listed",
    file: "src/model/kv-cache.ts",
    from: "this.store.drop((this.sequences[sequence] as number[]).splice(length));",
    to: "this.store.drop((this.sequences[sequence] as number[]).slice(length));",
    tests: EQUIVALENCE,
  },
  {
    name: "fork does not hold on to the slots it shares",
    file: "src/model/kv-cache.ts",
    from: "    for (const slots of sequences) this.store.share(slots);\n",
    to: "",
    tests: EQUIVALENCE,
  },
  {
    name: "grown cache without its past",
    file: "src/model/kv-cache.ts",
    from: "encoder.copyBufferToBuffer(old, 0, buffer, 0, this.capacity * this.slotBytes);",
    to: "encoder.copyBufferToBuffer(old, 0, buffer, 0, this.slotBytes);",
    tests: EQUIVALENCE,
  },
  {
    name: "chunk boundary: one row skipped",
    file: "src/model/model.ts",
    from: "const chunk = rows.slice(first, Math.min(rows.count, first + perPass));",
    to: "const chunk = rows.slice(first, Math.min(rows.count, first + Math.max(1, perPass - 1)));",
    tests: EQUIVALENCE,
  },
  {
    name: "given embeddings of every chunk taken from the first",
    file: "src/model/forward.ts",
    from: "const start = (firstRow * spec.dModel) % 64;",
    to: "const start = 0;",
    tests: STORAGE,
  },
  {
    name: "positions of a continued sequence start at zero",
    file: "src/model/engine.ts",
    from: "(before[sequence] as number) + index, slots[index]",
    to: "index, slots[index]",
    tests: EQUIVALENCE,
  },
  {
    name: "outgrown RoPE table destroyed under a pass",
    file: "src/model/engine.ts",
    from: "if (known) this.#outgrown.push(known.tensor);",
    to: "if (known) known.tensor.destroy();",
    tests: EQUIVALENCE,
  },
  {
    name: "bind groups mentioned for ever",
    file: "src/gpu/kernel.ts",
    from: "for (const id of this.#bindGroups.get(key)?.bufferIds ?? []) this.#keysOfBuffer.get(id)?.delete(key);",
    to: "",
    tests: FAILURES,
  },
  {
    name: "a buffer without memory goes back to the pool",
    file: "src/gpu/gpu.ts",
    from: "    this.pool.evict(buffer);\n",
    to: "",
    tests: FAILURES,
  },
  {
    name: "the tuner's check lets everything pass",
    file: "src/model/tuner.ts",
    from: "if (error < TOLERANCE) return product;",
    to: "if (error >= 0) return product;",
    tests: TUNER,
  },
  {
    name: "the tuner compares a kernel with itself",
    file: "src/model/tuner.ts",
    from: "await operands.product(REFERENCE_PRODUCT, rows, W)",
    to: "await operands.product(product, rows, W)",
    tests: TUNER,
  },
  {
    name: "another adapter's choices are taken",
    file: "src/model/tuning-store.ts",
    from: "if (found !== key || typeof",
    to: "if (typeof",
    tests: TUNER,
  },
  {
    name: "known classes are timed again",
    file: "src/model/tuning.ts",
    from: ".filter((shape) => !isTuned(gpu, keyOf(shape)))",
    to: "",
    tests: TUNER,
  },
  {
    name: "a load that ends while it tunes keeps its weights",
    file: "src/model/load.ts",
    from: "    for (const buffer of weightBuffers(weights)) gpu.destroyBuffer(buffer);\n",
    to: "",
    tests: TUNER,
  },
];
