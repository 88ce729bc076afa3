/**
 * What Node runs; its argument is the job. `ort-fused` leaves attention plain here: with lavapipe's subgroups of 8 lanes the
 * fused one gives other logits (by 0.03 of the largest), and this package takes no device without subgroups.
 */
import "../../src/node.ts";
import { type Job, type PeerMaker, type RunJob, runJob, trainJob } from "./job.ts";
import { ortNodeRuntime } from "./ort-node.ts";
import { torchTrainer } from "./train-torch.ts";

const job = JSON.parse(process.argv[2] as string) as Job;
await (job.shape === "train" ? trainJob(job, () => torchTrainer(job.python)) : runJob(job, onnxruntime(job)));
process.exit(0);

function onnxruntime({ peer }: RunJob): PeerMaker {
  const kind = peer === "ort-fused" ? "fused-norms" : "plain";
  return { make: (weights) => ortNodeRuntime(weights, kind), readsLogits: true };
}
