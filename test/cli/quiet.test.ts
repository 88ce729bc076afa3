/** `--quiet` where lavapipe is installed: a process that filters stderr stands between, and must not be noticed. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { inTempFolder } from "../checkpoint/support.ts";
import { LLAMA, type OnOutput, ROOT, type Run, superlensProcess } from "./support.ts";

const NOISY = ["--import", `${ROOT}test/cli/noisy-driver.mjs`];

/** Runs a command on a machine that seems to have lavapipe; its manifest leads to no driver. */
async function withLavapipe(args: readonly string[], onOutput?: OnOutput): Promise<Run> {
  let run: Run | undefined;
  await inTempFolder(async (folder) => {
    const manifest = join(folder, "lvp_icd.json");
    await writeFile(manifest, JSON.stringify({ ICD: { library_path: "libvulkan_lvp.so", api_version: "1.3.0" } }));
    vi.stubEnv("VK_DRIVER_FILES", manifest);
    run = await superlensProcess(args, onOutput, NOISY);
  });
  return run as Run;
}

afterEach(() => {
  vi.unstubAllEnvs();
});

describe("--quiet with lavapipe, on Linux", () => {
  it("keeps Dawn's two lines back, and nothing else", async () => {
    const { code, stdout, stderr } = await withLavapipe(["inspect", LLAMA, "--quiet", "--json"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "Warning: the device has caught fire\n" });
    expect(JSON.parse(stdout)).toMatchObject({ spec: { family: "llama" } });
  });

  it("keeps errors, exit codes, and the end by Ctrl-C or by a reader that goes away", async () => {
    const failed = await withLavapipe(["inspect", "no/such/folder", "--quiet"]);
    expect(failed.stderr).toMatch(/caught fire\nsuperlens: no\/such\/folder is not a folder.*\n$/);
    expect(failed).toMatchObject({ code: 1, stdout: "" });
    expect(await withLavapipe(["inspect", "--quiet"])).toMatchObject({ code: 2 });
    const served = ["bench", "--serve", "--port", "0", "--quiet"];
    const interrupted = await withLavapipe(served, (child) => child.kill("SIGINT"));
    expect(interrupted).toMatchObject({ code: 130, stderr: "Warning: the device has caught fire\n" });
    const unread = await withLavapipe(["inspect", LLAMA, "--quiet"], (child) => child.stdout.destroy());
    expect(unread).toMatchObject({ code: 0, stderr: "Warning: the device has caught fire\n" });
  });
});
