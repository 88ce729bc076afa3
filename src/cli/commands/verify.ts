/**
 * `superlens verify`: measures the claims of docs/theory.md on the running engine, here or on another host. The exit code is
 * 1 if a bound is missed.
 */
import { Command, Option } from "commander";
import { SuperlensError } from "../../errors.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { requestGpu } from "../../hosts/request.ts";
import { type Claim, GRID_NAMES, GROUPS, type GridName, type Group, verify } from "../../theory/index.ts";
import { checkAdapter, HOSTS, type Host, type OtherHost, runElsewhere } from "../elsewhere.ts";
import { examples, type GlobalOptions } from "../options.ts";
import { print, printJson } from "../output.ts";
import { stop } from "../stop.ts";

interface VerifyOptions extends GlobalOptions {
  grid: GridName;
  part?: Group;
  host: Host;
}

/** What each part is about, as a headline. */
const TITLES: Record<Group, string> = {
  exactness: "1. Exactness: the model's probabilities are the mixture p*",
  resources: "2. Resources: layers, heads and width of the built tensors",
  causality: "3. Causality: moving a subspace moves what its name says",
  heads: "4. Heads: each match head recognises one task",
  robustness: "5. Robustness: where it breaks",
};

export function verifyCommand(): Command {
  return new Command("verify")
    .summary("measure every claim about the constructed transformer")
    .description(
      "Builds constructed transformers, runs them on this machine's adapter, and compares every claim of docs/theory.md with what is measured. The exit code is 1 if a bound is missed.",
    )
    .addOption(new Option("--grid <name>", "how much to measure").choices(GRID_NAMES).default("quick"))
    .addOption(new Option("--part <name>", "measure one part only").choices(GROUPS))
    .addOption(
      new Option("--host <name>", "where to run; deno and chrome need a clone with its development dependencies")
        .choices(HOSTS)
        .default("node"),
    )
    .addHelpText(
      "after",
      examples(
        ["verify", "every claim on small sizes, in less than a minute"],
        ["verify --grid full", "up to d = 512, m = 1000, n = 8, K = 64, in minutes"],
        ["verify --part causality --json", "one part, for a program"],
        ["verify --grid cut --host chrome", "in headless Chromium"],
      ),
    )
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<VerifyOptions>();
      checkAdapter(command, options.host, options.adapter);
      await runVerify(options);
    });
}

async function runVerify(options: VerifyOptions): Promise<void> {
  const started = performance.now();
  const groups = options.part ? [options.part] : GROUPS;
  const claims: Claim[] = [];
  const printer = new ClaimPrinter();
  const { adapter, measured } = await measure(options, groups);
  for await (const claim of measured) {
    stop.signal.throwIfAborted();
    claims.push(claim);
    if (!options.json) printer.add(claim);
  }
  const missed = claims.filter(({ ok }) => !ok).length;
  const seconds = Math.round((performance.now() - started) / 100) / 10;
  const { grid, host } = options;
  if (options.json) printJson({ grid, host, adapter, seconds, ok: missed === 0, claims });
  else print("", `${claims.length} claims on ${host} (${adapter}) in ${seconds} s, ${missed || "no"} bound missed.`);
  if (missed > 0)
    throw new SuperlensError("cli/claims-missed", `${missed} of ${claims.length} claims miss their bound.`);
}

async function measure(
  { host, grid, adapter, quiet = false }: VerifyOptions,
  groups: readonly Group[],
): Promise<{ adapter: string; measured: AsyncIterable<Claim> }> {
  if (host !== "node") return measureElsewhere(host, { grid, groups }, adapter);
  const gpu = new Gpu(await requestGpu({ adapter, quiet, signal: stop.signal }));
  async function* run() {
    try {
      yield* verify(gpu, { grid, groups, signal: stop.signal });
    } finally {
      gpu.destroy();
    }
  }
  return { adapter: gpu.host.adapterInfo.name, measured: run() };
}

/** What the verification says on another host: first the adapter, then every claim. */
type Said = { adapter: string } | { claim: Claim };

async function measureElsewhere(
  host: OtherHost,
  settings: { grid: GridName; groups: readonly Group[] },
  adapter: VerifyOptions["adapter"],
): Promise<{ adapter: string; measured: AsyncIterable<Claim> }> {
  const lines = runElsewhere<Said>(host, { program: "verify", settings, adapter });
  const first = await lines.next();
  if (first.done || !("adapter" in first.value)) {
    throw new SuperlensError("cli/host", `The verification on ${host} did not report its adapter. Update the clone.`);
  }
  async function* claims() {
    for await (const line of lines) if ("claim" in line) yield line.claim;
  }
  return { adapter: first.value.adapter, measured: claims() };
}

const NAME_WIDTH = 66;

/** Prints claims as they come, each part under its headline. */
class ClaimPrinter {
  #group: Group | undefined;

  add({ group, name, measured, relation, bound, ok, note }: Claim): void {
    if (group !== this.#group) print(...(this.#group ? [""] : []), TITLES[group]);
    this.#group = group;
    const numbers = `${format(measured).padStart(8)} ${relation} ${format(bound)}`;
    print(`  ${ok ? "ok    " : "MISSED"}  ${name.padEnd(NAME_WIDTH)} ${numbers.padEnd(20)}  ${note ?? ""}`.trimEnd());
  }
}

/** Counts as they are, measurements with two digits. */
function format(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toExponential(1);
}
