/**
 * superlens and its peers, side by side: `npm run peers -- --only jax,ort --host deno,chrome,node --shape mini,gpt2 --json`.
 * With `--train` they train instead. Each combination runs in a process or page of its own, one after the other. What fails
 * is reported and fails the program, and the rest goes on.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { AdapterName } from "./drivers.ts";
import { runOn } from "./hosts.ts";
import { ANSWER_MARK, type Answer, type HostName, type Job, type RunJob, type TrainJob } from "./job.ts";
import { type ShapeName, STEPS } from "./shapes.ts";
import { printResult } from "./table.ts";

type Packages = Partial<Record<HostName, string>>;

/** Peers, the package of each and the hosts it has WebGPU on. */
const PEERS: Record<RunJob["peer"], Packages> = {
  jax: { deno: "@jax-js/jax", chrome: "@jax-js/jax" },
  ort: { chrome: "onnxruntime-web", node: "onnxruntime-node" },
  "ort-fused": { chrome: "onnxruntime-web", node: "onnxruntime-node" },
};

/** Those that train. PyTorch computes on the CPU, beside superlens on Node. */
const TRAINERS: Record<TrainJob["peer"], Packages> = {
  jax: PEERS.jax,
  torch: { node: "torch" },
};

interface Combination<Peer> {
  peer: Peer;
  host: HostName;
  packageName: string;
}

export interface Result {
  job: Job;
  host: HostName;
  /** superlens, the peer's package and the host, each with its version. */
  versions: string;
  answer?: Answer;
  /** Why there is no answer, and the last lines that the host printed. */
  failure?: string;
}

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "jax,ort,ort-fused,torch" },
    train: { type: "boolean", default: false },
    python: { type: "string", default: "python3" },
    host: { type: "string", default: "deno,chrome,node" },
    shape: { type: "string", default: "mini" },
    rounds: { type: "string", default: "5" },
    steps: { type: "string", default: String(STEPS) },
    adapter: { type: "string", default: "lavapipe" },
    "time-limit": { type: "string", default: "600" },
    json: { type: "boolean", default: false },
    verbose: { type: "boolean", default: false },
  },
});

const results: Result[] = [];
for (const { job, host, packageName } of jobs()) {
  if (!values.json) console.error(`${job.peer} on ${host}, ${job.shape} …`);
  const result = await run(job, host, packageName);
  results.push(result);
  if (!values.json) printResult(result);
}
if (values.json) console.log(JSON.stringify(results, undefined, 2));
process.exitCode = results.length > 0 && results.every(({ answer }) => answer) ? 0 : 1;

function jobs(): { job: Job; host: HostName; packageName: string }[] {
  const [rounds, steps] = [Number(values.rounds), Math.min(STEPS, Number(values.steps))];
  if (values.train)
    return combinations(TRAINERS).map(({ peer, ...rest }) => ({
      job: { peer, shape: "train", rounds, steps, python: values.python },
      ...rest,
    }));
  return list(values.shape).flatMap((shape) =>
    combinations(PEERS).map(({ peer, ...rest }) => ({
      job: { peer, shape: shape as ShapeName, rounds, steps },
      ...rest,
    })),
  );
}

/** The peers asked for, on those hosts asked for that they have WebGPU on. */
function combinations<Peer extends string>(peers: Record<Peer, Packages>): Combination<Peer>[] {
  return (list(values.host) as HostName[]).flatMap((host) =>
    (list(values.only) as Peer[]).flatMap((peer) => {
      const packageName = peers[peer]?.[host];
      return packageName ? [{ peer, host, packageName }] : [];
    }),
  );
}

async function run(job: Job, host: HostName, packageName: string): Promise<Result> {
  const lines: string[] = [];
  let answer: Answer | undefined;
  const onLine = (line: string) => {
    const at = line.indexOf(ANSWER_MARK);
    if (at >= 0) answer = JSON.parse(line.slice(at + ANSWER_MARK.length)) as Answer;
    else if (line.trim()) lines.push(line);
    if (values.verbose && at < 0) console.error(line);
  };
  const result = { job, host, versions: versionsOf(packageName, host) };
  const timeLimit = 1000 * Number(values["time-limit"]);
  try {
    await runOn[host]({ job, adapter: values.adapter as AdapterName, timeLimit, onLine });
    if (answer) return { ...result, answer };
    throw new Error("the host printed no answer");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { ...result, failure: [reason, ...lines.slice(-12)].join("\n") };
  }
}

function list(text: string): string[] {
  return text.split(",").filter(Boolean);
}

function versionsOf(packageName: string, host: HostName): string {
  const ours = `superlens ${readPackage("../..").version}`;
  // PyTorch is no package of npm. Its note has its version.
  const theirs =
    packageName === "torch" ? "PyTorch" : `${packageName} ${readPackage(`node_modules/${packageName}`).version}`;
  return `${ours}, ${theirs}, ${hostVersion(host)}`;
}

function hostVersion(host: HostName): string {
  if (host === "node")
    return `Node ${process.versions.node}, webgpu ${readPackage("../../node_modules/webgpu").version}`;
  if (host === "deno") return `Deno ${readPackage("../../node_modules/deno").version}`;
  return `Chromium of @sparticuz/chromium ${readPackage("../../node_modules/@sparticuz/chromium").version}`;
}

function readPackage(folder: string): { version: string } {
  return JSON.parse(readFileSync(new URL(`${folder}/package.json`, import.meta.url), "utf8")) as { version: string };
}
