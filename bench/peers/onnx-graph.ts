/**
 * GPT-2 as an ONNX graph, written node by node. `plain` has the operators that torch's exporter writes, with the keys and
 * values of past tokens as inputs and outputs. `fused` is the same model in onnxruntime's own operators for transformers
 * (`com.microsoft`), which its optimizer for transformers makes of the plain ones; `fused-norms` has all of those but the one
 * for attention.
 *
 *     tokens [1, T], positions [1, T], mask [1, 1, T, P + T], past_key.i, past_value.i [1, head, P, dHead]
 *     -> logits [1, T, vocabulary], present_key.i, present_value.i [1, head, P + T, dHead]
 *
 * The mask is added to the scores. As an input, like the positions, it spares onnxruntime the operators that compute it.
 */
import { type Attributes, encodeModel, type GraphInput, type Node } from "./onnx-file.ts";
import type { Weights } from "./weights.ts";

export type GraphKind = "plain" | "fused-norms" | "fused";

const FUSED = "com.microsoft";

/** The bytes of the .onnx file; the weights stay in the safetensors file, to whose ranges it points. */
export function gpt2Onnx(weights: Weights, kind: GraphKind): Uint8Array {
  const graph = new Gpt2Graph(weights);
  if (kind === "plain") graph.addPlain();
  else graph.addFused(kind === "fused");
  return encodeModel({
    nodes: graph.nodes,
    weights,
    constants: graph.constants,
    inputs: [...INPUTS, ...graph.pastInputs()],
    outputs: ["logits", ...graph.presents()],
  });
}

const INPUTS: readonly GraphInput[] = [
  { name: "tokens", type: "int64", shape: [1, "T"] },
  { name: "positions", type: "int64", shape: [1, "T"] },
  { name: "mask", type: "float", shape: [1, 1, "T", "P+T"] },
];

class Gpt2Graph {
  readonly nodes: Node[] = [];
  readonly constants = new Map<string, { type: "float" | "int64"; shape: number[]; values: number[] }>();
  readonly #layers: number[];
  readonly #heads: number;
  readonly #width: number;
  readonly #epsilon: number;

  constructor({ config }: Weights) {
    this.#layers = Array.from({ length: config.n_layer }, (_, layer) => layer);
    this.#heads = config.n_head;
    this.#width = config.n_embd;
    this.#epsilon = config.layer_norm_epsilon;
  }

