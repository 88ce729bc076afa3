/**
 * What Node runs; its argument is the job. `ort-fused` leaves attention plain here: with lavapipe's subgroups of 8 lanes the
 * fused one gives other logits (by 0.03 of the largest), and this package takes no device without subgroups.
 */
import "../../src/node.ts";
import { type Job, runJob } from "./job.ts";
import { ortNodeRuntime } from "./ort-node.ts";

const job = JSON.parse(process.argv[2] as string) as Job;
await runJob(job, {
  make: (weights) => ortNodeRuntime(weights, job.peer === "ort-fused" ? "fused-norms" : "plain"),
  readsLogits: true,
});
process.exit(0);
