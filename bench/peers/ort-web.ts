/** onnxruntime-web in a page, on its WebGPU provider; the page's server has the package under `/ort/`. */
import type * as Ort from "onnxruntime-common";
import { type GraphKind, gpt2Onnx } from "./onnx-graph.ts";
import { ortRuntime } from "./ort.ts";
import type { Runtime } from "./runtime.ts";
import { WEIGHTS_FILE, type Weights } from "./weights.ts";

const PACKAGE: string = "/ort/ort.webgpu.bundle.min.mjs";

export async function ortWebRuntime(weights: Weights, kind: GraphKind): Promise<Runtime> {
  const ort = (await import(PACKAGE)) as typeof Ort;
  ort.env.wasm.wasmPaths = "/ort/";
  const device = await deviceWithoutSubgroups();
  const session = await ort.InferenceSession.create(gpt2Onnx(weights, kind), {
    executionProviders: [{ name: "webgpu", device }],
    externalData: [{ path: WEIGHTS_FILE, data: weights.file }],
    preferredOutputLocation: "gpu-buffer",
  });
  return ortRuntime({
    name: "onnxruntime-web",
    note: `${kind} graph; keys, values and the prompt's logits stay on the GPU`,
    config: weights.config,
    Tensor: ort.Tensor,
    session,
    idle: () => device.queue.onSubmittedWorkDone().then(() => undefined),
  });
}

/**
 * The device that onnxruntime would make, but without subgroups: SwiftShader's have 4 lanes, and with so few its fused
 * attention gives other logits (by 0.4 of the largest; 0.03 with lavapipe's 8). Without subgroups it is right. The plain
 * graph takes as long with them as without.
 */
async function deviceWithoutSubgroups(): Promise<GPUDevice> {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("The page has no WebGPU adapter.");
  const requiredLimits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]]));
  const requiredFeatures = FEATURES.filter((feature) => adapter.features.has(feature));
  return adapter.requestDevice({ requiredLimits, requiredFeatures });
}

const FEATURES: readonly GPUFeatureName[] = ["shader-f16", "timestamp-query"];

const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
] as const;
