/** Help, wrong usage (exit code 2) and bad input (exit code 1, one line): everything that ends before a GPU is asked for. */
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { writeSafetensors } from "../../src/checkpoint/index.ts";
import { fileWithHeader, inTempFolder } from "../checkpoint/support.ts";
import { LLAMA, ROOT, type Run, superlens, superlensProcess } from "./support.ts";

const COMMANDS = [
  "inspect",
  "tokenize",
  "generate",
  "probs",
  "test-prompt",
  "forward",
  "backward",
  "lens",
  "features",
  "attention",
  "patch",
  "attribute",
  "tune",
];

// The first run after an edit of the sources bundles them.
beforeAll(async () => {
  expect(await superlens(["--version"])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
});

/** Exit code 1 and one line for people: no stack, no second line. */
function expectOneLine({ code, stdout, stderr }: Run, message: RegExp): void {
  expect(stderr).toMatch(/^superlens: .*\n$/);
  expect(stderr).toMatch(message);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
}

describe("help", () => {
  it("lists the commands and says how to name a model", async () => {
    const { code, stdout, stderr } = await superlens(["--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const command of [...COMMANDS, "demo"]) expect(stdout).toContain(`  ${command} `);
    expect(stdout).toContain("hf:owner/name[@revision]");
  });

  it.each(COMMANDS)("teaches %s by example", async (command) => {
    const { code, stdout, stderr } = await superlens([command, "--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(new RegExp(`Usage: superlens ${command} `));
    expect(stdout).toMatch(new RegExp(`Examples:\n  \\$ superlens ${command} `));
    expect(stdout).toContain("--adapter <kind>");
  });
});

describe("wrong usage ends with exit code 2", () => {
  const forward = ["forward", LLAMA, "--out", "unwritten.safetensors"];
  it.each<[string, string[], RegExp]>([
    ["no command", [], /Usage: superlens/],
    ["an unknown command", ["inspekt"], /unknown command 'inspekt'[\s\S]*Did you mean inspect/],
    ["a missing argument", ["inspect"], /missing required argument 'model'/],
    ["an unknown option", ["inspect", LLAMA, "--tensors"], /unknown option '--tensors'/],
    ["a capture without a graph", ["inspect", LLAMA, "--capture", "logits"], /--capture is for --graph/],
    ["a block without a graph", ["inspect", LLAMA, "--layer", "0"], /--layer is for --graph/],
    ["rows without a graph", ["inspect", LLAMA, "--rows", "last"], /--rows is for --graph/],
    ["rows of no kind", ["inspect", LLAMA, "--graph", "--rows", "first"], /choices are all, last, sweep/],
    ["a drawing without a graph", ["inspect", LLAMA, "--svg", "unwritten.svg"], /--svg is for --graph/],
    ["a graph of weights that are read", ["inspect", LLAMA, "--graph", "--check-finite"], /--graph reads no weights/],
    ["a graph of a file of tensors", ["inspect", "a.safetensors", "--graph"], /--graph needs a model/],
    [
      "a block that is not there",
      ["inspect", LLAMA, "--graph", "--layer", "9"],
      /--layer 9: this llama model has blocks 0 to 2/,
    ],
    ["a block that is no number", ["inspect", LLAMA, "--graph", "--layer", "last"], /must be a whole number/],
    ["an adapter that does not exist", ["demo", "--adapter", "gpu"], /auto, hardware, lavapipe, swiftshader/],
    ["neither ids nor text", forward, /--ids, or text with --text/],
    ["both ids and text", [...forward, "--ids", "1", "--text", "a"], /cannot be used with option '--text/],
    ["ids that are none", [...forward, "--ids", "1 b"], /"b" is no token id/],
    ["an empty list of ids", [...forward, "--ids", " "], /holds no id/],
    ["no output file", ["forward", LLAMA, "--ids", "1"], /required option '--out <file>'/],
    ["an edit that is not JSON", [...forward, "--ids", "1", "--edit", "{at"], /--edit <json>.*not JSON/],
    [
      "an edit with an unknown key",
      [...forward, "--ids", "1", "--edit", '{"at":"a","op":"set","pos":1}'],
      /edit 1: there is no option "pos"\. The nearest is "positions"/,
    ],
    [
      "an edit with a bad value",
      [...forward, "--ids", "1", "--edit", '{"at":"a","op":"set","value":{"file":1}}'],
      /value\.file is 1; it must be/,
    ],
    [
      "a temperature below 0",
      ["generate", LLAMA, "--ids", "1", "--temperature", "-1"],
      /--temperature <t>.*at least 0/,
    ],
    ["sampling without a temperature", ["generate", LLAMA, "--ids", "1", "--top-k", "5"], /--top-k is for sampling/],
    ["a budget below nothing", ["tune", "--budget", "-1"], /--budget <seconds>.*at least 0/],
    ["a fraction of a token", ["generate", LLAMA, "--ids", "1", "--max-new-tokens", "1.5"], /whole number, at least 1/],
    ["no prompt", ["generate", LLAMA], /give a prompt, or token ids/],
    ["a prompt and ids", ["generate", LLAMA, "a", "--ids", "1"], /not both/],
    ["no answers", ["probs", LLAMA, "--ids", "1"], /required option '--answers <list>'/],
    ["an empty answer", ["probs", LLAMA, "--ids", "1", "--answers", "2,,3"], /empty answer/],
    ["an answer that is no id", ["probs", LLAMA, "--ids", "1", "--answers", "2,x"], /"x" is no token id/],
  ])("%s", async (_name, args, message) => {
    const { code, stdout, stderr } = await superlens(args);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });
});

/** A header for tensors `a` and `b` of four F32 each, at the given offsets. */
function twoTensors(a: [number, number], b: [number, number]): string {
  const entry = (data_offsets: [number, number]) => ({ dtype: "F32", shape: [4], data_offsets });
  return JSON.stringify({ a: entry(a), b: entry(b) });
}

function withLength(length: bigint): Uint8Array {
  const file = new Uint8Array(64);
  new DataView(file.buffer).setBigUint64(0, length, true);
  return file;
}

describe("a broken .safetensors file is exit code 1 and one line", () => {
  it.each<[string, Uint8Array, RegExp]>([
    ["empty", new Uint8Array(0), /bad\.safetensors.*0 bytes/],
    ["truncated data", fileWithHeader(twoTensors([0, 16], [16, 32]), 20), /truncated: download it again/],
    ["truncated header", fileWithHeader(twoTensors([0, 16], [16, 32]), 0).subarray(0, 40), /truncated/],
    ["garbage JSON", fileWithHeader("{garbage}", 8), /not JSON/],
    ["header too long", withLength(100_000_001n), /100000001 bytes long; the format allows 100000000/],
    ["overlapping offsets", fileWithHeader(twoTensors([0, 16], [8, 24]), 24), /tensor "b" begins at byte .* overlaps/],
    ["wrong size", fileWithHeader(twoTensors([0, 12], [12, 28]), 28), /tensor "a" occupies 12 bytes/],
    ["a hole", fileWithHeader(twoTensors([0, 16], [20, 36]), 36), /hole/],
  ])("%s", async (_name, file, message) => {
    await inTempFolder(async (folder) => {
      const path = join(folder, "bad.safetensors");
      await writeFile(path, file);
      expectOneLine(await superlens(["inspect", path]), message);
    });
  });
});

describe("a bad model is exit code 1 and one line", () => {
  it("no such folder, no weights, no tokenizer, nowhere to write", async () => {
    expectOneLine(await superlens(["inspect", "no/such/folder"]), /no\/such\/folder is not a folder/);
    expectOneLine(await superlens(["inspect", "ftp://example"]), /does not name a model/);
    expectOneLine(await superlens(["tokenize", LLAMA, "text"]), /no tokenizer\.json/);
    const forward = ["forward", LLAMA, "--ids", "1", "--out", "no/such/folder/x.safetensors"];
    expectOneLine(await superlens(forward), /no\/such\/folder is no folder that you may write to/);
  });

  it("unknown model_type, unsupported setting, wrong shape, missing tensor, NaN", async () => {
    await inTempFolder(async (folder) => {
      const config = JSON.parse(await readFile(`${LLAMA}/config.json`, "utf8")) as Record<string, unknown>;
      const model = async (name: string, changes: Record<string, unknown>, weights?: Uint8Array) => {
        const path = join(folder, name);
        await mkdir(path);
        await writeFile(join(path, "config.json"), JSON.stringify({ ...config, ...changes }));
        if (weights) await writeFile(join(path, "model.safetensors"), weights);
        else await cp(`${LLAMA}/model.safetensors`, join(path, "model.safetensors"));
        return path;
      };
      const nan = writeSafetensors([
        { name: "x", dtype: "F32", shape: [3], data: new Float32Array([1, Number.NaN, 2]) },
      ]);
      await writeFile(join(folder, "nan.safetensors"), nan);

      const unknown = await model("unknown", { model_type: "lama" });
      expectOneLine(await superlens(["inspect", unknown]), /model_type "lama" is not known.*"llama"/);
      const unsupported = await model("unsupported", { rope_parameters: { rope_type: "ntk", rope_theta: 1e4 } });
      expectOneLine(await superlens(["inspect", unsupported]), /"ntk" is not a supported/);
      const wrong = await model("wrong", { intermediate_size: 65 });
      expectOneLine(
        await superlens(["inspect", wrong]),
        /mlp\.\w+_proj\.weight has shape \[.*config\.json gives it \[/,
      );
      const missing = await model("missing", { num_hidden_layers: 4 });
      expectOneLine(await superlens(["inspect", missing]), /tensor model\.layers\.3\..* is missing/);
      expectOneLine(
        await superlens(["inspect", join(folder, "nan.safetensors"), "--check-finite"]),
        /tensor x has a NaN/,
      );
    });
  });

  it("shows the stack to those who ask for it", async () => {
    process.env.SUPERLENS_DEBUG = "1";
    try {
      const { code, stderr } = await superlens(["inspect", "no/such/folder"]);
      expect(code).toBe(1);
      expect(stderr).toMatch(/^superlens: .*\n[\s\S]*CheckpointError[\s\S]*\n\s+at /);
    } finally {
      delete process.env.SUPERLENS_DEBUG;
    }
  });
});

describe("an error names its code", () => {
  const args = ["inspect", "no/such/folder"];
  const message = /no\/such\/folder is not a folder/;

  it("and its place in the docs", async () => {
    const place = /\[checkpoint\/no-folder, see docs\/errors\.md#(\S+)\]\n$/;
    const { stderr } = await superlens(args);
    expect(stderr).toMatch(message);
    const anchor = place.exec(stderr)?.[1];
    expect(await readFile(`${ROOT}docs/errors.md`, "utf8")).toContain(`<a id="${anchor}"></a>`);
  });

  it("as JSON on stderr with --json", async () => {
    const { code, stdout, stderr } = await superlens([...args, "--json"]);
    expect({ code, stdout, lines: stderr.split("\n").length }).toEqual({ code: 1, stdout: "", lines: 2 });
    expect(JSON.parse(stderr)).toEqual({
      error: { code: "checkpoint/no-folder", message: expect.stringMatching(message) },
    });
  });

  it("as JSON when the arguments are wrong", async () => {
    const { code, stdout, stderr } = await superlens(["generate", LLAMA, "--json", "--temperature", "-1"]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(JSON.parse(stderr)).toEqual({
      error: { code: "cli/usage", message: expect.stringMatching(/^option '--temperature <t>'.*at least 0/) },
    });
  });

  it("or that the error is a bug", async () => {
    process.env.SUPERLENS_DEBUG = "1";
    try {
      // A process in which results cannot be printed, as no code expects.
      const broken =
        "data:text/javascript,const%20{stringify}=JSON;JSON.stringify=(v,r,s)=>s===2%3Fnull.x:stringify(v,r,s)";
      const { code, stderr } = await superlensProcess(["inspect", LLAMA, "--json"], undefined, ["--import", broken]);
      expect(code).toBe(1);
      const { error } = JSON.parse(stderr);
      expect(error).toMatchObject({ code: "unexpected", message: expect.stringContaining("unexpected TypeError") });
      expect(error.stack).toMatch(/TypeError.*\n\s+at /);
    } finally {
      delete process.env.SUPERLENS_DEBUG;
    }
  });
});

describe("stdout", () => {
  it("may be closed early without a complaint", async () => {
    await inTempFolder(async (folder) => {
      const path = join(folder, "many.safetensors");
      const names = Array.from({ length: 5000 }, (_, index) => `a tensor with a rather long name, number ${index}`);
      await writeFile(
        path,
        writeSafetensors(names.map((name) => ({ name, dtype: "F32", shape: [0], data: new Float32Array() }))),
      );
      const run = await superlensProcess(["inspect", path], (child) => child.stdout.destroy());
      expect({ code: run.code, stderr: run.stderr }).toEqual({ code: 0, stderr: "" });
      expect(run.stdout.length).toBeLessThan(200_000);
    });
  });
});
