/**
 * GPT-2 in onnxruntime, the same for a page and for Node, which share an interface. Keys and values stay on the GPU from one
 * run to the next. One graph does both jobs: a prompt is a run with an empty past.
 */
import type { InferenceSession, Tensor, TensorConstructor } from "onnxruntime-common";
import { argmax, type Runtime } from "./runtime.ts";
import { type Gpt2Config, promptIds } from "./shapes.ts";

export interface OrtHost {
  name: string;
  note: string;
  config: Gpt2Config;
  Tensor: TensorConstructor;
  /** Leaves keys and values on the GPU. */
  session: InferenceSession;
  /** Waits for the GPU; does nothing where logits come to the host with a run. */
  idle(): Promise<void>;
}

type Past = Record<string, Tensor>;

export async function ortRuntime(host: OrtHost): Promise<Runtime> {
  const { config, session } = host;
  const { prompt, next } = promptIds(config);
  const inputs = new Inputs(host);
  const empty = inputs.emptyPast();
  const filled = split(await session.run(inputs.feeds(prompt, empty, 0)));
  filled.logits.dispose();
  const step = async (token: number, past: Past, length: number) => {
    const { logits, past: present } = split(await session.run(inputs.feeds([token], past, length)));
    const row = (await logits.getData(true)) as Float32Array;
    return { row, present };
  };
  return {
    name: host.name,
    note: host.note,
    async prefill() {
      const outputs = await session.run(inputs.feeds(prompt, empty, 0));
      await host.idle();
      dispose(outputs);
    },
    async prefillLogits() {
      const outputs = await session.run(inputs.feeds(prompt, empty, 0));
      const values = Float32Array.from((await (outputs.logits as Tensor).getData()) as Float32Array);
      dispose(outputs);
      return values;
    },
    async decode(steps) {
      const tokens: number[] = [];
      let past = filled.past;
      for (let token = next, index = 0; index < steps; index++) {
        const { row, present } = await step(token, past, prompt.length + index);
        if (past !== filled.past) dispose(past);
        past = present;
        token = argmax(row);
        tokens.push(token);
      }
      dispose(past);
      return tokens;
    },
    async decodeLogits() {
      const { row, present } = await step(next, filled.past, prompt.length);
      dispose(present);
      return row;
    },
    async destroy() {
      dispose(filled.past);
      await session.release();
    },
  };
}

/** Makes the tensors that a run is fed. */
class Inputs {
  constructor(readonly host: OrtHost) {}

  feeds(tokens: readonly number[], past: Past, length: number): Record<string, Tensor> {
    const { Tensor } = this.host;
    const count = tokens.length;
    const ids = BigInt64Array.from(tokens, BigInt);
    const positions = BigInt64Array.from(tokens, (_, index) => BigInt(length + index));
    return {
      ...past,
      mask: this.#mask(count, length),
      tokens: new Tensor("int64", ids, [1, count]),
      positions: new Tensor("int64", positions, [1, count]),
    };
  }

  /** A past of no tokens. */
  emptyPast(): Past {
    const { n_layer, n_head, n_embd } = this.host.config;
    const names = Array.from({ length: n_layer }, (_, layer) => [`past_key.${layer}`, `past_value.${layer}`]).flat();
    const empty = () => new this.host.Tensor("float32", new Float32Array(), [1, n_head, 0, n_embd / n_head]);
    return Object.fromEntries(names.map((name) => [name, empty()]));
  }

  /** What is added to the scores: 0, or a very negative number for keys after the query. */
  #mask(count: number, length: number): Tensor {
    const keys = count + length;
    const mask = new Float32Array(count * keys);
    for (let query = 0; query < count; query++) mask.fill(-1e9, query * keys + length + query + 1, (query + 1) * keys);
    return new this.host.Tensor("float32", mask, [1, 1, count, keys]);
  }
}

/** The logits of a run, and its keys and values under the names that the next run wants. */
function split(outputs: InferenceSession.OnnxValueMapType): { logits: Tensor; past: Past } {
  const { logits, ...presents } = outputs as Record<string, Tensor>;
  const past = Object.entries(presents).map(([name, tensor]) => [name.replace("present", "past"), tensor]);
  return { logits: logits as Tensor, past: Object.fromEntries(past) };
}

function dispose(tensors: Readonly<Record<string, unknown>>): void {
  for (const tensor of Object.values(tensors) as Tensor[]) tensor.dispose();
}
