/**
 * The command in the process of the tests, on their device. A driver keeps what it compiled for a device, so
 * that the second `forward` of a small model takes a fiftieth of the first one's time.
 */
import { run } from "../../src/cli/run.ts";
import type { GpuProvider } from "../../src/hosts/adapters.ts";
import { type Host, registerHost } from "../../src/hosts/host.ts";
import { partOf, standIn } from "../support/device-part.ts";
import { testGpu } from "../support/gpu.ts";
import { TEST_HOST } from "../support/host.ts";
import type { Run } from "./support.ts";

/**
 * Node, where the default adapter's only device is `device`. Any other adapter is looked for: a test asks what happens then.
 * Nothing else may ask for a GPU meanwhile.
 */
function hostOn(device: GPUDevice): Host {
  const { requestAdapter, defaultAdapter } = TEST_HOST.adapters;
  const adapters: GpuProvider = {
    ...TEST_HOST.adapters,
    async requestAdapter(request) {
      const adapter = await requestAdapter(request);
      if (request.adapter !== defaultAdapter()) return adapter;
      return standIn(adapter, { requestDevice: async () => partOf(device) });
    },
  };
  return { ...TEST_HOST, adapters };
}

/** What a run listens to until its process ends. */
const LISTENED: readonly [NodeJS.EventEmitter, string][] = [
  [process, "SIGINT"],
  [process.stdout, "error"],
  [process.stderr, "error"],
];

let last: Promise<unknown> = Promise.resolve();

/** `superlens …args` to its end. Runs wait for each other, since a process has one stdout and one list of arguments. */
export function superlensHere(args: readonly string[]): Promise<Run> {
  const next = last.then(() => runHere(args));
  last = next.catch(() => undefined);
  return next;
}

async function runHere(args: readonly string[]): Promise<Run> {
  const { device } = (await testGpu()).host;
  const { argv } = process;
  const output = { stdout: "", stderr: "" };
  const kept = (["stdout", "stderr"] as const).map((name) => {
    const stream = process[name];
    const { write } = stream;
    stream.write = ((piece: string | Uint8Array) => {
      output[name] += typeof piece === "string" ? piece : new TextDecoder().decode(piece);
      return true;
    }) as typeof write;
    return () => {
      stream.write = write;
    };
  });
  const listeners = LISTENED.map(([emitter, name]) => {
    const before = emitter.listeners(name);
    return () => {
      for (const each of emitter.listeners(name)) if (!before.includes(each)) emitter.off(name, each as () => void);
    };
  });
  process.argv = [process.execPath, "superlens", ...args];
  registerHost(hostOn(device));
  try {
    return { code: await run(), ...output };
  } finally {
    registerHost(TEST_HOST);
    process.argv = argv;
    for (const restore of [...kept, ...listeners]) restore();
  }
}
