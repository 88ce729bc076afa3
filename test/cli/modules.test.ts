/** `superlens forward --module`: the file has SAELens's logits, with its reconstruction, and without a feature. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { inTempFolder } from "../checkpoint/support.ts";
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
