/** `superlens bench` as a person runs it: here, on the other hosts, and wrongly. */
import { get } from "node:http";
import { describe, expect, it } from "vitest";
import type { BenchDocument } from "../../src/bench/index.ts";
import { LLAMA, ROOT, superlens, superlensProcess } from "../cli/support.ts";
import { byDay } from "../support/nightly.ts";

const SMALL = ["bench", "--shape", "tiny", "-p", "16", "-n", "4", "-r", "2", "-d", "8"];

describe("on this host", () => {
  it("prints one JSON value, and what it does on stderr", async () => {
    const { code, stdout, stderr } = await superlens([...SMALL, "--json"]);
    expect(code, stderr).toBe(0);
    const { reports } = JSON.parse(stdout) as BenchDocument;
    expect(reports).toHaveLength(1);
    expect(reports[0]).toMatchObject({ host: "node", model: "tiny", isRandom: true, load: { from: "memory" } });
    expect(reports[0]?.tests).toMatchObject([
      { name: "pp16", batch: 1, check: "ok" },
      { name: "tg4", depth: 8, check: "ok" },
    ]);
    expect(stderr).toMatch(/superlens: node: load\n[\s\S]*superlens: node: pp16\nsuperlens: node: tg4\n/);
  });

  it("prints tables for people, and Markdown, and loads a shape from disk", async () => {
    const text = await superlens([...SMALL, "--quiet"]);
    expect({ code: text.code, stderr: text.stderr }).toEqual({ code: 0, stderr: "" });
    expect(text.stdout).toMatch(
      /^Results\n\nmodel +host +backend[\s\S]*\ntiny f32 +node +Dawn .*pp16[\s\S]*superlens \S+, \d{4}-/,
    );
    const md = await superlens([...SMALL, "--quiet", "--md", "--cold"]);
    expect(md.code, md.stderr).toBe(0);
    expect(md.stdout).toMatch(/^\*\*Results\*\*\n\n\| model \| host [\s\S]*\n\| tiny \| node .*MB read/);
  });

  it("measures a model in a folder", async () => {
    const { code, stdout, stderr } = await superlens(["bench", LLAMA, ...SMALL.slice(3), "-p", "8", "--json"]);
    expect(code, stderr).toBe(0);
    const { reports } = JSON.parse(stdout) as BenchDocument;
    expect(reports[0]).toMatchObject({ model: LLAMA, isRandom: false, load: { from: "files" } });
  });
});

/** By day one computes and the other refuses; Chromium computes by day in `test/web/bench.test.ts`, and compiles for 10 s. */
const OTHERS = ["deno", "chrome"] as const;

describe("on the other hosts", () => {
  it.each(byDay(OTHERS, ["deno"]))("runs the same code in %s, with a model from a folder", async (host) => {
    const args = ["bench", LLAMA, "-p", "8", "-n", "2", "-d", "4", "-r", "1", "--profile", "--host", host, "--json"];
    const { code, stdout, stderr } = await superlens(args);
    expect(code, stderr).toBe(0);
    const { reports } = JSON.parse(stdout) as BenchDocument;
    const backend = host === "deno" ? "wgpu" : "Dawn";
    expect(reports).toMatchObject([{ host, backend, model: LLAMA, isRandom: false }]);
    const tests = reports[0]?.tests.map(({ name, check }) => [name, check]);
    expect(tests).toEqual([
      ["pp8", "ok"],
      ["tg2", "ok"],
    ]);
    expect(reports[0]?.load.bytes).toBeGreaterThan(10_000);
    const profiles = reports[0]?.profile ?? [];
    expect(profiles.map(({ test }) => test)).toEqual(["pp8", "tg2"]);
    for (const { kernels } of profiles) expect(kernels.some(({ kernel }) => kernel.startsWith("matmul"))).toBe(true);
  });

  it.each(byDay(OTHERS, ["chrome"]))("says what fails in %s, as here", async (host) => {
    const { code, stdout, stderr } = await superlens([...SMALL, "-p", "2000", "--host", host, "--json"]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    const message = `"${host}: pp2000 needs 2000 positions, and the model has 1024`;
    expect(stderr).toContain(`{"code":"input/too-long","message":${message}`);
  });
});

describe("wrong usage ends with exit code 2", () => {
  it.each<[string, string[], RegExp]>([
    ["an unknown shape", ["--shape", "huge"], /--shape <name>.*Allowed choices are gpt2, mini, tiny, llama-mini/],
    ["a model and a shape", [LLAMA, "--shape", "tiny"], /either a model or --shape/],
    ["an unknown host", ["--host", "node,bun"], /"bun" is no host. Use node, deno, chrome/],
    ["no number", ["-p", "128,many"], /--prompt <lengths>.*whole number, at least 0/],
    ["a batch of nothing", ["-b", "0"], /--batch <sizes>.*at least 1/],
    ["two formats", ["--json", "--md"], /either --json or --md/],
    ["a model's dtype", [LLAMA, "--dtype", "f16"], /--dtype is for shapes/],
    ["a cold model", [LLAMA, "--cold"], /--cold is for shapes/],
  ])("%s", async (_name, args, message) => {
    const { code, stdout, stderr } = await superlens(["bench", ...args]);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });
});

describe("what cannot run is exit code 1 and one line", () => {
  it.each<[string, string[], RegExp]>([
    ["more positions than there are", ["--shape", "tiny", "-p", "2000"], /pp2000 needs 2000 positions.*has 1024/],
    ["nothing to measure", ["--shape", "tiny", "-p", "0", "-n", "0"], /There is nothing to measure/],
    ["a folder that is not there", ["no/such/folder"], /no\/such\/folder is not a folder/],
  ])("%s", async (_name, args, message) => {
    const { code, stdout, stderr } = await superlens(["bench", "--quiet", ...args]);
    expect(stderr).toMatch(/^superlens: .*\n$/);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });
});

describe("a driver that is fast and wrong", () => {
  it("ends with exit code 1 and no figures", async () => {
    const { code, stdout, stderr } = await superlensProcess([...SMALL, "-p", "0", "--quiet", "--json"], undefined, [
      "--import",
      `${ROOT}test/bench/wrong-driver.mjs`,
    ]);
    // All at once, so that a process that was ended from outside (no code, nothing said) is told from one that ran.
    const said = expect.stringMatching(/^\{"error":\{"code":"bench\/wrong-output","message":"tg4.*\n$/);
    expect({ code, stdout, stderr }).toEqual({ code: 1, stdout: "", stderr: said });
  });
});

describe("the page's server", () => {
  it("prints its address, serves until Ctrl-C, and lets pages have a fine clock", async () => {
    const seen: { status: number | undefined; policy: unknown }[] = [];
    const { code, stdout } = await superlensProcess(
      ["bench", "--serve", "--port", "0", "--quiet"],
      (child, address) => {
        get(address.trim(), (response) => {
          seen.push({ status: response.statusCode, policy: response.headers["cross-origin-opener-policy"] });
          response.resume();
          child.kill("SIGINT");
        });
      },
    );
    expect(stdout).toMatch(/^http:\/\/localhost:\d+\/#view=bench\n$/);
    expect({ code, seen }).toEqual({ code: 130, seen: [{ status: 200, policy: "same-origin" }] });
  });
});

describe("help", () => {
  it("teaches by example", async () => {
    const { code, stdout, stderr } = await superlens(["bench", "--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/Usage: superlens bench \[options\] \[model\]/);
    expect(stdout).toContain("$ superlens bench --shape gpt2 --host node,deno,chrome --md");
  });
});
