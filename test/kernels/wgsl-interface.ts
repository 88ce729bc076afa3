/** The interface of a kernel as its WGSL declares it, and where that differs from what TypeScript says. */
import type { Kernel } from "../../src/gpu/kernel.ts";

const ACCESS: Record<string, string> = { "storage, read": "read", "storage, read_write": "write", uniform: "uniform" };

/** Comments say nothing to a compiler. */
function withoutComments(code: string): string {
  return code.replace(/\/\/.*|\/\*[\s\S]*?\*\//g, "");
}

/** Fields of `struct Params`, as "name: type", in order. */
export function wgslParams(code: string): string[] {
  const structs = [...withoutComments(code).matchAll(/\bstruct Params\s*\{([^}]*)\}/g)].map(([, body = ""]) => body);
  if (structs.length !== 1) return [`${structs.length} structs Params`];
  const fields = structs
    .join()
    .split(",")
    .map((field) => field.trim().replace(/\s*:\s*/, ": "));
  return fields.filter((field) => field !== "");
}

/** Every resource, as "group.binding name: access", sorted. */
export function wgslBindings(code: string): string[] {
  const pattern = /@group\((\d+)\)\s*@binding\((\d+)\)\s*var<([^>]*)>\s*(\w+)\s*:\s*([^;]+);/g;
  const found = [...withoutComments(code).matchAll(pattern)].map(([, group, binding, space = "", name, type]) => {
    const access = ACCESS[space.replace(/\s*,\s*/, ", ")] ?? space;
    return `${group}.${binding} ${name}: ${access === "uniform" ? `uniform ${type?.trim()}` : access}`;
  });
  return found.sort();
}

/** Names of override constants. */
export function wgslOverrides(code: string): string[] {
  return [...withoutComments(code).matchAll(/\boverride\s+(\w+)/g)].map(([, name]) => name as string);
}

/** Entry points. */
export function wgslEntryPoints(code: string): string[] {
  return [...withoutComments(code).matchAll(/@compute\b[^{;]*?\bfn\s+(\w+)/g)].map(([, name]) => name as string);
}

/** What TypeScript and WGSL say differently; none where they agree. */
export function differences({ code, params, bindings, entryPoint }: Kernel): string[] {
  const declared = Object.entries(params).map(([name, type]) => `${name}: ${type}`);
  const buffers = Object.entries(bindings).map(([name, access], index) => `1.${index} ${name}: ${access}`);
  const resources = ["0.0 params: uniform Params", ...buffers];
  const pairs = { params: [declared, wgslParams(code)], bindings: [resources.sort(), wgslBindings(code)] };
  const found = Object.entries(pairs).flatMap(([what, [typescript = [], wgsl = []]]) =>
    typescript.join(", ") === wgsl.join(", ") ? [] : [`${what}: ${typescript.join(", ")} | WGSL: ${wgsl.join(", ")}`],
  );
  return wgslEntryPoints(code).includes(entryPoint) ? found : [...found, `no entry point ${entryPoint}`];
}
