// @ts-check
/**
 * Builds dist/ from src/. Three groups of bundles, each with the chunks its entries share:
 *
 * - for a page (`index.js`, `theory.js` and so on, one for each entry of the package) and for Deno (`deno.js`,
 *   `theory.deno.js`): everything inside, so that they can be imported without a bundler;
 * - for Node (`node.js`, `theory.node.js`, `cli.js`): packages stay imports, since Node finds them in node_modules.
 *
 * Entries of one group share chunks, so that there is one of each class, whichever entries a program imports.
 *
 * `page/` is the page that `superlens serve` shows.
 *
 * Shaders are bundled as text. `dist/types/` gets the declarations from tsc.
 */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "dist");

/** What every bundle of this project has in common, tests' included. */
export const bundleOptions = /** @type {const} */ ({
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  target: "es2022",
  loader: { ".wgsl": "text" },
  legalComments: "none",
  logLevel: "warning",
});

/** Options for bundles that run in a page or in Deno, with everything inside. */
export const webOptions = /** @type {const} */ ({
  ...bundleOptions,
  platform: "browser",
});

/** Entries of the package besides the main one, each a folder of src/. */
const ENTRIES = ["theory", "paper", "train", "bench", "pictures"];

/** What a page may import, by file in dist/. */
const PAGE_ENTRIES = {
  index: "src/index.ts",
  ...Object.fromEntries(ENTRIES.map((name) => [name, `src/${name}/index.ts`])),
};

/** The same for a host with an entry of its own. @param {"node" | "deno"} host */
const hostEntries = (host) =>
  [host, ...ENTRIES.map((entry) => `${entry}.${host}`)].map((name) => ({ in: `src/${name}.ts`, out: name }));

/** @returns {Promise<typeof import("esbuild")>} */
const loadEsbuild = () => import("esbuild");

/** The bundles for Node: library and command line. Safe to run while another process builds or uses them. */
export async function buildNode() {
  const { build } = await loadEsbuild();
  const startedAt = new Date();
  const cli = existsSync(join(root, "src/cli/main.ts")) ? [{ in: "src/cli/main.ts", out: "cli" }] : [];
  const { outputFiles } = await build({
    ...bundleOptions,
    entryPoints: [...hostEntries("node"), ...cli],
    outdir: dist,
    splitting: true,
    chunkNames: "node/[name]-[hash]",
    platform: "node",
    packages: "external",
    sourcemap: true,
    write: false,
  });
  // Chunks before the entries that import them, and each file whole or not at all.
  const chunksFirst = outputFiles.sort((a, b) => Number(isEntry(a.path)) - Number(isEntry(b.path)));
  for (const { path, contents } of chunksFirst) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.${process.pid}`, contents);
    utimesSync(`${path}.${process.pid}`, startedAt, startedAt); // an edit made meanwhile counts as newer
    renameSync(`${path}.${process.pid}`, path);
  }
}

/** @param {string} path */
function isEntry(path) {
  return dirname(path) === dist && path.endsWith(".js");
}

/** The bundles for browsers and Deno. Fails when one of Node's modules got into the browser's. */
async function buildWeb() {
  const { build } = await loadEsbuild();
  const options = /** @type {const} */ ({
    ...webOptions,
    outdir: dist,
    splitting: true,
    minify: true,
    sourcemap: true,
  });
  await build({ ...options, entryPoints: PAGE_ENTRIES, chunkNames: "web/[name]-[hash]" });
  await build({ ...options, entryPoints: hostEntries("deno"), external: ["node:*"], chunkNames: "deno/[name]-[hash]" });
}

/**
 * The page that `superlens serve` shows, in dist/page: static files that any static host can serve from any folder. The worker
 * with the engine is a program of its own.
 */
export async function buildSite() {
  const { build } = await loadEsbuild();
  const to = join(dist, "page");
  await build({
    ...webOptions,
    entryPoints: { page: "src/web/main.tsx", engine: "src/web/engine/worker.ts" },
    outdir: to,
    splitting: true,
    chunkNames: "chunks/[name]-[hash]",
    minify: true,
    jsx: "automatic",
    jsxImportSource: "preact",
  });
  for (const name of ["index.html", "page.css"]) cpSync(join(root, "src/web", name), join(to, name));
  for (const name of PAGE_MODELS) cpSync(join(root, "weights", name), join(to, "models", name), { recursive: true });
}

/** Models of weights/ that lie beside the page (`src/web/models.ts` names them). */
const PAGE_MODELS = ["lc", "lc-mix10", "superposition"];

function buildTypes() {
  const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "-p", join(root, "tsconfig.build.json")], { stdio: "inherit" });
}

/** True when a file of dist/ is missing or older than any source file. */
export function isStale(name = "cli.js") {
  const built = modified(join(dist, name));
  return ["src", "shaders", "scripts/build.mjs", "package.json"].some((source) => newest(join(root, source)) > built);
}

/** @param {string} path @returns {number} */
function newest(path) {
  const time = modified(path);
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return time;
  return Math.max(time, ...readdirSync(path).map((name) => newest(join(path, name))));
}

/** @param {string} path @returns {number} */
function modified(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  rmSync(dist, { recursive: true, force: true });
  await Promise.all([buildNode(), buildWeb(), buildSite()]);
  buildTypes();
}
