/**
 * What tests that compute share: one GPU a process, reached the way users reach it (`SUPERLENS_ADAPTER` chooses), and
 * GPUs with smaller limits over the same device, so that splitting and folding happen at sizes a test can afford.
 */
import { EventEmitter, setMaxListeners } from "node:events";
import { Gpu } from "../../src/gpu/gpu.ts";
import type { GpuHost } from "../../src/gpu/host.ts";
import type { AdapterChoice } from "../../src/hosts/adapters.ts";
import { requestGpu } from "../../src/hosts/request.ts";
import "./host.ts";

/** A device of its own, for tests that end it or count what is made on it. All that runs there is compiled for it again. */
export async function newGpu(adapter?: AdapterChoice): Promise<Gpu> {
  return new Gpu(await requestGpu(adapter ? { adapter } : {}));
}

let shared: Promise<Gpu> | undefined;

/** The process's GPU. Nobody destroys it. */
export function testGpu(): Promise<Gpu> {
  shared ??= withoutListenerLimit(newGpu);
  return shared;
}

/**
 * Each `Gpu` on the shared device listens for errors until its end. Node warns of the eleventh, on stderr, whichever test is running.
 * The device keeps its listeners in an object that only the limit for new ones reaches.
 */
async function withoutListenerLimit<Made>(make: () => Promise<Made>): Promise<Made> {
  const usual = EventEmitter.defaultMaxListeners;
  setMaxListeners(0);
  try {
    return await make();
  } finally {
    setMaxListeners(usual);
  }
}

/**
 * A `Gpu` of its own on the shared device, for tests that count its memory or let it choose kernels. The driver keeps what
 * was compiled for a device: the first forward of a small llama took 28 ms here and 1.5 s on a new device. Nobody destroys
 * it, since that would end the device.
 */
export async function ownGpu(): Promise<Gpu> {
  return new Gpu((await testGpu()).host);
}

/** Runs `use` with such a `Gpu`, and frees what it keeps. */
export async function withGpu(use: (gpu: Gpu) => Promise<void>): Promise<void> {
  const gpu = await ownGpu();
  try {
    await use(gpu);
  } finally {
    gpu.trim();
  }
}

let hardware: Promise<Gpu> | undefined;

/** Another `Gpu` on the shared device that believes its adapter to be hardware, and takes the kernels for that. */
export function gpuTakenForHardware(): Promise<Gpu> {
  hardware ??= testGpu().then(
    ({ host }) => new Gpu({ ...host, adapterInfo: { ...host.adapterInfo, kind: "hardware", isSoftware: false } }),
  );
  return hardware;
}

const limited = new Map<string, Promise<Gpu>>();

/** Another `Gpu` on the shared device that believes in other limits; the same one for the same limits. */
export function gpuWithLimits(changes: Record<string, number>): Promise<Gpu> {
  const key = JSON.stringify(changes);
  const gpu = limited.get(key) ?? makeLimited(changes);
  limited.set(key, gpu);
  return gpu;
}

async function makeLimited(changes: Record<string, number>): Promise<Gpu> {
  const { host } = await testGpu();
  return new Gpu({ ...host, limits: { ...limitsOf(host), ...changes } as unknown as GPUSupportedLimits });
}

/** Limits are getters on the prototype, which a spread would leave behind. */
function limitsOf({ limits }: GpuHost): Record<string, number> {
  const copy: Record<string, number> = {};
  for (const name in limits) copy[name] = limits[name as keyof GPUSupportedLimits] as number;
  return copy;
}
