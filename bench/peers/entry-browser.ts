/** What the page imports; the module's address holds the job. */
import { jaxRuntime } from "./jax.ts";
import { type Job, type PeerMaker, type RunJob, runJob, trainJob } from "./job.ts";
import { ortWebRuntime } from "./ort-web.ts";
import { jaxTrainer } from "./train-jax.ts";

const PEERS: Record<RunJob["peer"], PeerMaker> = {
  jax: { make: jaxRuntime },
  ort: { make: (weights) => ortWebRuntime(weights, "plain") },
  "ort-fused": { make: (weights) => ortWebRuntime(weights, "fused") },
};

const job = JSON.parse(new URL(import.meta.url).searchParams.get("job") as string) as Job;
await (job.shape === "train" ? trainJob(job, jaxTrainer) : runJob(job, PEERS[job.peer]));
