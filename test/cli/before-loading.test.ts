/**
 * What is refused before anything is loaded: bad arguments before any file is opened (exit code 2), and what the model's
 * config or tokenizer rules out before a GPU is asked for. The commands run in this process, with a tripwire in the place
 * of the GPU.
 */
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { CommanderError } from "commander";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { timingsOf } from "../../src/cli/commands/generate.ts";
import { buildProgram } from "../../src/cli/program.ts";
import { SuperlensError } from "../../src/errors.ts";
import type { GpuProvider } from "../../src/hosts/adapters.ts";
import { registerHost } from "../../src/hosts/host.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { TEST_HOST } from "../support/host.ts";
import { LLAMA, ROOT, superlensProcess } from "./support.ts";

const WIRE = "a GPU was asked for";
const CONSTRUCTED = `${ROOT}weights/superposition`;

beforeAll(() => {
  const adapters: GpuProvider = {
    host: "node",
    defaultAdapter: () => "auto",
    requestAdapter: () => Promise.reject(new Error(WIRE)),
    onAdapter: () => undefined,
  };
  registerHost({ ...TEST_HOST, adapters });
});

/** Runs a command here; gives how it ended, with what the command line would say. */
async function ending(args: readonly string[]): Promise<{ exit: number; code: string; message: string }> {
  const program = buildProgram();
  let said = "";
  for (const command of [program, ...program.commands]) {
    command.configureOutput({
      writeErr: (text) => {
        said += text;
      },
    });
  }
  try {
    await program.parseAsync([...args], { from: "user" });
    return { exit: 0, code: "", message: said };
  } catch (error) {
    if (error instanceof CommanderError) return { exit: 2, code: error.code, message: said };
    return { exit: 1, code: error instanceof SuperlensError ? error.code : "", message: String(error) };
  }
}

const COMMANDS: Record<string, string[]> = {
  demo: [],
  inspect: ["m"],
  tokenize: ["m", "text"],
  generate: ["m", "text"],
  probs: ["m", "text", "--answers", "a"],
  "test-prompt": ["m", "--text", "a", "--answer", "b"],
  forward: ["m", "--text", "a", "--out", "o"],
  backward: ["m", "--text", "a", "--metric", "loss", "--weights", "*", "--out", "o"],
  lens: ["m", "text"],
  features: ["m", "text", "--sae", "s"],
  attention: ["m", "text"],
  patch: ["m", "--clean", "a", "--corrupted", "b", "--metric", "kl"],
  attribute: ["m", "--clean", "a", "--corrupted", "b", "--metric", "kl"],
  construct: ["plus", "--out", "o"],
  verify: [],
  bench: [],
  tune: [],
};

const WHOLE = ["abc", "", " ", "-1", "1e3", "0x10", "1.5", "NaN", "Infinity", " 5", "1_000", "9007199254740993"];
const DECIMAL = ["abc", "", "-1", "0x10", "NaN", "Infinity", "1e999", "1,5"];
const OPTIONS: [command: string, option: string, wrong: string[]][] = [
  ["generate", "--max-new-tokens", [...WHOLE, "0"]],
  ["generate", "--top-k", [...WHOLE, "0"]],
  ["generate", "--seed", WHOLE],
  ["generate", "--temperature", DECIMAL],
  ["generate", "--top-p", [...DECIMAL, "0", "1.1"]],
  ["generate", "--min-p", [...DECIMAL, "1.1"]],
  ["generate", "--repetition-penalty", [...DECIMAL, "0"]],
  ["generate", "--ids", ["", "a", "-1", "1.5", "1;2"]],
  ["backward", "--metric", ["", "5", "lossy", "logit", "logit(5,6)"]],
  ["backward", "--position", WHOLE.filter((text) => text !== "-1")],
  ["attribute", "--metric", ["", "logit"]],
  ["attribute", "--method", ["", "ap"]],
  ["attribute", "--check", WHOLE],
  ["attribute", "--position", WHOLE.filter((text) => text !== "-1")],
  ["features", "--top", [...WHOLE, "0"]],
  ["features", "--metric", ["", "logit"]],
  ["attention", "--layer", WHOLE],
  ["attention", "--head", WHOLE],
  ["patch", "--direction", ["", "both"]],
  ["patch", "--metric", ["", "logit"]],
  ["tune", "--budget", DECIMAL],
  ["construct", "--examples", [...WHOLE, "0"]],
  ["construct", "--heads", [...WHOLE, "0"]],
  ["construct", "--layers", ["", "5", "four"]],
  ["bench", "--prompt", [...WHOLE.filter((text) => text !== " 5"), "1,", "1;2"]],
  ["bench", "--generate", ["abc", "1e3"]],
  ["bench", "--batch", ["0", "1,0"]],
  ["bench", "--runs", [...WHOLE, "0"]],
  ["bench", "--depth", WHOLE],
  ["bench", "--port", [...WHOLE, "65536"]],
  ["bench", "--shape", ["", "gpt3"]],
  ["bench", "--host", ["", "bun", "node,"]],
  ["verify", "--grid", ["", "slow"]],
  ["demo", "--adapter", ["", "cuda"]],
];

