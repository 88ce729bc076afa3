/**
 * Decodes, and prints what a token leaves on the JavaScript heap and how many buffers, bind groups and pipelines it makes.
 * Run with --expose-gc.
 *
 * What Dawn's binding leaves while it polls for a result is not counted: 5 to 200 kB a millisecond of waiting, more the
 * faster it polls. So the heap is looked at around the calls that submit a token and take it in, in which nobody waits.
 * Nor is the largest call, which is printed by itself: V8 may recompile a function once in the middle (190 kB, in one of
 * 26 runs), while what decoding leaves, it leaves in every call.
 */
import "../../src/node.ts";
import { Decoder } from "../../src/model/decode.ts";
import { generateSteps } from "../../src/model/generate.ts";
import { loadFixture } from "../support/fixtures.ts";

const FROM = 40;
const TO = 70;
const model = await loadFixture("gpt2");
const collectGarbage = (globalThis as unknown as { gc(): void }).gc;
const heap = () => process.memoryUsage().heapUsed;
let calls: number[] = [];

function counted<Arguments extends unknown[], Result>(call: (...given: Arguments) => Result) {
  return function (this: unknown, ...given: Arguments): Result {
    const before = heap();
    const result = call.apply(this, given);
    calls.push(heap() - before);
    return result;
  };
}

Decoder.prototype.submit = counted(Decoder.prototype.submit);
Decoder.prototype.deliver = counted(Decoder.prototype.deliver);
let made = 0;
const { device } = model.gpu;
for (const name of ["createBuffer", "createBindGroup", "createComputePipeline"] as const) {
  const create = device[name].bind(device) as (descriptor: never) => unknown;
  Object.defineProperty(device, name, {
    value: (descriptor: never) => {
      made += 1;
      return create(descriptor);
    },
  });
}
let before = { ...model.gpu.memory };
let after = before;
for await (const { step } of generateSteps(model, [5, 6, 7], { maxNewTokens: 100, ignoreEos: true })) {
  if (step === FROM) {
    collectGarbage();
    calls = [];
    made = 0;
    before = { ...model.gpu.memory };
  }
  after = { ...model.gpu.memory };
  if (step === TO) break;
}
const largest = Math.max(...calls);
const bytes = calls.reduce((sum, each) => sum + each, -largest);
console.log(
  JSON.stringify({
    garbagePerToken: bytes / (TO - FROM),
    largest,
    calls: calls.length,
    buffers: after.buffers - before.buffers,
    bytes: after.bytes - before.bytes,
    made,
  }),
);
model.destroy();
process.exit(0);
