/** Which adapter Node gets, and what it is told when there is none. */
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { vulkanDrivers } from "../../src/hosts/vulkan.node.ts";
import { buildProgram, NO_DRIVERS, runProgram, temporaryFolder } from "./program.ts";

let program: string;
let programOfAUser: string;
let programWithoutDawn: string;

beforeAll(async () => {
  program = await buildProgram(["webgpu", "@sparticuz/chromium"]);
  programOfAUser = await buildProgram(["webgpu"]);
  programWithoutDawn = await buildProgram([]);
});

describe("the order", () => {
  it("ends with the SwiftShader from npm when no driver is installed", async () => {
    const { answers, exitCode } = await runProgram(program, NO_DRIVERS, {});
    expect(answers).toMatchObject([{ kind: "swiftshader", isSoftware: true }]);
    expect(exitCode).toBe(0);
  });

  it("goes on when a driver cannot be loaded", async () => {
    const manifest = join(temporaryFolder("broken"), "lvp_icd.json");
    writeFileSync(manifest, driverManifest("./missing.so"));
    const { answers } = await runProgram(program, { VK_DRIVER_FILES: manifest }, {});
    expect(answers).toMatchObject([{ kind: "swiftshader" }]);
  });

  it("takes a system's own SwiftShader without the one from npm", async () => {
    const cache = temporaryFolder("system");
    await runProgram(program, { ...NO_DRIVERS, SUPERLENS_CACHE: cache }, {});
    const unpacked = join(cache, "unpacked", readdirSync(join(cache, "unpacked"))[0]!);
    const system = { VK_DRIVER_FILES: join(unpacked, "vk_swiftshader_icd.json"), LD_LIBRARY_PATH: unpacked };
    const { answers } = await runProgram(programOfAUser, system, {});
    expect(answers).toMatchObject([{ kind: "swiftshader" }]);
  });

  it("does not depend on what was asked before", async () => {
    const requests = [{ adapter: "hardware" }, { adapter: "swiftshader" }, { adapter: "lavapipe" }, {}];
    const { answers } = await runProgram(program, NO_DRIVERS, ...requests);
    expect(answers).toMatchObject([
      { code: "gpu/no-adapter" },
      { kind: "swiftshader" },
      { code: "gpu/no-adapter" },
      { kind: "swiftshader" },
    ]);
  });
});

describe("an explicit choice", () => {
  it.each(["hardware", "lavapipe"])("%s fails by name when it cannot be met", async (adapter) => {
    const { answers } = await runProgram(program, NO_DRIVERS, { adapter });
    expect(answers).toMatchObject([{ code: "gpu/no-adapter", message: expect.stringContaining(`"${adapter}"`) }]);
  });

  it("fails by name when a driver turns out to be of another kind", async () => {
    const cache = temporaryFolder("renamed");
    await runProgram(program, { ...NO_DRIVERS, SUPERLENS_CACHE: cache }, {});
    const unpacked = join(cache, "unpacked", readdirSync(join(cache, "unpacked"))[0]!);
    const library = readdirSync(unpacked).find((name) => name.startsWith("libvk_"))!;
    const folder = temporaryFolder("vendor");
    const disguised = join(folder, "vendor.json");
    copyFileSync(join(unpacked, library), join(folder, "libvendor.so"));
    writeFileSync(disguised, driverManifest("./libvendor.so"));
    const environment = { VK_DRIVER_FILES: disguised, LD_LIBRARY_PATH: unpacked };
    const { answers } = await runProgram(program, environment, { adapter: "hardware" });
    expect(answers[0]?.message).toMatch(/"hardware".*\(swiftshader\) instead/);
  });

  it("comes from SUPERLENS_ADAPTER, and an option overrides it", async () => {
    const environment = { ...NO_DRIVERS, SUPERLENS_ADAPTER: "hardware" };
    const { answers } = await runProgram(program, environment, {}, { adapter: "swiftshader" });
    expect(answers).toMatchObject([{ code: "gpu/no-adapter" }, { kind: "swiftshader" }]);
  });

  it("must exist", async () => {
    const { answers } = await runProgram(program, { SUPERLENS_ADAPTER: "voodoo" }, {}, { adapter: "s3" });
    expect(answers).toEqual([
      { code: "gpu/unknown-adapter", message: expect.stringMatching(/SUPERLENS_ADAPTER is "voodoo".*swiftshader/) },
      { code: "gpu/unknown-adapter", message: expect.stringContaining('"s3"') },
    ]);
  });
});

