/**
 * An abort ends a call at once with the signal's reason, whatever the call waits for, and leaves nothing behind. Each wait
 * is made to last for ever: by a server that falls silent, a source or cache that never answers, a host whose call hangs.
 */
import { readdir } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { BlobCache } from "../../src/checkpoint/cache.ts";
import { FolderCache } from "../../src/checkpoint/cache-folder.node.ts";
import { HubSource } from "../../src/checkpoint/index.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import { HookedModel, metric } from "../../src/hooks/index.ts";
import { dawnProvider } from "../../src/hosts/dawn.node.ts";
import { registerGpuProvider } from "../../src/hosts/request.ts";
import type { KernelClass } from "../../src/kernels/tuning/classes.ts";
import { tune } from "../../src/kernels/tuning/tuner.ts";
import { type LoadOptions, loadParts, type ModelSource } from "../../src/model/load.ts";
import { type Handler, inTempFolder, startServer, type TestServer } from "../checkpoint/support.ts";
import { fixtureFiles, loadFixture, sourceOf } from "../support/fixtures.ts";
import { ownGpu } from "../support/gpu.ts";

/** The goal is 100 ms, and 5 are usual; a machine that does other work besides needs more. */
const AT_ONCE_MS = 500;

let gpu: Gpu;
beforeAll(async () => {
  gpu = await ownGpu();
  gpu.paramArena(1); // kept, so that it is in every count
});
afterAll(() => gpu.trim());

/** Undone after each test, the latest first. */
let undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.reverse()) await step();
  undo = [];
});

/** Buffers and bytes in use, those kept for reuse left out. */
function memory(): { bytes: number; buffers: number } {
  gpu.trim();
  return { ...gpu.memory };
}

/** Lets calls of a host's method hang until `release`; then the host's own method answers. */
function hang<Name extends string>(host: Record<Name, unknown>, name: Name, reached: () => void): () => void {
  const original = host[name] as (...args: unknown[]) => Promise<unknown>;
  const owned = Object.hasOwn(host, name);
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const hanging = async function (this: unknown, ...args: unknown[]) {
    reached();
    await released;
    return original.apply(this, args);
  };
  Object.defineProperty(host, name, { value: hanging, configurable: true, writable: true });
  undo.push(() => {
    if (owned) Object.defineProperty(host, name, { value: original, configurable: true, writable: true });
    else delete host[name];
    release();
  });
  return release;
}

/** Begins a call, aborts it once it waits, and expects it to end with the reason, in time. */
async function aborted(begin: (signal: AbortSignal, reached: () => void) => Promise<unknown>): Promise<void> {
  const stop = new AbortController();
  const reason = new RangeError("enough");
  let reached = () => {};
  const waits = new Promise<void>((resolve) => {
    reached = resolve;
  });
  const call = begin(stop.signal, reached);
  const early = call.then(() => Promise.reject(new Error("it ended before it waited")));
  await Promise.race([waits, early]);
  await new Promise((resume) => setTimeout(resume, 10));
  const at = performance.now();
  stop.abort(reason);
  await expect(call).rejects.toBe(reason);
  expect(performance.now() - at).toBeLessThan(AT_ONCE_MS);
}

const eventually = (check: () => unknown) => expect.poll(check, { timeout: 5000, interval: 10 });