describe("an argument that is none is exit code 2 and names its option", () => {
  it.each(OPTIONS)("%s %s", async (command, option, wrong) => {
    for (const text of wrong) {
      const { exit, message } = await ending([command, ...(COMMANDS[command] as string[]), option, text]);
      expect({ text, exit }).toEqual({ text, exit: 2 });
      expect(message).toMatch(new RegExp(`option '(-\\w, )?${option} `));
      expect(message).toContain(JSON.stringify(text).slice(1, -1));
    }
  });

  it.each(Object.keys(COMMANDS))("%s takes no unknown option, and says which one is near", async (command) => {
    const { exit, message } = await ending([command, ...(COMMANDS[command] as string[]), "--quite"]);
    expect(exit).toBe(2);
    expect(message).toMatch(/unknown option '--quite'[\s\S]*Did you mean --quiet\?/);
  });
});

const edit = (changes: object) => JSON.stringify({ at: "hook_embed", op: "zero", ...changes });
const forward = (...args: string[]) => ["forward", LLAMA, "--out", "unwritten", ...args];
const backward = (metric: string, ...args: string[]) => [
  ...["backward", LLAMA, "--ids", "5 6 7", "--metric", metric, "--out", "unwritten"],
  ...args,
];
const patch = (...args: string[]) => [...["patch", LLAMA, "--ids", "--clean", "5 6", "--metric", "logit(5)"], ...args];
const attribute = (...args: string[]) => [
  ...["attribute", LLAMA, "--ids", "--clean", "5 6", "--metric", "logit(5)"],
  ...args,
];
const generate = (...args: string[]) => ["generate", LLAMA, "--ids", "5", ...args];

