/**
 * Ends and losses on every host: each has a garbage collector and a WebGPU of its own, and none of them needs a flag for
 * what superlens promises.
 */
import { Gpu, type HookedModel, loadModel, requestGpu, SuperlensError } from "../../src/index.ts";
import { collectUntil } from "../support/collect.ts";
import { type Check, type CheckContext, expectEqual } from "./harness.ts";

const IDS = [3, 14, 15, 92, 65];

const load = (context: CheckContext, gpu: Gpu): Promise<HookedModel> =>
  loadModel(`${context.fixtureUrl}families/llama`, { gpu });

/** Makes results and forgets them. A function of its own, so that nothing of it stays on the stack. */
async function forget(model: HookedModel): Promise<void> {
  await model.runWithCache(IDS);
  model.createKvCache({ capacity: 100 });
  const steps = model.generate(IDS, { maxNewTokens: 20, ignoreEos: true });
  await steps.next();
}

async function forgottenResults(context: CheckContext): Promise<string> {
  const gpu = new Gpu((await context.gpu()).host); // counts its own memory, and finds compiled what the others have run
  const notices: string[] = [];
  gpu.onNotice = (message) => notices.push(message);
  const model = await load(context, gpu);
  (await model.runWithCache(IDS)).destroy();
  gpu.trim();
  const before = { ...gpu.memory };
  gpu.resetPeak();
  await forget(model);
  const made = gpu.peakBytes - before.bytes;
  if (made < 30_000) throw new Error(`only ${made} bytes were made`);
  await gpu.idle(); // tokens that were being decoded ahead
  await collectUntil(() => {
    gpu.trim();
    return gpu.memory.bytes === before.bytes;
  });
  expectEqual(gpu.memory.bytes, before.bytes, "bytes after the collection");
  expectEqual(notices.length, 1, "notices");
  model.destroy();
  return `${made} bytes freed`;
}

async function destroyedDevices(context: CheckContext): Promise<string> {
  const references = new Map<string, WeakRef<object>>();
  const use = async (time: number) => {
    const gpu = new Gpu(await requestGpu({ quiet: true }));
    const model = await load(context, gpu);
    for (const [name, object] of Object.entries({ gpu, device: gpu.device, model }))
      references.set(`${name} ${time}`, new WeakRef<object>(object));
    model.destroy();
    gpu.destroy();
  };
  for (let time = 0; time < 3; time++) await use(time);
  const held = () => [...references].filter(([, reference]) => reference.deref()).map(([name]) => name);
  await collectUntil(() => held().length === 0);
  if (held().length > 0) throw new Error(`still there: ${held().join(", ")}`);
  return "of three devices";
}

async function destroyedWork(context: CheckContext): Promise<string> {
  const gpu = new Gpu(await requestGpu({ quiet: true }));
  const model = await load(context, gpu);
  const steps = model.generate(IDS, { maxNewTokens: 50, ignoreEos: true });
  for (let step = 0; step < 3; step++) await steps.next();
  const pass = model.runWithCache(IDS).catch((error: unknown) => error);
  gpu.destroy();
  // Tokens are being decoded ahead; nobody waits for them while they fail.
  await new Promise((resolve) => setTimeout(resolve, 50));
  const drain = async () => {
    for await (const _ of steps);
  };
  const errors = [await pass, await drain().catch((error: unknown) => error)];
  for (const error of errors) {
    if (!(error instanceof SuperlensError)) throw new Error(`not an error of ours: ${error}`);
    expectEqual(error.code, "gpu/device-lost", "code");
  }
  model.destroy();
  return "2 typed errors";
}

/** In Node test/engine/lifetimes.test.ts asks the same and more. In Chromium the page loses its device (test/web/page.test.ts). */
export const lifetimeChecks: Check[] = [
  { name: "forgotten results are freed, and named once", atNightIn: ["node"], run: forgottenResults },
  { name: "destroyed devices are let go of", atNightIn: ["node"], run: destroyedDevices },
  {
    name: "a device that is destroyed ends what is pending with typed errors",
    atNightIn: ["node", "browser"],
    run: destroyedWork,
  },
];
