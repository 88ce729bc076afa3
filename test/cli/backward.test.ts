/** `superlens backward` as a process: the file has PyTorch's gradients, under the names and in the shapes that are promised. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { inTempFolder } from "../checkpoint/support.ts";
import { goldenGrads } from "../gradients/support.ts";
import { golden, tensorsOf, valuesOf } from "../support/fixtures.ts";
import { relativeError } from "../support/numbers.ts";
import { ROOT, superlens } from "./support.ts";

/** Its checkpoint stores matrices [in, out], and three of them as one. */
const FAMILY = "gpt2";
const FOLDER = `${ROOT}test/fixtures/families/${FAMILY}`;

/** Runs `backward` on the fixture's ids; gives the file's tensors, and what was printed. */
async function backward(...args: string[]) {
  const { ids } = await golden(FAMILY);
  const input = ids.flatMap((list) => ["--ids", list.join(" ")]);
  let run = { code: null as number | null, stdout: "", stderr: "" };
  let file = new Uint8Array();
  await inTempFolder(async (folder) => {
    const out = join(folder, "grads.safetensors");
    run = await superlens(["backward", FOLDER, ...input, ...args, "--out", out, "--quiet"]);
    if (run.code === 0) file = await readFile(out);
  });
  expect(run).toMatchObject({ code: 0, stderr: "" });
  return { stdout: run.stdout, tensors: new Map(tensorsOf(file).map((tensor) => [tensor.name, tensor])) };
}

it("writes gradients of points, and the metric of each sequence", async () => {
  const { ids } = await golden(FAMILY);
  const expected = await goldenGrads(FAMILY);
  const points = ["--at", "blocks.*.hook_resid_pre", "--at", "*.hook_pattern"];
  const { stdout, tensors } = await backward("--metric", "logitDiff(5, 7)", "--position", "-1", ...points);
  const value = tensors.get("value");
  expect(value?.shape).toEqual([ids.length]);
  expect(
    relativeError([valuesOf(value as never).reduce((a, b) => a + b)], expected.get("metric") as never),
  ).toBeLessThan(1e-5);
  const layers = [...expected.keys()].filter((name) => name.startsWith("d_pattern.")).length;
  expect(tensors.size).toBe(1 + 2 * layers);
  for (let layer = 0; layer < layers; layer++) {
    for (const [name, theirs] of [
      [`blocks.${layer}.hook_resid_pre`, `d_hidden.${layer}`],
      [`blocks.${layer}.attn.hook_pattern`, `d_pattern.${layer}`],
    ] as const) {
      expect(relativeError(valuesOf(tensors.get(name) as never), expected.get(theirs) as never), name).toBeLessThan(
        1e-5,
      );
      expect(stdout).toContain(`  ${name} `);
    }
  }
  expect(stdout).toMatch(/^logitDiff\(5, 7\): -?\d+\.\d{4}, -?\d+\.\d{4}\n/);
  expect(stdout).not.toContain("0 in every entry");
});

it("writes gradients of every weight in the stored shape, and says so in JSON", async () => {
  const expected = await goldenGrads(FAMILY);
  const { stdout, tensors } = await backward("--metric", "loss", "--weights", "*", "--json");
  const loss = valuesOf(tensors.get("value") as never);
  expect(relativeError(loss, expected.get("loss") as never)).toBeLessThan(1e-6);
  const stored = tensorsOf(await readFile(`${FOLDER}/model.safetensors`));
  const wanted = [...expected.keys()].flatMap((name) => (name.startsWith("d_weight.") ? [name.slice(9)] : []));
  expect([...tensors.keys()].sort()).toEqual(["value", ...wanted.map((name) => `weight:${name}`)].sort());
  for (const name of wanted) {
    const tensor = tensors.get(`weight:${name}`);
    expect(tensor).toMatchObject({ dtype: "F32", shape: stored.find((each) => each.name === name)?.shape });
    expect(relativeError(valuesOf(tensor as never), expected.get(`d_weight.${name}`) as never), name).toBeLessThan(
      1e-5,
    );
  }
  const printed = JSON.parse(stdout);
  expect(printed).toMatchObject({ metric: "loss", value: [...loss], zeros: [] });
  expect(printed.tensors).toHaveLength(tensors.size);
});

it("says of which points and weights the gradient is 0", async () => {
  const cut = JSON.stringify({ at: "blocks.1.hook_resid_pre", op: "zero" });
  const wanted = ["--at", "blocks.*.hook_mlp_out", "--weights", "*h.0.mlp.*", "--weights", "*h.1.mlp.*"];
  const { stdout, tensors } = await backward("--metric", "logit(5)", "--edit", cut, ...wanted);
  const zero = [...tensors].flatMap(([name, tensor]) =>
    valuesOf(tensor as never).every((x) => x === 0) ? [name] : [],
  );
  expect(zero).toEqual([...tensors.keys()].filter((name) => /blocks\.0|h\.0/.test(name)));
  const named = /^0 in every entry, for the metric does not depend on them: (.*)$/m.exec(stdout)?.[1]?.split(", ");
  expect(named?.sort()).toEqual(zero.map((name) => name.replace("weight:", "")).sort());
});
