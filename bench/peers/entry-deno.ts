/** What Deno runs; its argument is the job. */
import process from "node:process";
import "../../src/deno.ts";
import { jaxRuntime } from "./jax.ts";
import { type Job, runJob, trainJob } from "./job.ts";
import { jaxTrainer } from "./train-jax.ts";

const job = JSON.parse(process.argv[2] as string) as Job;
await (job.shape === "train" ? trainJob(job, jaxTrainer) : runJob(job, { make: jaxRuntime }));
process.exit(0);
