/**
 * Leaves the CPU to a software adapter. While anything is pending, Dawn's Node binding polls from `setImmediate` as fast
 * as the event loop turns, which keeps one core busy. With a GPU that does not matter and keeps latency low. With a software
 * adapter it takes that core from the adapter itself.
 *
 * So while a result is awaited, the loop sleeps for a tenth of the time waited so far, 4 ms at most. Measured on two
 * cores with a 512x512x512 f32 matmul (4x4 tiles): lavapipe 38 -> 20 ms, SwiftShader 178 -> 106 ms; a readback of one
 * kilobyte keeps its 0.1 ms.
 *
 * Still, each look costs 80 us of a core, for which the adapter's threads wait. If a second result is queued behind the
 * first, the adapter has work even before the host learns of the first. So the loop sleeps through most of the time that the
 * last result took: a token of four layers of 256 takes 4.3 ms instead of 5.1 (lavapipe, medians of 10 in one run; 3 looks a
 * token instead of 11).
 */
const LONGEST_SLEEP_MS = 4;
const SHARE_OF_WAIT = 0.1;
const SHARE_OF_REST = 0.8;

const sleeper = new Int32Array(new SharedArrayBuffer(4));
let pending = 0;
let waitingSince = 0;
let lastWaitMs = 0;
let isPacing = false;
let isInstalled = false;

/** Paces the waits of all devices of this process. `globals` are the classes of the package `webgpu`. */
export function paceSoftwareAdapter(globals: {
  GPUQueue: typeof GPUQueue;
  GPUBuffer: typeof GPUBuffer;
  GPUDevice: typeof GPUDevice;
}): void {
  if (isInstalled) return;
  isInstalled = true;
  paceMethod(globals.GPUBuffer.prototype, "mapAsync");
  paceMethod(globals.GPUQueue.prototype, "onSubmittedWorkDone");
  paceMethod(globals.GPUDevice.prototype, "createComputePipelineAsync");
}

function paceMethod<Name extends string>(
  prototype: Record<Name, (...args: never[]) => Promise<unknown>>,
  name: Name,
): void {
  const original = prototype[name];
  prototype[name] = function (this: unknown, ...args: never[]) {
    const result = original.apply(this, args);
    startWaiting();
    result.then(stopWaiting, stopWaiting);
    return result;
  };
}

function startWaiting(): void {
  pending += 1;
  if (pending === 1) waitingSince = performance.now();
  if (isPacing) return;
  isPacing = true;
  setImmediate(pace);
}

function stopWaiting(): void {
  pending -= 1;
  const now = performance.now();
  lastWaitMs = now - waitingSince;
  waitingSince = now;
}

function pace(): void {
  if (pending === 0) {
    isPacing = false;
    return;
  }
  const waited = performance.now() - waitingSince;
  const rest = pending > 1 ? (lastWaitMs - waited) * SHARE_OF_REST : 0;
  Atomics.wait(sleeper, 0, 0, Math.min(LONGEST_SLEEP_MS, Math.max(rest, waited * SHARE_OF_WAIT)));
  setImmediate(pace);
}
