/** Runs the command `superlens`: in this process, or in one of its own, as a person does. */
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { type Checkpoint, type TensorEntry, toFloat32, writeSafetensors } from "../../src/checkpoint/index.ts";
import { openModelSource } from "../../src/model/load.ts";
import { isNight } from "../support/nightly.ts";
import { superlensHere } from "./here.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
export const LLAMA = `${ROOT}test/fixtures/families/llama`;

const BIN = `${ROOT}bin/superlens.js`;

export interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** What a test may do to the running process with each piece of its output. */
export type OnOutput = (child: ReturnType<typeof start>, stdoutSoFar: string) => void;

interface Settings {
  tune?: boolean;
  env?: NodeJS.ProcessEnv;
}

function start(args: readonly string[], nodeArgs: readonly string[], { tune = false, env }: Settings) {
  // Kernels that were timed on this machine before, or are timed now, have no part in a test.
  return spawn(process.execPath, [...nodeArgs, BIN, ...(tune ? [] : ["--no-tune"]), ...args], {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/**
 * `superlens …args` to its end, with `--no-tune`. By day it runs in this process, on the device of the tests: a process compiles every
 * kernel anew, and 145 of them were half of what all tests waited for compilers (831 of 1616 s). At night each is a process of its
 * own; `--quiet` filters what native code writes to that process's stderr, of which nothing is seen here.
 */
export function superlens(args: readonly string[]): Promise<Run> {
  return isNight ? superlensProcess(args) : superlensHere(["--no-tune", ...args]);
}

/** `superlens …args` in a process of its own, to its end; `nodeArgs` are Node's. Without `tune` it runs with `--no-tune`. */
export function superlensProcess(
  args: readonly string[],
  onOutput?: OnOutput,
  nodeArgs: readonly string[] = [],
  { onStart, ...settings }: Settings & { onStart?: (child: ReturnType<typeof start>) => void } = {},
): Promise<Run> {
  const child = start(args, nodeArgs, settings);
  onStart?.(child);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk;
    onOutput?.(child, stdout);
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    const isQuiet = args.includes("--quiet");
    child.on("close", (code) => resolve({ code, stdout, stderr: isQuiet ? stderr : withoutDawnWarnings(stderr) }));
  });
}

/** Dawn's own remarks about the driver are not the command's; with `--quiet` the command keeps them back. */
function withoutDawnWarnings(stderr: string): string {
  return stderr.replace(/^Warning: max\w+ artificially reduced.*\n/gm, "");
}

/** Tensors of a safetensors file as numbers. */
export async function readTensors(path: string, names: readonly string[]): Promise<Float32Array[]> {
  const checkpoint = await openModelSource(path);
  try {
    return await Promise.all(names.map((name) => readTensor(checkpoint, name)));
  } finally {
    await checkpoint.close();
  }
}

async function readTensor(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const info = checkpoint.tensors.get(name);
  if (!info) throw new Error(`${checkpoint.label} has no tensor ${name}`);
  return toFloat32(await checkpoint.read(name), info.dtype);
}

/** Largest difference, in units of the largest expected value. */
export function relativeDifference(actual: Float32Array, expected: Float32Array): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return (
    expected.reduce((most, value, index) => Math.max(most, Math.abs(value - (actual[index] as number))), 0) / largest
  );
}

/** What the command prints with `--json`; it must print that alone, and nothing on stderr. */
export async function json<T>(args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await superlens([...args, "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return JSON.parse(stdout) as T;
}

type F32Tensor = TensorEntry & { data: Float32Array };

/** Writes the fixture's weights to `folder`, each changed by `change`, and `extra` ones. */
export async function rewriteWeights(
  folder: string,
  change: (tensor: F32Tensor) => TensorEntry,
  extra: TensorEntry[] = [],
): Promise<void> {
  const checkpoint = await openModelSource(LLAMA);
  const tensors: TensorEntry[] = [];
  for (const { name, shape, dtype } of checkpoint.tensors.values()) {
    tensors.push(change({ name, dtype: "F32", shape, data: toFloat32(await checkpoint.read(name), dtype) }));
  }
  await checkpoint.close();
  await writeFile(join(folder, "model.safetensors"), writeSafetensors([...tensors, ...extra]));
}