  pastInputs(): GraphInput[] {
    const shape = [1, this.#heads, "P", this.#width / this.#heads];
    return this.#layers.flatMap((layer) => [
      { name: `past_key.${layer}`, type: "float" as const, shape },
      { name: `past_value.${layer}`, type: "float" as const, shape },
    ]);
  }

  presents(): string[] {
    return this.#layers.flatMap((layer) => [`present_key.${layer}`, `present_value.${layer}`]);
  }

  addPlain(): void {
    let x = this.#embed();
    for (const layer of this.#layers) {
      const block = `transformer.h.${layer}`;
      const packed = this.#linear(this.#norm(x, `${block}.ln_1`), `${block}.attn.c_attn`);
      const attended = this.#attention(packed, layer);
      x = this.#add("Add", [x, this.#linear(attended, `${block}.attn.c_proj`)]);
      const hidden = this.#gelu(this.#linear(this.#norm(x, `${block}.ln_2`), `${block}.mlp.c_fc`));
      x = this.#add("Add", [x, this.#linear(hidden, `${block}.mlp.c_proj`)]);
    }
    this.#unembed(this.#norm(x, "transformer.ln_f"));
  }

  addFused(fusesAttention: boolean): void {
    let x = this.#embed();
    let normed = this.#norm(x, "transformer.h.0.ln_1");
    for (const layer of this.#layers) {
      const block = `transformer.h.${layer}`;
      const packed = this.#linear(normed, `${block}.attn.c_attn`);
      const attended = fusesAttention ? this.#fusedAttention(packed, layer) : this.#attention(packed, layer);
      [normed, x] = this.#addAndNorm(x, attended, `${block}.attn.c_proj`, `${block}.ln_2`);
      const expanded = this.#matmul(normed, `${block}.mlp.c_fc`);
      const hidden = this.#add("FastGelu", [expanded, `${block}.mlp.c_fc.bias`], {}, FUSED);
      const next = layer + 1 < this.#layers.length ? `transformer.h.${layer + 1}.ln_1` : "transformer.ln_f";
      [normed, x] = this.#addAndNorm(x, hidden, `${block}.mlp.c_proj`, next);
    }
    this.#unembed(normed);
  }

  #embed(): string {
    const tokens = this.#add("Gather", ["transformer.wte.weight", "tokens"]);
    const positions = this.#add("Gather", ["transformer.wpe.weight", "positions"]);
    return this.#add("Add", [tokens, positions]);
  }

  #unembed(x: string): void {
    const transposed = this.#add("Transpose", ["transformer.wte.weight"], { perm: [1, 0] });
    this.#add("MatMul", [x, transposed], {}, "", ["logits"]);
  }

  #norm(x: string, name: string): string {
    const attributes = { axis: -1, epsilon: { float: this.#epsilon } };
    return this.#add("LayerNormalization", [x, `${name}.weight`, `${name}.bias`], attributes);
  }

  #matmul(x: string, name: string): string {
    return this.#add("MatMul", [x, `${name}.weight`]);
  }

  #linear(x: string, name: string): string {
    return this.#add("Add", [this.#matmul(x, name), `${name}.bias`]);
  }

  /** GELU by tanh, in the operators of transformers' `NewGELUActivation`. */
  #gelu(x: string): string {
    const cubed = this.#add("Pow", [x, this.#float(3)]);
    const inner = this.#add("Add", [x, this.#add("Mul", [cubed, this.#float(0.044715)])]);
    const tanh = this.#add("Tanh", [this.#add("Mul", [inner, this.#float(Math.sqrt(2 / Math.PI))])]);
    const half = this.#add("Mul", [x, this.#float(0.5)]);
    return this.#add("Mul", [half, this.#add("Add", [tanh, this.#float(1)])]);
  }

  /** Of q, k and v packed [1, T, 3 × width]: what attention gives, before its output projection. */
  #attention(packed: string, layer: number): string {
    const [q, k, v] = this.#split(packed).map((part) => this.#toHeads(part)) as [string, string, string];
    const keys = this.#add("Concat", [`past_key.${layer}`, k], { axis: 2 }, "", [`present_key.${layer}`]);
    const values = this.#add("Concat", [`past_value.${layer}`, v], { axis: 2 }, "", [`present_value.${layer}`]);
    const transposed = this.#add("Transpose", [keys], { perm: [0, 1, 3, 2] });
    const scale = this.#float(1 / Math.sqrt(this.#width / this.#heads));
    const scores = this.#add("Mul", [this.#add("MatMul", [q, transposed]), scale]);
    const pattern = this.#add("Softmax", [this.#add("Add", [scores, "mask"])], { axis: -1 });
    const z = this.#add("Transpose", [this.#add("MatMul", [pattern, values])], { perm: [0, 2, 1, 3] });
    return this.#add("Reshape", [z, this.#ints([0, 0, this.#width])]);
  }

  /** q, k and v of [1, T, 3 × width]. */
  #split(packed: string): string[] {
    const outputs = ["q", "k", "v"].map((part) => `${packed}.${part}`);
    this.#add("Split", [packed, this.#ints([this.#width, this.#width, this.#width])], { axis: -1 }, "", outputs);
    return outputs;
  }

  /** [1, T, width] to [1, head, T, dHead]. */
  #toHeads(x: string): string {
    const shaped = this.#add("Reshape", [x, this.#ints([0, 0, this.#heads, this.#width / this.#heads])]);
    return this.#add("Transpose", [shaped], { perm: [0, 2, 1, 3] });
  }

  #fusedAttention(packed: string, layer: number): string {
    const output = `attention.${layer}`;
    const past = [`past_key.${layer}`, `past_value.${layer}`];
    const present = [`present_key.${layer}`, `present_value.${layer}`];
    const inputs = [...this.#split(packed), "", "", "mask", ...past];
    this.#add("MultiHeadAttention", inputs, { num_heads: this.#heads }, FUSED, [output, ...present]);
    return output;
  }

  /** Adds a matmul and its bias to the residual and norms the sum: [normed, sum]. */
  #addAndNorm(residual: string, x: string, linear: string, norm: string): [string, string] {
    const output = `${norm}.output`;
    const sum = `${norm}.input`;
    const inputs = [residual, this.#matmul(x, linear), `${norm}.weight`, `${norm}.bias`, `${linear}.bias`];
    const attributes = { epsilon: { float: this.#epsilon } };
    this.#add("SkipLayerNormalization", inputs, attributes, FUSED, [output, "", "", sum]);
    return [output, sum];
  }

  /** Adds a node; returns its first output. */
  #add(type: string, inputs: string[], attributes: Attributes = {}, domain = "", outputs?: string[]): string {
    const name = `${type}.${this.nodes.length}`;
    const named = outputs ?? [`${name}.output`];
    this.nodes.push({ name, type, domain, inputs, outputs: named, attributes });
    return named[0] as string;
  }

  #float(value: number): string {
    const name = `float.${value}`;
    this.constants.set(name, { type: "float", shape: [], values: [value] });
    return name;
  }

  #ints(values: number[]): string {
    const name = `ints.${values.join(".")}`;
    this.constants.set(name, { type: "int64", shape: [values.length], values });
    return name;
  }
}
