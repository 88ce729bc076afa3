/** `superlens inspect`: what a checkpoint is, what it will take, and the graph of its pass. */
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { f32ToBf16, type TensorEntry, writeSafetensors } from "../../src/checkpoint/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import "../../src/node.ts";
import { pairOf, SCHEMES, type Scheme } from "../checkpoint/quantized/schemes.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { json, LLAMA, ROOT, rewriteWeights, superlens } from "./support.ts";

describe("superlens inspect", () => {
  it("foretells the GPU memory of f32 and bf16 weights exactly", async () => {
    await inTempFolder(async (folder) => {
      const half = await halfPrecisionCopy(join(folder, "bf16"));
      const reports = [LLAMA, half].map((path) => json<{ gpu: { weights: number } }>(["inspect", path]));
      const foretold = (await Promise.all(reports)).map(({ gpu }) => gpu.weights);
      expect(foretold[1]).toBeLessThan(0.6 * (foretold[0] as number));
      expect(foretold).toEqual([await weightBytes(LLAMA), await weightBytes(half)]);
    });
  });

  it("says how weights are quantised, and what they take on the GPU", async () => {
    await inTempFolder(async (folder) => {
      const { quantized } = await pairOf(SCHEMES[0] as Scheme);
      await writeFile(join(folder, "config.json"), JSON.stringify(quantized.config));
      await writeFile(join(folder, "model.safetensors"), writeSafetensors(quantized.tensors));
      const { stdout } = await superlens(["inspect", folder]);
      expect(stdout).toMatch(/quantised +compressed-tensors, int-quantized: 21 weights of I8 as Q8_0/);
      expect(stdout).toMatch(/ {2}model\.layers\.0\.mlp\.up_proj\.weight_scale +BF16/);
      const report = await json<{ gpu: { weights: number }; quantization: unknown }>(["inspect", folder]);
      expect(report.quantization).toEqual({ name: "compressed-tensors, int-quantized", tensors: { "I8 as Q8_0": 21 } });
      expect(report.gpu.weights).toBe(await weightBytes(folder));
    });
  });

  it("says what streamed and quantised weights take, and how many blocks stay", async () => {
    const { stdout } = await superlens(["inspect", LLAMA]);
    expect(stdout).toMatch(/ {2}streamed +[\d.]+ kB of weights, 3 of 3 blocks read in each pass\n/);
    expect(stdout).toMatch(/ {2}as q8_0 +[\d.]+ kB of weights, streamed [\d.]+ kB\n/);
    interface Report {
      gpu: Record<"weights" | "streamed" | "streamedBlocks", number>;
    }
    const all = await json<Report>(["inspect", LLAMA, "--resident-bytes", "100000000"]);
    expect(all.gpu).toMatchObject({ streamed: all.gpu.weights, streamedBlocks: 0 });
    expect(await superlens(["inspect", LLAMA, "--resident-bytes", "1000"])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/residentBytes is 1000, and this model needs \d+ .*input\/resident-bytes/),
    });
  });

  it("describes architecture, tensors and totals", async () => {
    const { code, stdout, stderr } = await superlens(["inspect", LLAMA]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/attention +4 heads of 8, 2 key-value heads, each for 2, scale 0\.353553/);
    expect(stdout).toMatch(/RoPE +theta 10,000, 8 dimensions of each head/);
    expect(stdout).toMatch(/tokenizer +none: this model takes token ids/);
    expect(stdout).toMatch(/ {2}model\.embed_tokens\.weight +F32 +\[96, 32\] +12\.3 kB/);
    expect(stdout).toMatch(/totals\n {2}F32 +29 tensors +30,\d{3} elements +\d+ kB/);
  });
});