describe("arguments that contradict each other are exit code 2", () => {
  it.each<[args: string[], message: RegExp]>([
    [generate("--top-k", "5"), /--top-k is for sampling/],
    [generate("--top-p", "0.5", "--min-p", "0.1"), /--top-p and --min-p is for sampling/],
    [generate("--seed", "5"), /--seed is for sampling/],
    [generate("--no-bos"), /--no-bos is for text/],
    [generate("--stop", ""), /--stop is empty/],
    [forward("--ids", "5", "--no-bos"), /--no-bos is for text/],
    [forward("--ids", "5", "--edit", "[]"), /edit 1: it must be one JSON object/],
    [forward("--ids", "5", "--edit", edit({}), "--edit", "{"), /edit 2: it is not JSON/],
    [forward("--ids", "5", "--edit", edit({ heads: [1.5] })), /edit 1: heads\[0\] is 1\.5; it must be a whole number/],
    [forward("--ids", "5", "--edit", edit({ op: "nil" })), /edit 1: op is "nil"; it must be one of "set", "add"/],
    [forward("--ids", "5", "--edit", edit({ alpha: "1" })), /alpha is "1"; it must be a finite number/],
    [forward("--ids", "5", "--edit", edit({ expression: 1 })), /expression is 1; it must be text/],
    [
      forward("--ids", "5", "--edit", edit({ value: { file: "v.bin", tensor: "v" } })),
      /value\.file is "v\.bin"; it must be a \.safetensors file/,
    ],
    [forward("--ids", "5", "--capture", "*", "--last"), /"logits" of every position; leave out --last/],
    [backward("logit(5)"), /give the points .* with --at, or the weights with --weights/],
    [backward("loss", "--weights", "*", "--position", "-1"), /--metric loss counts them all/],
    [backward("kl", "--at", "logits"), /--metric kl compares an edited run .* give an --edit/],
    [backward("logit(5)", "--at", "logits", "--no-bos"), /--no-bos is for text/],
    [backward("logit(5)", "--at", "logits", "--edit", edit({ op: "nil" })), /edit 1: op is "nil"/],
    [attribute("--corrupted", "5 7", "--no-bos"), /--no-bos is for text/],
    [patch("--corrupted", "5 7", "--no-bos"), /--no-bos is for text/],
    [patch("--corrupted", "5 7", "--at", "resid"), /argument 'resid' is invalid. Allowed choices are resid_pre, /],
    [["attention", LLAMA], /give a prompt, or token ids/],
    [["lens", LLAMA, "text", "--ids", "5"], /either a prompt or --ids/],
    [attribute("--corrupted", "5 x"), /with --ids the prompts are ids.*"x" is no token id/],
    [attribute("--corrupted", "5 7", "--method", "exact", "--check", "5"), /--check is for --method attribution/],
    [attribute("--corrupted", "5 7", "--method", "eap", "--at", "z"), /--at is for methods of one place/],
    [
      attribute("--corrupted", "5 7", "--at", "resid"),
      /--at is "resid"; with --method attribution it must be resid_pre, /,
    ],
    [["probs", LLAMA, "--ids", "5", "--answers", "6", "--tokenization", "joint"], /--tokenization is for text/],
    [["bench", "--port", "1"], /--port needs --serve/],
    [["bench", "--serve", "--json"], /leave out --json/],
    [["bench", "--serve", "-p", "1"], /leave out --prompt/],
    [["bench", "--serve", LLAMA], /leave out .*llama/],
    [["bench", "--host", "node,node"], /names node twice/],
    [["bench", "--host", "chrome", "--adapter", "lavapipe"], /leave out --adapter lavapipe/],
    [["verify", "--host", "chrome", "--adapter", "hardware"], /leave out --adapter hardware/],
    [["bench", "--check-finite"], /bench does not look at weights/],
    [["tokenize", LLAMA, "a", "--check-finite"], /tokenize does not look at weights/],
    [["bench", "--residency", "streamed"], /bench streams no weights; leave out --residency/],
    [["tokenize", LLAMA, "a", "--resident-bytes", "9"], /tokenize streams no weights; leave out --residency/],
  ])("%j", async (args, message) => {
    const ended = await ending(args);
    expect(ended.message).toMatch(message);
    expect(ended.exit).toBe(2);
  });
});

