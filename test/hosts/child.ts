/**
 * A program that asks for adapters and prints what it got as JSON. Its arguments are requests as JSON, made one after
 * another; `"destroy"` in a request ends its device. The environment decides the rest.
 */
import { registerHost } from "../../src/hosts/host.ts";
import { NODE } from "../../src/hosts/node.node.ts";
import { type GpuRequest, requestGpu } from "../../src/hosts/request.ts";

registerHost(NODE);

const answers: unknown[] = [];
for (const argument of process.argv.slice(2)) {
  const { destroy, collect, ...request } = JSON.parse(argument) as GpuRequest & {
    destroy?: boolean;
    collect?: boolean;
  };
  const heard: string[] = [];
  if (collect) request.onAdapter = ({ kind }) => heard.push(kind);
  try {
    const { device, adapterInfo, limits } = await requestGpu(request);
    await device.queue.onSubmittedWorkDone();
    if (destroy) device.destroy();
    answers.push({
      kind: adapterInfo.kind,
      isSoftware: adapterInfo.isSoftware,
      bufferSize: limits.maxBufferSize,
      heard,
    });
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    answers.push({ code, message });
  }
}
console.log(JSON.stringify(answers));