describe("an aborted load", () => {
  const load = (source: ModelSource, signal: AbortSignal, options: LoadOptions = {}) =>
    loadParts(source, { gpu, signal, quiet: true, ...options });

  /** Serves a fixture, and `answer` for its weights; `open` counts the answers that are still wanted. */
  async function serve(answer: (response: ServerResponse, range: string | undefined) => void) {
    const counts = { open: 0 };
    const weights: Handler = (request, response, path) => {
      if (!path.endsWith("model.safetensors")) return false;
      counts.open++;
      response.on("close", () => counts.open--);
      answer(response, request.headers.range);
      return true;
    };
    const server: TestServer = await startServer(weights);
    undo.push(server.close);
    return { ...server, counts };
  }

  /** Announces a file of which nothing but the first byte is ever sent. */
  const silent = (reached: () => void) => (response: ServerResponse, range: string | undefined) => {
    if (range === "bytes=0-0") {
      response.writeHead(206, { "Content-Range": "bytes 0-0/1000", ETag: '"v"' }).end("x");
      return;
    }
    response.writeHead(range ? 206 : 200, { "Content-Length": 1000, ETag: '"v"' }).write("x");
    setTimeout(reached, 10);
  };

  it("while a server does not answer", async () => {
    let counts = { open: 0 };
    await aborted(async (signal, reached) => {
      const server = await serve(reached);
      counts = server.counts;
      return load(`${server.url}/`, signal);
    });
    await eventually(() => counts.open).toBe(0);
  });

  it("while a body comes to a halt", async () => {
    let counts = { open: 0 };
    await aborted(async (signal, reached) => {
      const server = await serve(silent(reached));
      counts = server.counts;
      return load(`${server.url}/`, signal);
    });
    await eventually(() => counts.open).toBe(0);
  });

  it("while a server's pause is kept", async () => {
    const notices: string[] = [];
    await aborted(async (signal, reached) => {
      const server = await serve((response) => response.writeHead(503, { "Retry-After": "60" }).end());
      const onNotice = (notice: string) => {
        notices.push(notice);
        reached();
      };
      return load(`${server.url}/`, signal, { onNotice });
    });
    expect(notices).toEqual([expect.stringMatching(/answered 503 and asks for a pause of 60 s/)]);
  });

  it("while a file of the Hub is downloaded, of which nothing is kept", () =>
    inTempFolder(async (folder) => {
      await aborted(async (signal, reached) => {
        const { url } = await serve(silent(reached));
        return load(new HubSource({ repo: "o/n" }, { hubUrl: url, cache: new FolderCache(folder), signal }), signal);
      });
      const files = async () => {
        const entries = await readdir(folder, { recursive: true, withFileTypes: true });
        return entries.filter((entry) => entry.isFile()).length;
      };
      await eventually(files).toBe(0);
    }));

  it("while a cache writes", async () => {
    await aborted(async (signal, reached) => {
      const { url } = await serve(silent(() => {}));
      const put: BlobCache["put"] = () => {
        reached();
        return new Promise(() => {});
      };
      const cache: BlobCache = { label: "slow", open: async () => undefined, put };
      return load(new HubSource({ repo: "o/n" }, { hubUrl: url, cache }), signal);
    });
  });

  it.each(["exists", "readAll", "read"] as const)("while a source of the caller's hangs in %s", async (method) => {
    const source = sourceOf(await fixtureFiles("gpt2"));
    await aborted((signal, reached) => {
      hang(source as unknown as Record<typeof method, unknown>, method, reached);
      return load(source, signal);
    });
  });

  it("while an adapter is looked for", async () => {
    await aborted((signal, reached) => {
      const provider = { ...dawnProvider };
      hang(provider as unknown as Record<"requestAdapter", unknown>, "requestAdapter", reached);
      registerGpuProvider(provider);
      undo.push(() => registerGpuProvider(dawnProvider));
      return fixtureFiles("gpt2").then((files) => loadParts(sourceOf(files), { signal, quiet: true }));
    });
  });

  it("while a device is requested, which is destroyed when it comes", async () => {
    let release = () => {};
    let device: GPUDevice | undefined;
    await aborted((signal, reached) => {
      const requestAdapter = async (request: Parameters<typeof dawnProvider.requestAdapter>[0]) => {
        const adapter = await dawnProvider.requestAdapter(request);
        const requestDevice = adapter.requestDevice.bind(adapter);
        adapter.requestDevice = async (...args) => {
          device = await requestDevice(...args);
          return device;
        };
        release = hang(adapter as unknown as Record<"requestDevice", unknown>, "requestDevice", reached);
        return adapter;
      };
      registerGpuProvider({ ...dawnProvider, requestAdapter });
      undo.push(() => registerGpuProvider(dawnProvider));
      return fixtureFiles("gpt2").then((files) => loadParts(sourceOf(files), { signal, quiet: true }));
    });
    release();
    await eventually(() => device !== undefined).toBe(true);
    expect((await device?.lost)?.reason).toBe("destroyed");
  });

  it.each(["onSubmittedWorkDone", "popErrorScope"] as const)("while the GPU takes weights (%s)", async (method) => {
    const before = memory();
    await aborted((signal, reached) => {
      const host = method === "popErrorScope" ? gpu.device : gpu.device.queue;
      hang(host as unknown as Record<typeof method, unknown>, method, reached);
      return loadFixture("gpt2", { gpu, signal });
    });
    await Promise.all(undo.splice(0).map((step) => step()));
    expect(memory()).toEqual(before);
  });

  it.each(["createComputePipelineAsync", "onSubmittedWorkDone"] as const)(
    "while kernels are timed (%s)",
    async (method) => {
      const before = memory();
      await aborted(async (signal, reached) => {
        const host = method === "createComputePipelineAsync" ? gpu.device : gpu.device.queue;
        const onTune = () => hang(host as unknown as Record<typeof method, unknown>, method, reached);
        return loadFixture("gpt2", { gpu, signal, tune: true, onTune: onlyOnce(onTune) });
      });
      await Promise.all(undo.splice(0).map((step) => step()));
      await eventually(memory).toEqual(before);
    },
  );

  it("before it has begun, without a request", async () => {
    const { url, requests } = await startServer();
    const reason = new RangeError("before");
    await expect(load(url, AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(requests).toEqual([]);
  });
});

function onlyOnce(step: () => unknown): () => void {
  let isDone = false;
  return () => {
    if (!isDone) step();
    isDone = true;
  };
}

describe("an aborted call", () => {
  type Call = (model: HookedModel, signal?: AbortSignal) => Promise<unknown>;
  const IDS = [3, 17, 42, 5];
  const loadOn = async (on: Gpu) => new HookedModel(await loadFixture("gpt2", { gpu: on }));
  const calls: Record<string, Call> = {
    async forward(model, signal) {
      using result = await model.forward(IDS, { ...(signal && { signal }), logits: "last" });
      return [...(await result.logits.read())];
    },
    async generate(model, signal) {
      const tokens: unknown[] = [];
      for await (const step of model.generate(IDS, { maxNewTokens: 6, ...(signal && { signal }) })) {
        tokens.push(step.tokens);
      }
      return tokens;
    },
    async sweep(model, signal) {
      const cells = [[], [{ at: "blocks.0.hook_resid_post", op: "scale" as const, value: 0 }]];
      const options = { input: IDS, cells, metric: metric.logit(7) };
      return [...(await model.sweep({ ...options, ...(signal && { signal }) })).values];
    },
    async tune(model, signal) {
      const classes: KernelClass[] = [{ family: "matmul", shape: { rows: 1, layout: "linear", storage: "f32" } }];
      await tune(model.gpu, { classes, budgetMs: 200, signal });
      return "tuned";
    },
  };
  /** What each call waits for: a method of the device, of its queue or of a buffer. */
  const WAITS: [call: string, method: string, host: (gpu: Gpu) => object][] = [
    ...Object.keys(calls).map((call): [string, string, (gpu: Gpu) => object] => [
      call,
      "createComputePipelineAsync",
      ({ device }) => device,
    ]),
    ["forward", "popErrorScope", ({ device }) => device],
    ["generate", "mapAsync", () => GPUBuffer.prototype],
    ["sweep", "mapAsync", () => GPUBuffer.prototype],
    ["tune", "onSubmittedWorkDone", ({ device }) => device.queue],
  ];

  it.each(WAITS)("%s ends while the host hangs in %s, and the next is right", async (name, method, hostOf) => {
    const call = calls[name] as Call;
    // On the same device, with no kernel compiled.
    const own = new Gpu(gpu.host);
    own.paramArena(1);
    using model = await loadOn(own);
    own.trim();
    const before = { ...own.memory };
    await aborted((signal, reached) => {
      hang(hostOf(own) as Record<string, unknown>, method, reached);
      return call(model, signal);
    });
    await Promise.all(undo.splice(0).map((step) => step()));
    const now = () => {
      own.trim();
      return { ...own.memory };
    };
    await eventually(now).toEqual(before);
    using fresh = await loadOn(gpu);
    expect(await call(model)).toEqual(await call(fresh));
  });

  it.each(Object.keys(calls))("%s ends before it has begun", async (name) => {
    using model = await loadOn(gpu);
    const before = memory();
    const reason = new RangeError("before");
    await expect((calls[name] as Call)(model, AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(memory()).toEqual(before);
  });
});