describe("without any adapter", () => {
  it("the error says what to install, per platform", async () => {
    const { answers, exitCode } = await runProgram(programOfAUser, NO_DRIVERS, {});
    expect(answers).toMatchObject([{ code: "gpu/no-adapter" }]);
    const platforms = ["Linux", "mesa-vulkan-drivers", "macOS", "Windows", "Deno", "Chrome", "chrome://gpu"];
    for (const text of platforms) expect(answers[0]?.message).toContain(text);
    expect(exitCode).toBe(0);
  });

  it("a missing Dawn is named", async () => {
    const { answers } = await runProgram(programWithoutDawn, {}, {});
    expect(answers).toMatchObject([{ code: "gpu/no-adapter", message: expect.stringContaining("package webgpu") }]);
  });
});

describe("the line on stderr", () => {
  it("names the adapter once and warns of software", async () => {
    const { lines } = await runProgram(program, NO_DRIVERS, {}, {});
    expect(lines).toEqual([expect.stringMatching(/SwiftShader.*\(swiftshader, node\).*Warning/)]);
  });

  it("is not written when quiet, nor when the caller listens", async () => {
    const { lines, answers } = await runProgram(program, NO_DRIVERS, { quiet: true }, { collect: true });
    expect(lines).toEqual([]);
    expect(answers[1]?.heard).toEqual(["swiftshader"]);
  });
});

describe("the process", () => {
  it("ends by itself, with and without destroyed devices", async () => {
    const requests = [{}, { destroy: true }];
    for (let round = 0; round < 5; round++) {
      for (const request of requests) {
        const { exitCode, answers } = await runProgram(program, NO_DRIVERS, request, request);
        expect(answers).toHaveLength(2);
        expect(exitCode).toBe(0);
      }
    }
  });

  it("may unpack SwiftShader while others do", async () => {
    const cache = temporaryFolder("cache");
    const environment = { ...NO_DRIVERS, SUPERLENS_CACHE: cache };
    const outcomes = await Promise.all(Array.from({ length: 4 }, () => runProgram(program, environment, {})));
    for (const { answers } of outcomes) expect(answers).toMatchObject([{ kind: "swiftshader" }]);
    expect(readdirSync(join(cache, "unpacked"))).toEqual([expect.stringMatching(/^swiftshader-[\d.]+$/)]);
  });

  it("unpacks elsewhere when the cache cannot be written", async () => {
    const file = join(temporaryFolder("file"), "file");
    writeFileSync(file, "");
    const { answers } = await runProgram(program, { ...NO_DRIVERS, SUPERLENS_CACHE: file }, {});
    expect(answers).toMatchObject([{ kind: "swiftshader" }]);
  });
});

describe("limits", () => {
  it("are the adapter's, not WebGPU's defaults", async () => {
    const { answers } = await runProgram(program, NO_DRIVERS, {});
    expect(answers[0]?.bufferSize).toBeGreaterThan(268435456); // the default of maxBufferSize
  });
});

describe("vulkanDrivers", () => {
  it("finds manifests where the loader does and tells their kind", () => {
    const data = temporaryFolder("drivers");
    const folder = join(data, "vulkan", "icd.d");
    mkdirSync(folder, { recursive: true });
    const names = { "lvp_icd.x86_64.json": "libvulkan_lvp.so", "nvidia_icd.json": "libGLX_nvidia.so.0" };
    for (const [name, library] of Object.entries(names)) writeFileSync(join(folder, name), driverManifest(library));
    writeFileSync(join(folder, "notes.txt"), "");
    const environment = { XDG_DATA_DIRS: data };
    const found = vulkanDrivers(environment).filter(({ manifest }) => manifest.startsWith(data));
    expect(found.map(({ kind }) => kind).sort()).toEqual(["hardware", "lavapipe"]);
  });

  it("obeys the loader's variables", () => {
    expect(vulkanDrivers({ VK_ICD_FILENAMES: "/nonexistent" })).toEqual([]);
    expect(vulkanDrivers({ VK_DRIVER_FILES: "" })).toEqual([]);
  });
});

function driverManifest(library: string): string {
  return JSON.stringify({ file_format_version: "1.0.0", ICD: { library_path: library, api_version: "1.3.0" } });
}
