/** superlens through its public interface: `forward` for a prompt, `generate` behind a cache for tokens. */
import { type AdapterInfo, loadModel } from "../../src/index.ts";
import type { Runtime } from "./runtime.ts";
import { promptIds } from "./shapes.ts";
import { checkpointSource, type Weights } from "./weights.ts";

export interface Superlens extends Runtime {
  adapter: AdapterInfo;
}

/** `readsLogits`: read all logits of a prompt back, for a peer that cannot leave them on the GPU. */
export async function superlensRuntime(weights: Weights, { readsLogits = false } = {}): Promise<Superlens> {
  const { prompt, next } = promptIds(weights.config);
  const model = await loadModel(checkpointSource(weights), { quiet: true });
  const kv = model.createKvCache({ capacity: 2 * prompt.length });
  (await model.forward([prompt], { kv, logits: "none" })).destroy();
  return {
    name: "superlens",
    note: readsLogits ? "all logits read back, as the peer must" : "",
    adapter: model.gpu.host.adapterInfo,
    async prefill() {
      using result = await model.forward([prompt], { logits: "all" });
      if (readsLogits) await result.logits.read();
      else await model.gpu.idle();
    },
    async prefillLogits() {
      using result = await model.forward([prompt], { logits: "all" });
      return await result.logits.read();
    },
    async decode(steps) {
      const tokens: number[] = [];
      const options = { kv, maxNewTokens: steps, ignoreEos: true };
      for await (const step of model.generate([[next]], options)) tokens.push(step.tokens[0] as number);
      kv.truncate(0, prompt.length);
      return tokens;
    },
    async decodeLogits() {
      using result = await model.forward([[next]], { kv, logits: "last" });
      kv.truncate(0, prompt.length);
      return await result.logits.at(0, -1);
    },
    destroy() {
      kv.destroy();
      model.destroy();
    },
  };
}
