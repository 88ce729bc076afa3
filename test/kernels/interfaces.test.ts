/**
 * Each kernel's interface is stated twice, in TypeScript (`defineKernel`) and in WGSL, and the GPU links the two by order
 * alone: two parameters or buffers that changed places would be read as each other. So the WGSL of every kernel is read
 * here, and its names, order, types and access are compared with the declaration.
 */
import { readdirSync, readFileSync } from "node:fs";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { PARAM_STRIDE } from "../../src/gpu/commands.ts";
import { Gpu } from "../../src/gpu/gpu.ts";
import type { Access, Kernel } from "../../src/gpu/kernel.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import { testGpu } from "../support/gpu.ts";
import { everyKernel, sourcesUsed } from "./every-kernel.ts";
import { differences, wgslBindings, wgslEntryPoints, wgslOverrides, wgslParams } from "./wgsl-interface.ts";

vi.mock("../../src/gpu/kernel.ts", async (original) => {
  const { watched } = await import("./every-kernel.ts");
  return watched(await original());
});

let kernels: readonly Kernel[] = [];
beforeAll(async () => {
  const { host } = await testGpu();
  // Kernels with subgroups are made for a size of subgroups; nothing is compiled.
  const gpu = new Gpu({ ...host, adapterInfo: { ...host.adapterInfo, subgroupMinSize: 8 } });
  const recorder = new Recorder(gpu, "not submitted");
  kernels = await everyKernel(recorder);
  recorder.discard();
  gpu.trim();
});

/** Kernels that a changed copy agrees with all the same, by name. */
const unnoticed = (change: (kernel: Kernel) => Kernel | undefined) =>
  kernels.flatMap((kernel) => {
    const changed = change(kernel);
    return changed && differences(changed).length === 0 ? [kernel.name] : [];
  });

describe("every kernel", () => {
  it("has parameters and bindings as its WGSL declares them", () => {
    const wrong = kernels.map((kernel) => ({ name: kernel.name, differences: differences(kernel) }));
    expect(wrong.filter((kernel) => kernel.differences.length > 0)).toEqual([]);
  });

  it("has scalars for parameters, which fit where they are written", () => {
    for (const { name, params } of kernels) {
      expect(4 * Object.keys(params).length, name).toBeLessThanOrEqual(PARAM_STRIDE);
      for (const type of Object.values(params)) expect(["u32", "i32", "f32"], name).toContain(type);
    }
  });

  it("is looked at: all files of shaders/ with an entry point are in one", () => {
    const folder = new URL("../../shaders/", import.meta.url);
    const files = readdirSync(folder).map((name) => ({ name, code: readFileSync(new URL(name, folder), "utf8") }));
    const whole = files.filter(({ code }) => wgslEntryPoints(code).length > 0);
    expect(whole.filter(({ code }) => !sourcesUsed.has(code)).map(({ name }) => name)).toEqual([]);
    expect(whole.length).toBeGreaterThan(30);
  });

  it("has no override constant that nobody sets", () => {
    const source = sourcesOf(new URL("../../src/", import.meta.url));
    const names = new Set(kernels.flatMap(({ code }) => wgslOverrides(code)));
    expect([...names].filter((name) => !new RegExp(`\\b${name}\\b`).test(source))).toEqual([]);
    expect(names.size).toBeGreaterThan(10);
  });
});

