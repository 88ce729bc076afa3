/**
 * One benchmark on each chosen host. Node runs it in this process. Deno and Chromium are started with the same code, and get
 * a folder on disk over HTTP.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import {
  type BenchOptions,
  type BenchProgress,
  RandomSource,
  type Report,
  runBench,
  SHAPES,
  type ShapeName,
  type Subject,
} from "../bench/index.ts";
import { parseSourceSpec } from "../checkpoint/index.ts";
import { SuperlensError } from "../errors.ts";
import type { AdapterKind } from "../gpu/host.ts";
import type { AdapterChoice } from "../hosts/adapters.ts";
import { requestGpu } from "../hosts/request.ts";
import type { FloatStorage } from "../kernels/storage.ts";
import { type Host, type OtherHost, runElsewhere } from "./elsewhere.ts";
import { stop } from "./stop.ts";
import { writeFileWhole } from "./write-file.ts";

/** A shape, and the type of its weights. */
export interface ShapeTarget {
  shape: ShapeName;
  dtype: FloatStorage;
}

/** A model by what the command line calls it. */
interface ModelTarget {
  model: string;
  label: string;
  isRandom: boolean;
}

/** What to benchmark. */
export type Target = ShapeTarget | ModelTarget;

export interface HostRun {
  target: Target;
  options: BenchOptions;
  adapter: AdapterChoice | undefined;
  quiet: boolean;
  commit: string;
  onProgress: (progress: BenchProgress) => void;
}

/** The report of one host. */
export function benchOn(host: Host, run: HostRun): Promise<Report> {
  return host === "node" ? benchHere(run) : benchElsewhere(host, run);
}

function benchHere({ target, options, ...rest }: HostRun): Promise<Report> {
  const { adapter, ...others } = rest;
  const subject: Subject = "shape" in target ? target : subjectOf(target);
  return runBench(subject, { ...options, ...others, ...(adapter && { adapter }), signal: stop.signal });
}

const subjectOf = ({ model, label, isRandom }: ModelTarget): Subject => ({ source: model, label, isRandom });

/** What the program says while it runs. */
type Said = { progress: BenchProgress } | { report: Report };

async function benchElsewhere(host: OtherHost, { target, options, commit, ...run }: HostRun): Promise<Report> {
  const { subject, modelFolder } = "shape" in target ? { subject: target } : remoteSubject(target);
  // Chromium is started with the one adapter that it brings; Deno shall take what Node takes.
  const adapter = host === "deno" ? await adapterOfNode(run.adapter) : undefined;
  const settings = { subject, options: { ...options, commit, ...(adapter && { adapter }) } };
  let report: Report | undefined;
  for await (const said of runElsewhere<Said>(host, { program: "bench", settings, adapter, modelFolder })) {
    if ("report" in said) report = said.report;
    else run.onProgress(said.progress);
  }
  if (report) return report;
  throw new SuperlensError("cli/host", `The benchmark on ${host} ended without a report. Run it again with -r 1.`);
}

/** How another host finds the model: a folder through the launcher's server, anything else by its own name. */
function remoteSubject(target: ModelTarget) {
  const { model, label, isRandom } = target;
  const spec = parseSourceSpec(model);
  if (spec.kind !== "folder") return { subject: subjectOf(target) };
  return { subject: { served: spec.file ?? "", label, isRandom }, modelFolder: resolve(spec.path) };
}

/** The adapter that Node takes; Deno by itself would take another where there are several. */
async function adapterOfNode(adapter: AdapterChoice | undefined): Promise<AdapterChoice> {
  const { device, adapterInfo } = await requestGpu({ ...(adapter && { adapter }), quiet: true });
  device.destroy();
  const kinds: Record<AdapterKind, AdapterChoice> = {
    hardware: "hardware",
    lavapipe: "lavapipe",
    swiftshader: "swiftshader",
    software: "auto",
  };
  return kinds[adapterInfo.kind];
}

/** Bytes written at once. */
const PIECE_BYTES = 16 << 20;

/** Runs `body` with a folder that holds the shape as a checkpoint on disk, and removes it. */
export async function withShapeFolder<Result>(
  { shape, dtype }: ShapeTarget,
  body: (folder: string) => Promise<Result>,
): Promise<Result> {
  const folder = await mkdtemp(join(tmpdir(), "superlens-bench-"));
  try {
    const source = await RandomSource.create(SHAPES[shape], shape, dtype);
    for (const file of await source.list()) await writeFileWhole(join(folder, file), pieces(source, file));
    return await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function* pieces(source: RandomSource, file: string): AsyncGenerator<Uint8Array> {
  const size = await source.size(file);
  for (let start = 0; start < size; start += PIECE_BYTES) {
    yield source.read(file, start, Math.min(size, start + PIECE_BYTES));
  }
}
