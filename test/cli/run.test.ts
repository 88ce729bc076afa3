/** Commands on a small model, each in a process of its own, and the files and JSON they leave. */

import { copyFile, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { writeSafetensors } from "../../src/checkpoint/index.ts";
import type { TuneReport } from "../../src/kernels/tuning/tuner.ts";
import "../../src/node.ts";
import { inTempFolder, seededRandom } from "../checkpoint/support.ts";
import {
  json,
  LLAMA,
  type OnOutput,
  ROOT,
  readTensors,
  relativeDifference,
  rewriteWeights,
  superlens,
  superlensProcess,
} from "./support.ts";

const TOLERANCE = 1e-4;
const GOLDEN = `${LLAMA}/golden.safetensors`;

/** `--ids …` for each row of the fixture. */
async function goldenIds(): Promise<number[][]> {
  const [flat] = await readTensors(GOLDEN, ["input_ids"]);
  const ids = Array.from(flat as Float32Array);
  return [ids.slice(0, ids.length / 2), ids.slice(ids.length / 2)];
}

describe("superlens forward", () => {
  it("writes Hugging Face's logits and residuals, and names the adapter once", async () => {
    await inTempFolder(async (folder) => {
      const out = join(folder, "out.safetensors");
      const ids = (await goldenIds()).flatMap((row) => ["--ids", row.join(" ")]);
      const captures = ["--capture", "blocks.*.hook_resid_post", "--capture", "blocks.1.attn.hook_pattern"];
      const { code, stdout, stderr } = await superlensProcess([
        "forward",
        LLAMA,
        ...ids,
        ...captures,
        "--out",
        out,
        "--json",
      ]);
      expect(stderr).toMatch(/^superlens: WebGPU adapter: .*\n$/);
      expect(code).toBe(0);
      const tensors = ["logits", "blocks.0.hook_resid_post", "blocks.1.attn.hook_pattern", "blocks.1.hook_resid_post"];
      const report = JSON.parse(stdout) as { file: string; tensors: { name: string; shape: number[] }[] };
      expect(report.file).toBe(out);
      expect(report.tensors.map(({ name }) => name).sort()).toEqual([...tensors, "blocks.2.hook_resid_post"].sort());
      expect(report.tensors.find(({ name }) => name === "logits")?.shape).toEqual([2, 17, 96]);
      const actual = await readTensors(out, tensors);
      const golden = await readTensors(GOLDEN, ["logits", "hidden.1", "pattern.1", "hidden.2"]);
      actual.forEach((values, index) => {
        expect(relativeDifference(values, golden[index] as Float32Array), tensors[index]).toBeLessThan(TOLERANCE);
      });
    });
  });

  it("gives the same bytes with streamed weights", async () => {
    await inTempFolder(async (folder) => {
      const run = async (name: string, ...options: string[]) => {
        const out = join(folder, name);
        const args = ["forward", LLAMA, "--ids", "5 6 7", "--capture", "*.hook_resid_post", "--out", out];
        expect(await superlens([...args, ...options])).toMatchObject({ code: 0 });
        return readFile(out);
      };
      expect(await run("streamed", "--residency", "streamed")).toEqual(await run("resident"));
    });
  });

  it("applies an edit whose value is in a file, and keeps the last position only", async () => {
    await inTempFolder(async (folder) => {
      const [first = [], second = []] = await goldenIds();
      const [hidden] = await readTensors(GOLDEN, ["hidden.2"]);
      const [logits] = await readTensors(GOLDEN, ["logits"]);
      const lastOfSecond = (hidden as Float32Array).slice(-32);
      const file = join(folder, "value.safetensors");
      await writeFile(file, writeSafetensors([{ name: "v", dtype: "F32", shape: [32], data: lastOfSecond }]));
      const out = join(folder, "out.safetensors");
      const edit = {
        at: "blocks.1.hook_resid_post",
        op: "set",
        positions: [-1],
        batch: [0],
        value: { file, tensor: "v" },
      };
      const run = await superlens([
        ...["forward", LLAMA, "--ids", first.join(","), "--ids", second.join(","), "--last"],
        ...["--edit", JSON.stringify(edit), "--edit", '{"at":"blocks.2.attn.hook_z","op":"zero"}'],
        ...["--edit", '{"at":"blocks.2.hook_mlp_out","op":"zero"}', "--out", out, "--quiet"],
      ]);
      expect(run).toMatchObject({ code: 0, stderr: "" });
      expect(run.stdout).toMatch(/logits +F32 +\[2, 1, 96\]/);
      // With the last block silenced, the logits depend on the residual before it alone, and row 0 has row 1's there.
      const [edited] = await readTensors(out, ["logits"]);
      const rows = [(edited as Float32Array).slice(0, 96), (edited as Float32Array).slice(96)] as const;
      expect(relativeDifference(rows[0], rows[1])).toBeLessThan(1e-6);
      expect(relativeDifference(rows[1], (logits as Float32Array).slice(-96))).toBeGreaterThan(0.01);
    });
  });

  it("fails with one line, and leaves no file, when the point does not exist", async () => {
    await inTempFolder(async (folder) => {
      const out = join(folder, "out.safetensors");
      const run = await superlens([
        "forward",
        LLAMA,
        "--ids",
        "5",
        "--capture",
        "blocks.0.hook_resid",
        "--out",
        out,
        "--quiet",
      ]);
      expect(run.stderr).toMatch(
        /^superlens: "blocks\.0\.hook_resid" matches no point.*blocks\.0\.hook_resid_p\w+.*\n$/,
      );
      expect(run).toMatchObject({ code: 1, stdout: "" });
      await expect(readFile(out)).rejects.toThrow(/ENOENT/);
    });
  });

  it("refuses weights that are not finite when asked to look", async () => {
    await inTempFolder(async (folder) => {
      await copyFile(`${LLAMA}/config.json`, join(folder, "config.json"));
      await rewriteWeights(folder, (tensor) => {
        if (tensor.name === "model.norm.weight") tensor.data[3] = Number.NaN;
        return tensor;
      });
      const args = ["forward", folder, "--ids", "5", "--out", join(folder, "out.safetensors"), "--quiet"];
      const run = await superlens([...args, "--check-finite"]);
      expect(run.stderr).toMatch(/^superlens: .*tensor model\.norm\.weight has a NaN.*\n$/);
      expect(run).toMatchObject({ code: 1, stdout: "" });
    });
  });
});

interface Generated {
  ids: number[];
  text: string | null;
  finished: string;
  timings: { promptTokens: number; firstTokenSeconds: number; newTokens: number; decodeTokensPerSecond: number | null };
}

describe("superlens generate", () => {
  it("continues ids with the token that Hugging Face finds likeliest, and measures itself", async () => {
    const [, prompt = []] = await goldenIds();
    const args = ["generate", LLAMA, "--ids", prompt.join(" "), "--max-new-tokens", "3"];
    const { ids, text, finished, timings } = await json<Generated>([...args, "--quiet"]);
    expect({ first: ids[0], count: ids.length, text, finished }).toEqual({
      first: 38,
      count: 3,
      text: null,
      finished: "length",
    });
    expect(timings).toMatchObject({ promptTokens: 17, newTokens: 3 });
    expect(Math.min(timings.firstTokenSeconds, timings.decodeTokensPerSecond ?? 0)).toBeGreaterThan(0);
    const plain = await superlens(args);
    expect(plain.stdout).toBe(`${[...prompt, ...ids].join(" ")}\n`);
    expect(plain.stderr).toMatch(
      /17 prompt tokens, the first new one after \d+\.\d\d s, compiling included; 3 new, the last 1 at [\d.]+ tokens\/s\n$/,
    );
  });

  it("streams text after the prompt, and a seed repeats it", async () => {
    await inTempFolder(async (folder) => {
      const model = await withTokenizer(folder);
      const sampling = ["--temperature", "1.2", "--top-k", "50", "--seed", "7", "--max-new-tokens", "12", "--quiet"];
      const args = ["generate", model, "the light", ...sampling];
      const streamed = await superlens(args);
      const { text, ids } = await json<Generated>(args);
      expect(ids.length).toBeGreaterThan(1);
      expect(streamed).toEqual({ code: 0, stdout: `the light${text}\n`, stderr: "" });
      const stop = (text as string).slice(2, 4);
      const stopped = await json<Generated>([...args, "--stop", stop]);
      expect(stopped).toMatchObject({
        finished: "stop",
        text: (text as string).slice(0, (text as string).indexOf(stop)),
      });
    });
  });

  it("ends in order when it is interrupted, and when nobody reads", async () => {
    const args = ["generate", LLAMA, "--ids", "5 6 7", "--max-new-tokens", "120", "--quiet"];
    const interrupted = await superlensProcess(args, (child) => child.kill("SIGINT"));
    expect(interrupted).toMatchObject({ code: 130, stderr: "" });
    expect(interrupted.stdout).toMatch(/^5 6 7( \d+)*\n$/);
    expect(interrupted.stdout.split(" ").length).toBeLessThan(120);
    const unread = await superlensProcess(args, (child) => child.stdout.destroy());
    expect(unread).toMatchObject({ code: 0, stderr: "" });
  });
});

describe("superlens probs", () => {
  it("gives Hugging Face's probabilities, sorted", async () => {
    const [, prompt = []] = await goldenIds();
    const [golden] = await readTensors(GOLDEN, ["logits"]);
    const logits = Array.from((golden as Float32Array).slice(-96));
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
    const args = ["probs", LLAMA, "--ids", prompt.join(" "), "--answers", "9,91,38", "--answers", "38 5", "--quiet"];
    const answers = await json<{ answer: string; logProb: number }[]>(args);
    const logProbs = answers.map(({ logProb }) => logProb);
    expect(logProbs).toEqual(logProbs.toSorted((a, b) => b - a));
    expect(answers.map(({ answer }) => answer).sort()).toEqual(["38", "38 5", "9", "91"]);
    for (const { answer, logProb } of answers.filter(({ answer }) => !answer.includes(" "))) {
      expect(logProb).toBeCloseTo(Math.log(Math.exp(logits[Number(answer)] as number) / total), 3);
    }
    const { stdout } = await superlens(args);
    expect(stdout).toMatch(/^ +prob +log prob +tokens +answer\n +\d+\.\d+% +█+ +-\d\.\d+ +1 +"38"\n/);
    // The probability of "38" has that of "38 5" in it.
    const total38 = answers.reduce((sum, one) => sum + (one.answer === "38 5" ? 0 : Math.exp(one.logProb)), 0);
    expect(stdout).toContain(
      `\n"38" begins "38 5": its probability includes that one's\ntogether ${(100 * total38).toFixed(2)}%\n`,
    );
  });
});

describe("superlens test-prompt", () => {
  it("ranks each token of the answer, as probs has its probability", async () => {
    const args = ["--ids", "5 6 7", "--quiet"];
    const [expected] = await json<{ tokenLogProbs: number[] }[]>(["probs", LLAMA, ...args, "--answers", "38 5"]);
    const command = ["test-prompt", LLAMA, ...args, "--answer", "38 5"];
    const { tokens } = await json<{ tokens: { token: number; rank: number; logProb: number; top: unknown[] }[] }>(
      command,
    );
    expect(tokens.map(({ token, top }) => [token, top.length])).toEqual([
      [38, 10],
      [5, 10],
    ]);
    for (const [index, { logProb }] of tokens.entries())
      expect(logProb).toBeCloseTo(expected?.tokenLogProbs[index] as number, 4);
    const { stdout } = await superlens(command);
    expect(stdout).toContain(`position 3: 38 has rank ${tokens[0]?.rank} and probability `);
    expect(stdout).toMatch(/\nrank +prob +logit +token\n +0 +\d/);
  });
});

describe("Ctrl-C", () => {
  it.each([["inspect"], ["tokenize", "text"]])("ends a %s that waits for a server", async (command, ...rest) => {
    let child: Parameters<OnOutput>[0] | undefined;
    let killedAt = 0;
    const silent = createServer(() => {
      killedAt = performance.now();
      child?.kill("SIGINT");
    });
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    try {
      const { port } = silent.address() as AddressInfo;
      const run = superlensProcess([command, `http://127.0.0.1:${port}/model/`, ...rest], undefined, [], {
        onStart: (process) => {
          child = process;
        },
      });
      expect(await run).toEqual({ code: 130, stdout: "", stderr: "" });
      expect(performance.now() - killedAt).toBeLessThan(4500); // what does not obey is ended after 5 s
    } finally {
      silent.closeAllConnections();
      silent.close();
    }
  });
});

describe("superlens tokenize", () => {
  it("shows ids and texts, with and without BOS", async () => {
    await inTempFolder(async (folder) => {
      const model = await withTokenizer(folder);
      const withBos = await superlens(["tokenize", model, "Hi there"]);
      const { ids, tokens } = await json<{ ids: number[]; tokens: string[] }>([
        "tokenize",
        model,
        "Hi there",
        "--no-bos",
      ]);
      expect(tokens.join("")).toContain("there");
      expect(withBos.stdout.trim().split("\n")).toHaveLength(ids.length + 1);
      expect(withBos.stdout).toMatch(/^0 +1 +"<s>"\n/);
    });
  });
});

describe("a tokenizer that cannot be used", () => {
  it("leaves --ids, and refuses text with the reason", async () => {
    await inTempFolder(async (folder) => {
      const model = await withTokenizer(folder);
      const unusable = { model: { type: "BPE", vocab: {}, merges: [] }, normalizer: { type: "Precompiled" } };
      await writeFile(join(folder, "tokenizer.json"), JSON.stringify(unusable));
      const reason = /normalizer Precompiled is not supported/;
      const ids = await superlens(["generate", model, "--ids", "5 6", "--max-new-tokens", "2"]);
      expect(ids).toMatchObject({ code: 0, stderr: expect.stringMatching(reason) });
      const refusal = { code: 1, stdout: "", stderr: expect.stringMatching(reason) };
      expect(await superlens(["tokenize", model, "Hi"])).toMatchObject(refusal);
      expect(await superlens(["generate", model, "Hi", "--quiet"])).toMatchObject(refusal);
      const { code, stdout } = await superlens(["inspect", model]);
      expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(reason) });
    });
  });
});