describe("what the model rules out ends before a GPU is asked for", () => {
  const long = Array.from({ length: 129 }, () => "5").join(" ");
  it.each<[args: string[], code: string, message: RegExp]>([
    [forward("--ids", "5", "--capture", "blocks.0.hook_resid"), "hook/no-such-point", /"blocks\.0\.hook_resid"/],
    [forward("--ids", "5", "--capture", "blocks.9.hook_resid_pre"), "hook/no-such-point", /blocks 0 to 2/],
    [forward("--ids", "5", "--ids", "7 96"), "input/token-range", /Sequence 1 has token id 96/],
    [forward("--ids", long), "input/too-long", /129 tokens.*128/],
    [forward("--text", "a"), "input/no-tokenizer", /no tokenizer/],
    [forward("--ids", "5", "--edit", edit({ positions: [1] })), "hook/position-range", /no position 1/],
    [
      forward("--ids", "5", "--edit", edit({}), "--edit", edit({ at: "x" })),
      "hook/no-such-point",
      /--edit 2 of 2: "x"/,
    ],
    [forward("--ids", "5", "--edit", edit({ op: "add", value: [1, 2] })), "hook/value-shape", /has 2 numbers/],
    [forward("--ids", "96", "--edit", edit({})), "input/token-range", /^[^:]*: Sequence 0 has token id 96/],
    [backward("logit(96)", "--at", "logits"), "hook/metric", /token 96 is out of range; ids go from 0 to 95/],
    [backward("logit( a)", "--at", "logits"), "input/no-tokenizer", /no tokenizer.*Give the token's id/],
    [backward("rank(5)", "--at", "logits"), "hook/metric", /rank takes whole numbers, so it has no gradient/],
    [backward("logit(5)", "--at", "hook_embd"), "hook/no-such-point", /Nearest: hook_embed/],
    [backward("logit(5)", "--at", "logits", "--position", "3"), "hook/position-range", /3 positions, not 3/],
    [backward("loss", "--at", "logits", "--edit", edit({ at: "x" })), "hook/no-such-point", /--edit: "x"/],
    [
      backward("loss", "--at", "logits", "--edit", edit({ op: "wgsl", expression: "x * x" })),
      "hook/no-gradient",
      /hook_embed is an expression, whose derivative is not known/,
    ],
    [
      ["backward", LLAMA, "--ids", "5", "--metric", "loss", "--at", "logits", "--out", "o"],
      "hook/metric",
      /two tokens/,
    ],
    [
      ["backward", LLAMA, "--ids", "5", "--metric", "loss", "--at", "logits", "--out", ROOT],
      "cli/not-writable",
      /it is a folder/,
    ],
    [["lens", LLAMA, "--ids", "96"], "input/token-range", /token id 96/],
    [["lens", LLAMA, "text"], "input/no-tokenizer", /no tokenizer/],
    [["lens", LLAMA, "--ids", "5", "--svg", ROOT], "cli/not-writable", /it is a folder/],
    [["attention", LLAMA, "--ids", "5", "--layer", "9"], "hook/layer-range", /no layer 9/],
    [["attention", LLAMA, "--ids", "5", "--head", "4"], "hook/head-range", /no head 4; they go from 0 to 3/],
    [["attention", LLAMA, "--ids", "5", "--html", ROOT], "cli/not-writable", /it is a folder/],
    [patch("--corrupted", "5 7 8"), "hook/patch-length", /The clean prompt has 2 tokens, the corrupted one 3/],
    [patch("--corrupted", "5 7", "--position", "2"), "input/position-range", /the prompt has 2 tokens/],
    [attribute("--corrupted", "5 96"), "input/token-range", /token id 96/],
    [attribute("--corrupted", "5 7 8"), "hook/patch-length", /The clean prompt has 2 tokens, the corrupted one 3/],
    [attribute("--corrupted", "5 7", "--at", "hook_embd", "--method", "ig"), "hook/no-such-point", /hook_embed/],
    [
      attribute("--corrupted", "5 7", "--at", "*.hook_resid_pre", "--method", "ig"),
      "hook/no-such-point",
      /is a pattern, and one point is wanted here\. Take one of blocks\.0\.hook_resid_pre, /,
    ],
    [attribute("--corrupted", "5 6"), "hook/same-prompts", /the same tokens/],
    [attribute("--corrupted", "5 7", "--position", "2", "--method", "eap"), "input/position-range", /2 tokens/],
    [attribute("--corrupted", "5 7", "--position", "2"), "input/position-range", /the prompt has 2 tokens/],
    [attribute("--corrupted", "5 7", "--out", ROOT), "cli/not-writable", /it is a folder/],
    [generate("--ids", "96"), "", /--ids may be given once/],
    [["generate", LLAMA, "--ids", "96"], "input/token-range", /id 96 \(entry 0\); ids of this model go from 0 to 95/],
    [["generate", LLAMA, "--ids", long], "input/too-long", /129 tokens/],
    [["generate", LLAMA, "text"], "input/no-tokenizer", /no tokenizer/],
    [generate("--stop", "a"), "input/no-tokenizer", /Stop strings/],
    [["probs", LLAMA, "--ids", "5", "--answers", "6,96"], "input/token-range", /Answer 1 has token id 96/],
    [["probs", LLAMA, "--ids", "96", "--answers", "6"], "input/token-range", /Sequence 0 has token id 96/],
    [["demo", "--prompt", "1+2->3"], "theory/prompt", /leave the label of the last one out/],
    [["bench", "-p", "0", "-n", "0"], "bench/nothing", /nothing to measure/],
    [["construct", "plus", "--out", `${ROOT}LICENSE/x`], "cli/not-writable", /LICENSE is no folder/],
    [["construct", "plus", "--out", ""], "cli/not-writable", /Give the name of one/],
    [["construct", "plus", "--examples", "100001", "--out", "o"], "theory/size", /at most 100000/],
    [["forward", LLAMA, "--ids", "5", "--out", ROOT], "cli/not-writable", /it is a folder/],
    [["forward", LLAMA, "--ids", "5", "--out", `${ROOT}LICENSE/x`], "cli/not-writable", /LICENSE is no folder/],
    [["tune", "no/such/folder"], "checkpoint/no-folder", /no\/such\/folder/],
    [["generate", "no/such/folder", "a"], "checkpoint/no-folder", /no\/such\/folder/],
    [["demo", "--model", LLAMA], "config/not-constructed", /superposition/],
  ])("%j", async (args, code, message) => {
    const ended = await ending(args);
    expect(ended.message).not.toContain(WIRE);
    expect(ended.message).toMatch(message);
    expect(ended).toMatchObject(code === "" ? { exit: 2 } : { exit: 1, code });
  });

  it("names the file and the tensor of an edit's value", async () => {
    const value = (file: string, tensor: string) => edit({ at: "hook_embed", op: "add", value: { file, tensor } });
    const golden = `${LLAMA}/golden.safetensors`;
    const missing = await ending(forward("--ids", "5", "--edit", edit({}), "--edit", value("none.safetensors", "v")));
    expect(missing.message).toMatch(/--edit 2 of 2, whose value is v of none\.safetensors: .*none\.safetensors/);
    const tensor = await ending(forward("--ids", "5", "--edit", value(golden, "hiden.1")));
    expect(tensor).toMatchObject({ exit: 1, code: "cli/no-tensor" });
    expect(tensor.message).toMatch(/value is hiden\.1 of .*golden\.safetensors: .*It has .*hidden\.1/);
    const shape = await ending(forward("--ids", "5", "--edit", value(golden, "hidden.1")));
    expect(shape.message).toMatch(/value is hidden\.1 of .*golden\.safetensors: .*has 1088 numbers/);
  });

  it.each([
    [generate()],
    [forward("--ids", "5")],
    [["probs", LLAMA, "--ids", "5", "--answers", "6"]],
    [["tune"]],
    [["verify"]],
    [["demo", "--model", CONSTRUCTED]],
    [["bench", "--shape", "tiny", "--quiet"]],
  ])("and what is right does ask for one: %j", async (args) => {
    expect((await ending(args)).message).toContain(WIRE);
  });
});

describe("a run that fails", () => {
  it("tunes nothing and keeps nothing", async () => {
    await inTempFolder(async (folder) => {
      vi.stubEnv("SUPERLENS_CACHE", join(folder, "cache"));
      await mkdir(join(folder, "cache"));
      try {
        const args = ["forward", LLAMA, "--ids", "5", "--capture", "nowhere", "--out", join(folder, "o.safetensors")];
        const { code, stderr } = await superlensProcess(args, undefined, [], { tune: true });
        expect({ code, lines: stderr.split("\n").length }).toEqual({ code: 1, lines: 2 });
        expect(stderr).toMatch(/^superlens: "nowhere" matches no point/);
        expect(await readdir(join(folder, "cache"))).toEqual([]);
      } finally {
        vi.unstubAllEnvs();
      }
    });
  });
});

describe("the rate of generated tokens", () => {
  it("is of those after the second, so that no compiling is in it", () => {
    const of = (...times: number[]) => timingsOf({ promptTokens: 4, ids: times.map(() => 1), times });
    // 2 s until the prompt's kernels are compiled, 1 s more for those of single tokens, then 0.1 s a token.
    expect(of(2, 3, 3.1, 3.2).decodeTokensPerSecond).toBeCloseTo(10);
    expect(of(2, 3, 3.1, 3.2)).toMatchObject({ promptTokens: 4, firstTokenSeconds: 2, newTokens: 4 });
    for (const times of [[], [2], [2, 3]]) expect(of(...times).decodeTokensPerSecond).toBeNull();
  });
});
