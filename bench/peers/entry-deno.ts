/** What Deno runs; its argument is the job. */
import process from "node:process";
import "../../src/deno.ts";
import { jaxRuntime } from "./jax.ts";
import { type Job, runJob } from "./job.ts";

await runJob(JSON.parse(process.argv[2] as string) as Job, { make: jaxRuntime });
process.exit(0);
