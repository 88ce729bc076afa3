/**
 * A GPU from npm. The package `@sparticuz/chromium` carries SwiftShader, a software Vulkan driver, and a Vulkan loader
 * in a brotli-compressed tar. Where it is installed (it is a devDependency here), a machine without a GPU driver can
 * still run WebGPU.
 *
 * The archive is unpacked once per package version into a cache folder. It is unpacked into a folder of its own, which is
 * renamed at the end. So a folder with the final name is complete, even if another process unpacks at the same time.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, normalize, sep } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { defaultCacheFolder } from "../checkpoint/cache-folder.node.ts";

/**
 * How Dawn is told to compile faster, by Node's package and by Chromium. SwiftShader compiles a zero of workgroup memory as one
 * store for each number of it; without that extension of Vulkan, Dawn writes a loop. The memory is zero either way. The tests of
 * attention took 25 s in place of 38 s of processor time (medians of three in turn); on lavapipe it makes no difference.
 */
export const SWIFTSHADER_SWITCH = "disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension";

/** The unpacked driver. */
export interface SwiftShader {
  folder: string;
  /** The Vulkan loader, `libvulkan.so.1`. */
  loader: string;
  /** The driver's manifest, for `VK_ICD_FILENAMES`. */
  manifest: string;
}

/** The folder `bin` of the installed package `@sparticuz/chromium` and its version, or undefined without it. */
export function chromiumPackage(): { bin: string; version: string } | undefined {
  if (process.platform !== "linux" || process.arch !== "x64") return undefined;
  try {
    const entry = createRequire(import.meta.url).resolve("@sparticuz/chromium");
    const root = join(dirname(entry), "..", "..");
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    return { bin: join(root, "bin"), version };
  } catch {
    return undefined; // not installed, which is the normal case for a user of the library
  }
}

/** SwiftShader from npm, unpacked when it was not yet; undefined when the package is not installed. */
export function unpackSwiftShader(): SwiftShader | undefined {
  const source = chromiumPackage();
  if (!source) return undefined;
  const folder = unpackOnce(`swiftshader-${source.version}`, (target) =>
    unpackTar(readBrotli(join(source.bin, "swiftshader.tar.br")), target),
  );
  return { folder, loader: join(folder, "libvulkan.so.1"), manifest: join(folder, "vk_swiftshader_icd.json") };
}

/**
 * The folder `name` in the cache, filled by `fill` when it does not exist. Safe when several processes do it at once.
 * The temporary folder takes its place where it cannot be written.
 */
export function unpackOnce(name: string, fill: (folder: string) => void): string {
  try {
    return unpackInto(join(defaultCacheFolder(), "unpacked"), name, fill);
  } catch {
    return unpackInto(join(tmpdir(), `superlens-${process.getuid?.() ?? "user"}`), name, fill);
  }
}

function unpackInto(parent: string, name: string, fill: (folder: string) => void): string {
  const folder = join(parent, name);
  if (existsSync(folder)) return folder;
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  const partial = mkdtempSync(`${folder}-`);
  try {
    fill(partial);
    renameSync(partial, folder);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    if (!existsSync(folder)) throw error; // otherwise another process was faster: its folder is as good
  }
  return folder;
}

/** The decompressed bytes of a brotli file. */
export function readBrotli(path: string): Uint8Array {
  return brotliDecompressSync(readFileSync(path));
}

/**
 * Writes the regular files of a tar archive (POSIX ustar: 512-byte headers; name at 0, size in octal at 124, type at
 * 156) into `folder`, all executable. Links and long names do not occur in the archives read here.
 */
export function unpackTar(archive: Uint8Array, folder: string): void {
  const text = (start: number, length: number) =>
    Buffer.from(archive.subarray(start, start + length))
      .toString("latin1")
      .split("\0", 1)[0]
      ?.trim() ?? "";
  for (let at = 0; at + 512 <= archive.length && archive[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    const type = text(at + 156, 1);
    const path = normalize(join(folder, text(at, 100)));
    if (!path.startsWith(folder + sep) && path !== folder) throw new Error(`tar entry leaves the folder: ${path}`);
    if (type === "0" || type === "") {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, archive.subarray(at + 512, at + 512 + size), { mode: 0o755 });
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
}