describe("superlens inspect --graph", () => {
  it("shows the pass before and after, and draws it, from config.json alone", async () => {
    await inTempFolder(async (folder) => {
      await copyFile(`${LLAMA}/config.json`, join(folder, "config.json"));
      const svg = join(folder, "block.svg");
      const { code, stdout, stderr } = await superlens(["inspect", folder, "--graph", "--layer", "1", "--svg", svg]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toMatch(
        /^before: as traced[\s\S]*\nblock 1\n[\s\S]*\nafter: [\s\S]*\nblock 1\n[\s\S]* = ropeStore\(/,
      );
      expect(stdout).not.toContain("block 0\n");
      expect(await readFile(svg, "utf8")).toMatch(/^<svg [\s\S]*llama, block 1[\s\S]*<\/svg>\n$/);
    });
  });

  it("shows what is no longer fused when a point is captured, as JSON too", async () => {
    interface Graph {
      after: { op: string; section: unknown }[];
    }
    const capture = ["--capture", "blocks.0.attn.hook_rot_k"];
    const { after } = await json<Graph>(["inspect", LLAMA, "--graph", ...capture]);
    const ops = after.filter(({ section }) => section === 0).map(({ op }) => op);
    expect(ops).toEqual(expect.arrayContaining(["rope", "capture", "store"]));
    expect(ops).not.toContain("ropeStore");
  });

  it("refuses a point that does not exist, and a folder without config.json", async () => {
    const wrong = await superlens(["inspect", LLAMA, "--graph", "--capture", "blocks.0.hook_resid_past"]);
    expect({ code: wrong.code, stdout: wrong.stdout }).toEqual({ code: 1, stdout: "" });
    expect(wrong.stderr).toMatch(/matches no point.*hook_resid_post/);
    await inTempFolder(async (folder) => {
      expect(await superlens(["inspect", folder, "--graph"])).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/has no file config\.json/),
      });
    });
  });
});

describe("superlens inspect, of end tokens outside the vocabulary", () => {
  it("shows their ids, and says of what is no id that it is ignored", async () => {
    await inTempFolder(async (folder) => {
      for (const name of ["config.json", "model.safetensors"]) await copyFile(`${LLAMA}/${name}`, join(folder, name));
      const tokenizer = { model: { type: "BPE", vocab: { a: 0 }, merges: [] }, decoder: { type: "Fuse" } };
      await writeFile(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
      await writeFile(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: [0, 5000, -1] }));
      const { code, stdout, stderr } = await superlens(["inspect", folder]);
      expect(code).toBe(0);
      expect(stdout).toMatch(/tokenizer .*ends at a \(0\) or 5000\n/);
      expect(stderr).toContain("superlens: generation_config.json: eos_token_id -1 is ignored");
    });
  });
});

describe("superlens inspect, of a checkpoint that its config does not describe", () => {
  const DIFFERS = `${ROOT}test/fixtures/checkpoints/llama_tied_head_differs`;

  it("tells what is used, what is left out and why", async () => {
    await inTempFolder(async (folder) => {
      await copyFile(`${LLAMA}/config.json`, join(folder, "config.json"));
      const extra = (name: string): TensorEntry => ({ name, dtype: "F32", shape: [4], data: new Float32Array(4) });
      const bias = "model.layers.0.self_attn.q_proj.bias";
      const frequencies = "model.layers.0.self_attn.rotary_emb.inv_freq";
      await rewriteWeights(folder, (tensor) => tensor, [extra(bias), extra(frequencies)]);
      const [text, quiet, report] = await Promise.all([
        superlens(["inspect", folder]),
        superlens(["inspect", DIFFERS, "--quiet"]),
        json<{ unused: { name: string; reason?: string }[] }>(["inspect", folder, "--quiet"]),
      ]);
      expect(text.stderr).toContain(`gives these modules no such parameter: ${bias}.`);
      expect(text.stdout).toMatch(/not used +model\.layers\.0\.self_attn\.q_proj\.bias\n/);
      expect(text.stdout).toMatch(/not used +model\.layers\.0\.self_attn\.rotary_emb\.inv_freq \(rotary frequencies/);
      expect(report.unused.map(({ name, reason }) => [name, reason !== undefined])).toEqual([
        [bias, false],
        [frequencies, true],
      ]);
      expect(quiet.stderr).toBe("");
      expect(quiet.stdout).toMatch(/unembedding +weights of its own/);
    });
  });
});

/** Bytes that the weights of a loaded model take on the GPU. */
async function weightBytes(path: string): Promise<number> {
  const parts = await loadParts(path, { quiet: true });
  using model = new Model(parts);
  const { zeros, memory } = model.gpu;
  return memory.bytes - zeros.buffer.size;
}

async function halfPrecisionCopy(folder: string): Promise<string> {
  await mkdir(folder);
  await copyFile(`${LLAMA}/config.json`, join(folder, "config.json"));
  await rewriteWeights(folder, ({ name, shape, data }) => ({ name, dtype: "BF16", shape, data: f32ToBf16(data) }));
  return folder;
}