describe("a kernel is caught when", () => {
  const fields = ({ params }: Kernel) => Object.entries(params);
  const buffers = ({ bindings }: Kernel) => Object.entries(bindings);
  const withParams = (kernel: Kernel, entries: [string, Kernel["params"][string]][]): Kernel => ({
    ...kernel,
    params: Object.fromEntries(entries),
  });
  const withBindings = (kernel: Kernel, entries: [string, Access][]): Kernel => ({
    ...kernel,
    bindings: Object.fromEntries(entries),
  });

  it("two neighbouring parameters have changed places", () => {
    const most = Math.max(...kernels.map((kernel) => fields(kernel).length));
    for (let at = 1; at < most; at++) {
      const swapped = (kernel: Kernel) => {
        const entries = fields(kernel);
        const [first, second] = entries.slice(at - 1, at + 1);
        return first && second && withParams(kernel, entries.with(at - 1, second).with(at, first));
      };
      expect(unnoticed(swapped)).toEqual([]);
    }
  });

  it("one is missing, or of another type", () => {
    expect(unnoticed((kernel) => withParams(kernel, fields(kernel).slice(1)))).toEqual([]);
    const retyped = (kernel: Kernel) =>
      withParams(
        kernel,
        fields(kernel).map(([name, type], at) => [name, at > 0 ? type : type === "u32" ? "f32" : "u32"]),
      );
    expect(unnoticed(retyped)).toEqual([]);
  });

  it("the struct in its WGSL has changed", () => {
    const swapped = (kernel: Kernel) => {
      const [first = "", second = ""] = wgslParams(kernel.code);
      if (second === "") return undefined;
      const body = /struct Params\s*\{[^}]*\}/.exec(kernel.code)?.[0] as string;
      const changed = body.replace(first, "FIRST").replace(second, first).replace("FIRST", second);
      expect(changed).not.toBe(body);
      return { ...kernel, code: kernel.code.replace(body, changed) };
    };
    expect(unnoticed(swapped)).toEqual([]);
  });

  it("a buffer is written that is declared to be read, or is missing, or one too many is declared", () => {
    const otherAccess = (access: Access): Access => (access === "read" ? "write" : "read");
    for (const at of [0, 1, 2]) {
      const changed = (kernel: Kernel) => {
        const entries = buffers(kernel);
        const entry = entries[at];
        return entry && withBindings(kernel, entries.with(at, [entry[0], otherAccess(entry[1])]));
      };
      expect(unnoticed(changed)).toEqual([]);
    }
    expect(unnoticed((kernel) => withBindings(kernel, buffers(kernel).slice(1)))).toEqual([]);
    expect(unnoticed((kernel) => withBindings(kernel, [...buffers(kernel), ["another", "read"]]))).toEqual([]);
  });

  it("two buffers have changed places, in TypeScript or in WGSL, or one has another name", () => {
    let swaps = 0;
    const most = Math.max(...kernels.map((kernel) => buffers(kernel).length));
    for (let second = 1; second < most; second++) {
      for (let first = 0; first < second; first++) {
        const pair = (kernel: Kernel) => [buffers(kernel)[first], buffers(kernel)[second]] as const;
        const declared = (kernel: Kernel) => {
          const [one, other] = pair(kernel);
          if (!one || !other) return undefined;
          swaps += one[1] === other[1] ? 1 : 0;
          return withBindings(kernel, buffers(kernel).with(first, other).with(second, one));
        };
        const bound = (kernel: Kernel) => {
          const [one, other] = pair(kernel);
          return one && other && { ...kernel, code: withPlaces(kernel.code, first, second) };
        };
        expect(unnoticed(declared)).toEqual([]);
        expect(unnoticed(bound)).toEqual([]);
      }
    }
    expect(swaps).toBeGreaterThan(100);
    const renamed = (kernel: Kernel) => {
      const [[, access], ...rest] = buffers(kernel) as [[string, Access], ...[string, Access][]];
      return withBindings(kernel, [["another", access], ...rest]);
    };
    expect(unnoticed(renamed)).toEqual([]);
  });

  it("a binding of its WGSL has another number or group", () => {
    expect(
      unnoticed((kernel) => ({
        ...kernel,
        code: kernel.code.replace("@group(1) @binding(0)", "@group(1) @binding(9)"),
      })),
    ).toEqual([]);
    expect(unnoticed((kernel) => ({ ...kernel, code: kernel.code.replace("@group(1)", "@group(0)") }))).toEqual([]);
    expect(unnoticed((kernel) => ({ ...kernel, entryPoint: "nowhere" }))).toEqual([]);
  });
});

it("WGSL is read as it is written, in other ways too", () => {
  const code = `// struct Params { no: u32 }
    struct Params { a : u32, /* b: i32, */ c: f32 }
    @group(0) @binding(0) var<uniform> params: Params;
    @group(1)
    @binding(1) var<storage,read_write> out: array<vec2<f32>>;
    @group(1) @binding(0) var<storage, read> x: array<u32>; // @group(1) @binding(2) var<storage, read> y: array<u32>;
    override A: bool = true;
    @compute @workgroup_size(64) fn main() {}
    fn helper() {}
    @compute @workgroup_size(A, 1) fn other(@builtin(global_invocation_id) id: vec3<u32>) {}`;
  expect(wgslParams(code)).toEqual(["a: u32", "c: f32"]);
  expect(wgslBindings(code)).toEqual(["0.0 params: uniform Params", "1.0 x: read", "1.1 out: write"]);
  expect(wgslOverrides(code)).toEqual(["A"]);
  expect(wgslEntryPoints(code)).toEqual(["main", "other"]);
});

/** WGSL in which two buffers have each other's numbers. */
function withPlaces(code: string, first: number, second: number): string {
  const place = (binding: number | string) => `@group(1) @binding(${binding})`;
  return code
    .replace(place(first), place("other"))
    .replace(place(second), place(first))
    .replace(place("other"), place(second));
}

/** All TypeScript below a folder. */
function sourcesOf(folder: URL): string {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  return files.map((name) => readFileSync(new URL(name, folder), "utf8")).join("\n");
}
