/**
 * The checks that every host must pass. What they share is WebGPU itself; what differs is who implements it (Dawn in
 * Node and Chromium, wgpu in Deno) and what comes with it.
 */
import { attributionChecks } from "./attributions.ts";
import { chatChecks } from "./chat.ts";
import { circuitChecks } from "./circuits.ts";
import { editChecks } from "./edits.ts";
import { familyChecks } from "./families.ts";
import { ggufChecks } from "./gguf.ts";
import { gradientChecks } from "./gradients.ts";
import { type Check, expectEqual } from "./harness.ts";
import { hookChecks } from "./hooks.ts";
import { kernelChecks } from "./kernels.ts";
import { lifetimeChecks } from "./lifetimes.ts";
import { moduleChecks } from "./modules.ts";
import { paperChecks } from "./paper.ts";
import { pictureChecks } from "./pictures.ts";
import { streamedChecks } from "./streamed.ts";
import { theoryChecks } from "./theory.ts";
import { trainingChecks } from "./training.ts";
import { typeChecks } from "./types.ts";

const ADD_VECTORS = `
  @group(0) @binding(0) var<storage, read> a: array<f32>;
  @group(0) @binding(1) var<storage, read> b: array<f32>;
  @group(0) @binding(2) var<storage, read_write> sum: array<f32>;
  @compute @workgroup_size(64)
  fn main(@builtin(global_invocation_id) id: vec3u) {
    if (id.x < arrayLength(&sum)) { sum[id.x] = a[id.x] + b[id.x]; }
  }`;

/** WebGPU's own minimum for each limit that kernels rely on: the specification's "default" column. */
const SPECIFIED_MINIMUM = {
  maxStorageBufferBindingSize: 134217728,
  maxBufferSize: 268435456,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupsPerDimension: 65535,
} as const;

export const suite: Check[] = [
  {
    name: "adapter says what it is",
    async run({ gpu, host }) {
      const { adapterInfo } = (await gpu()).host;
      expectEqual(adapterInfo.host, host, "host");
      expectEqual(adapterInfo.isSoftware, adapterInfo.kind !== "hardware", "isSoftware");
      return `${adapterInfo.name} (${adapterInfo.kind})`;
    },
  },
  {
    name: "device has at least the specified limits",
    async run({ gpu }) {
      const { limits } = await gpu();
      for (const [name, minimum] of Object.entries(SPECIFIED_MINIMUM)) {
        const value = limits[name as keyof typeof SPECIFIED_MINIMUM];
        if (!(value >= minimum)) throw new Error(`${name} is ${value}, below ${minimum}`);
      }
      return `${limits.maxStorageBuffersPerShaderStage} storage buffers of ${limits.maxStorageBufferBindingSize} bytes`;
    },
  },
  {
    name: "a shader adds two vectors",
    async run({ gpu }) {
      const { device } = await gpu();
      const a = Float32Array.from({ length: 1000 }, (_, index) => index / 7);
      const b = Float32Array.from({ length: 1000 }, (_, index) => 1000 - index);
      const sum = await addVectors(device, a, b);
      for (let index = 0; index < a.length; index++) {
        expectEqual(sum[index], Math.fround(a[index]! + b[index]!), `element ${index}`);
      }
      return undefined;
    },
  },
  {
    name: "fixtures are served, whole and by range",
    async run({ loadFixture, fixtureUrl }) {
      const whole = await loadFixture("rope.json");
      const range = await fetch(new URL("rope.json", fixtureUrl), { headers: { range: "bytes=2-5" } });
      expectEqual(range.status, 206, "HTTP status of a range");
      const part = new Uint8Array(await range.arrayBuffer());
      expectEqual(part.join(), whole.subarray(2, 6).join(), "bytes 2 to 5");
      return undefined;
    },
  },
  ...kernelChecks,
  ...familyChecks,
  ...typeChecks,
  ...ggufChecks,
  ...streamedChecks,
  ...editChecks,
  ...gradientChecks,
  ...trainingChecks,
  ...paperChecks,
  ...attributionChecks,
  ...moduleChecks,
  ...circuitChecks,
  ...theoryChecks,
  ...hookChecks,
  ...chatChecks,
  ...lifetimeChecks,
  ...pictureChecks,
];

async function addVectors(device: GPUDevice, a: Float32Array, b: Float32Array): Promise<Float32Array> {
  const buffer = (usage: number) => device.createBuffer({ size: a.byteLength, usage });
  const [left, right, out, readback] = [
    buffer(GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST),
    buffer(GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST),
    buffer(GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC),
    buffer(GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST),
  ] as const;
  device.queue.writeBuffer(left, 0, a as Float32Array<ArrayBuffer>);
  device.queue.writeBuffer(right, 0, b as Float32Array<ArrayBuffer>);
  const module = device.createShaderModule({ code: ADD_VECTORS });
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
  const entries = [left, right, out].map((each, binding) => ({ binding, resource: { buffer: each } }));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(Math.ceil(a.length / 64));
  pass.end();
  encoder.copyBufferToBuffer(out, 0, readback, 0, a.byteLength);
  device.queue.submit([encoder.finish()]);
  await readback.mapAsync(GPUMapMode.READ);
  const result = new Float32Array(readback.getMappedRange()).slice();
  for (const each of [left, right, out, readback]) each.destroy();
  return result;
}