/** The fixture with a tokenizer of 400 tokens, and an embedding to match. */
async function withTokenizer(folder: string): Promise<string> {
  const tokenizer = `${ROOT}test/fixtures/tokenizers/byte-fallback`;
  for (const file of ["tokenizer.json", "tokenizer_config.json"])
    await copyFile(`${tokenizer}/${file}`, join(folder, file));
  const config = JSON.parse(await readFile(`${LLAMA}/config.json`, "utf8")) as object;
  await writeFile(join(folder, "config.json"), JSON.stringify({ ...config, vocab_size: 400 }));
  const random = seededRandom(1);
  const embedding = Float32Array.from({ length: 400 * 32 }, () => random() - 0.5);
  await rewriteWeights(folder, ({ name, dtype, shape, data }) =>
    name === "model.embed_tokens.weight"
      ? { name, dtype, shape: [400, 32], data: embedding }
      : { name, dtype, shape, data },
  );
  return folder;
}

describe("superlens tune", () => {
  it("times the kernels for a model's shapes and keeps the fastest", async () => {
    await inTempFolder(async (folder) => {
      vi.stubEnv("SUPERLENS_CACHE", folder);
      try {
        const { code, stdout } = await superlensProcess(["tune", LLAMA, "--budget", "3", "--json"]);
        expect(code).toBe(0);
        const { choices, timings } = JSON.parse(stdout) as TuneReport;
        expect(timings.map((timing) => timing.class)).toContain("1 row, linear, f32");
        expect(Object.keys(choices)).toEqual(timings.map((timing) => timing.class));
        const [entry] = (await readdir(join(folder, "tuning"))) as [string];
        expect(JSON.parse(await readFile(join(folder, "tuning", entry), "utf8"))).toMatchObject({ choices });
      } finally {
        vi.unstubAllEnvs();
      }
    });
  });
});
