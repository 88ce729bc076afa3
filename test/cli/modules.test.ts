/** `superlens forward --module`: the file has SAELens's logits, with its reconstruction, and without a feature. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { scanOf } from "../../src/cli/graph-list.ts";
import { MaxActivating } from "../../src/hooks/index.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { randomArrays, stored } from "../modules/files.ts";
import { goldenOf, MODULES } from "../modules/support.ts";
import { tensorsOf, valuesOf } from "../support/fixtures.ts";
import { relativeError } from "../support/numbers.ts";
import { ROOT, superlens } from "./support.ts";

const MODEL = `${ROOT}test/fixtures/families/gpt2`;
const SAE = `${MODULES}gpt2-standard`;
const ACTS = "blocks.1.hook_resid_post.hook_sae_acts_post";

async function forward(...args: string[]) {
  const { ids } = await goldenOf("gpt2-standard");
  const input = ids.flatMap((list) => ["--ids", list.join(" ")]);
  let file = new Uint8Array();
  let run = { code: null as number | null, stdout: "", stderr: "" };
  await inTempFolder(async (folder) => {
    const out = join(folder, "out.safetensors");
    run = await superlens(["forward", MODEL, ...input, ...args, "--out", out, "--quiet"]);
    if (run.code === 0) file = await readFile(out);
  });
  return { run, tensors: run.code === 0 ? new Map(tensorsOf(file).map((each) => [each.name, each])) : new Map() };
}

it("splices a dictionary in, with its error or without", async () => {
  const { values } = await goldenOf("gpt2-standard");
  const alone = await forward("--module", SAE, "--no-error", "--capture", ACTS);
  expect(alone.run).toMatchObject({ code: 0, stderr: "" });
  expect(relativeError(valuesOf(alone.tensors.get("logits")), values.get("logits.spliced")!)).toBeLessThan(1e-5);
  expect(relativeError(valuesOf(alone.tensors.get(ACTS)), values.get("acts")!)).toBeLessThan(1e-5);
  const edit = JSON.stringify({ at: ACTS, op: "zero", dims: [6] });
  const { tensors } = await forward("--module", SAE, "--edit", edit);
  expect(relativeError(valuesOf(tensors.get("logits")), values.get("logits.zero6")!)).toBeLessThan(1e-5);
});

it("refuses points of a dictionary that is not there, and an option without one", async () => {
  const { run } = await forward("--capture", ACTS);
  expect(run.code).toBe(1);
  expect(run.stderr).toContain("hook/no-such-point");
  expect(run.stderr).toContain("withModules");
  expect((await forward("--no-error")).run).toMatchObject({ code: 2, stderr: expect.stringContaining("--module") });
});

it("shows the features of a prompt, of a metric and of a text", async () => {
  const { ids, values } = await goldenOf("gpt2-standard");
  const acts = values.get("acts") as Float32Array;
  const prompt = ["--ids", ids[0]!.join(" ")];
  const top = await superlens(["features", MODEL, "--sae", SAE, ...prompt, "--top", "3", "--json", "--quiet"]);
  expect(top).toMatchObject({ code: 0, stderr: "" });
  for (const { position, features } of JSON.parse(top.stdout).places) {
    const row = acts.subarray(position * 131, (position + 1) * 131);
    const order = [...row.keys()].sort((a, b) => row[b]! - row[a]!).slice(0, 3);
    expect(features.map(({ feature }: { feature: number }) => feature)).toEqual(order);
  }
  const owed = await superlens([
    "features",
    MODEL,
    "--sae",
    SAE,
    ...prompt,
    "--metric",
    "logitDiff(3, 4)",
    "--top",
    "2",
    "--quiet",
  ]);
  expect(owed).toMatchObject({ code: 0, stderr: "" });
  expect(owed.stdout.split("\n")).toHaveLength(5);
  await inTempFolder(async (folder) => {
    const [lines, out] = [join(folder, "lines.json"), join(folder, "places.safetensors")];
    await writeFile(lines, JSON.stringify(ids));
    const run = await superlens(["features", MODEL, "--sae", SAE, "--file", lines, "--out", out, "--json", "--quiet"]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    const found = await MaxActivating.load(await readFile(out));
    const strongest = acts.indexOf(Math.max(...acts));
    expect(found.of(strongest % 131)[0]).toMatchObject({
      sequence: Math.floor(strongest / 131 / ids[0]!.length),
      position: Math.floor(strongest / 131) % ids[0]!.length,
    });
  });
  expect((await superlens(["features", MODEL, "--sae", SAE, "--file", "x.json"])).code).toBe(2);
});

it("names the transcoders of a graph by their repository, as circuit-tracer does", () => {
  expect(scanOf(["hf:owner/name"])).toBe("owner/name");
  expect(scanOf(["hf:owner/name@a-revision"])).toBe("owner/name@a-revision");
  for (const saes of [["./folder"], ["hf:owner/name/folder"], ["hf:owner/name", "hf:owner/other"]])
    expect(scanOf(saes)).toBeUndefined();
});

it("writes the attribution graph of a prompt", async () => {
  await inTempFolder(async (folder) => {
    const shapes = { W_enc: [8, 32], W_dec: [8, 32], b_enc: [8], b_dec: [32] };
    for (const layer of [0, 1, 2])
      await writeFile(join(folder, `layer_${layer}.safetensors`), stored(randomArrays(layer, shapes), "F32"));
    await writeFile(
      join(folder, "config.yaml"),
      "feature_input_hook: mlp.hook_in\nfeature_output_hook: mlp.hook_out\n",
    );
    const out = join(folder, "a-graph.json");
    const asked = ["features", MODEL, "--sae", folder, "--ids", "5 6 7", "--quiet"];
    const run = await superlens([...asked, "--graph", out, "--max-features", "9", "--json"]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    const { metadata, nodes, links } = JSON.parse(await readFile(out, "utf8"));
    expect(metadata).toMatchObject({ slug: "a-graph", node_threshold: 0.8 });
    expect(JSON.parse(run.stdout)).toMatchObject({ file: out, nodes: nodes.length, links: links.length });
    expect((await superlens([...asked, "--max-features", "9"])).code).toBe(2);
    // The viewer begins with the list of the folder's graphs, in which each is once.
    const list = join(folder, "graph-metadata.json");
    expect(JSON.parse(await readFile(list, "utf8"))).toEqual({ graphs: [metadata] });
    for (const name of ["a-graph.json", "b-graph.json"]) {
      const more = await superlens([...asked, "--graph", join(folder, name), "--max-features", "3"]);
      expect(more.stdout).toContain(`${list}: names it`);
    }
    const { graphs } = JSON.parse(await readFile(list, "utf8"));
    expect(graphs.map(({ slug }: { slug: string }) => slug)).toEqual(["a-graph", "b-graph"]);
    expect((await superlens([...asked, "--graph", list])).code).toBe(2);
    await writeFile(list, "[]");
    const refused = await superlens([...asked, "--graph", out]);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("is no list of graphs") });
  });
});
