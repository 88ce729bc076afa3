/**
 * onnxruntime-node on its WebGPU provider, which is Dawn on the machine's Vulkan drivers. Keys and values stay on the GPU;
 * logits go to the host with the run, since this package offers no way to read or await what is on the GPU (`getData` of such
 * a tensor ends the process).
 */
import ort from "onnxruntime-node";
import { type GraphKind, gpt2Onnx } from "./onnx-graph.ts";
import { ortRuntime } from "./ort.ts";
import type { Runtime } from "./runtime.ts";
import { WEIGHTS_FILE, type Weights } from "./weights.ts";

export async function ortNodeRuntime(weights: Weights, kind: GraphKind): Promise<Runtime> {
  const session = await ort.InferenceSession.create(gpt2Onnx(weights, kind), {
    executionProviders: ["webgpu"],
    externalData: [{ path: WEIGHTS_FILE, data: weights.file }],
    preferredOutputLocation: locations(weights.config.n_layer),
  });
  return ortRuntime({
    name: "onnxruntime-node",
    note: `${kind} graph; keys and values stay on the GPU`,
    config: weights.config,
    Tensor: ort.Tensor,
    session,
    idle: async () => undefined,
  });
}

function locations(layers: number): Record<string, "cpu" | "gpu-buffer"> {
  const presents = Array.from({ length: layers }, (_, layer) => [
    `present_key.${layer}`,
    `present_value.${layer}`,
  ]).flat();
  return { logits: "cpu", ...Object.fromEntries(presents.map((name) => [name, "gpu-buffer" as const])) };
}
