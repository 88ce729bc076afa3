/**
 * Which folder may import which. Data flows one way:
 *
 *   cli -> paper -> theory, train, bench -> pictures, hooks -> model -> graph -> ops -> kernels -> gpu -> (nothing of ours)
 *
 * `src/hosts` stands beside that line: it gives `gpu` its devices, `checkpoint` its folders and the tuner its store. Whoever
 * makes a device imports it (model, bench, cli, the entries); what computes does not know what host it is on.
 * `src/errors.ts`, `src/abort.ts`, `src/fnv1a.ts` and `src/globals.ts` are leaves for all; `src/schema` (what calls take) imports errors alone and serves all;
 * `src/tokenizer` serves model, train and cli; files directly in `src/` are entry points
 * that may import everything. What `src/index.ts`, the `index.ts` of the other entries, and the benchmark's
 * page reach must run in a browser.
 */

/** What each room may import, besides itself and the leaf. */
const MAY_IMPORT = {
  cli: [
    "pictures",
    "paper",
    "theory",
    "train",
    "bench",
    "hooks",
    "model",
    "graph",
    "ops",
    "kernels",
    "tokenizer",
    "checkpoint",
    "hosts",
    "gpu",
  ],
  paper: ["pictures", "theory", "train", "hooks", "model", "checkpoint", "gpu"],
  theory: ["hooks", "model", "checkpoint", "gpu"],
  train: ["hooks", "model", "kernels", "tokenizer", "checkpoint", "gpu"],
  pictures: ["hooks"],
  bench: ["pictures", "hooks", "model", "kernels", "checkpoint", "hosts", "gpu"],
  hooks: ["model", "graph", "ops", "kernels", "checkpoint", "gpu"],
  model: ["graph", "ops", "kernels", "tokenizer", "checkpoint", "hosts", "gpu"],
  graph: ["ops", "kernels", "gpu"],
  ops: ["kernels", "gpu"],
  kernels: ["checkpoint", "gpu"],
  tokenizer: [],
  checkpoint: [],
  gpu: [],
  hosts: ["kernels", "checkpoint", "gpu"],
  schema: [],
  web: ["paper", "bench", "pictures", "theory", "hooks", "model", "checkpoint", "hosts", "gpu"],
};

const ROOMS = Object.keys(MAY_IMPORT);

/** Rooms whose users start a program, and which therefore may load the Node entry. */
const MAY_USE_ENTRIES = ["cli"];

const NODE_ONLY = "(^|/)[^/]+\\.node\\.ts$|^src/[^/]*(node|deno)\\.ts$|^src/cli/|^node_modules/webgpu/";

const directionRules = ROOMS.map((room) => ({
  name: `${room}-imports-only-what-is-below-it`,
  severity: "error",
  comment: `src/${room} may import ${["errors.ts", "abort.ts", "fnv1a.ts", "globals.ts", ...MAY_IMPORT[room]].join(", ")}`,
  from: { path: `^src/${room}/` },
  to: {
    path: "^src/",
    pathNot: [
      "^src/(errors|abort|fnv1a|globals)\\.ts$",
      "^src/wgsl\\.d\\.ts$",
      ...[room, "schema", ...MAY_IMPORT[room]].map((other) => `^src/${other}/`),
      ...(MAY_USE_ENTRIES.includes(room) ? ["^src/[^/]+\\.ts$"] : []),
    ],
  },
}));

module.exports = {
  forbidden: [
    ...directionRules,
    {
      name: "no-cycles",
      severity: "error",
      from: { path: "^src/" },
      to: { circular: true },
    },
    {
      name: "leaves-import-nothing",
      severity: "error",
      from: { path: "^src/(errors|abort|fnv1a|globals)\\.ts$" },
      to: { path: "." },
    },
    {
      name: "page-entries-run-in-a-browser",
      severity: "error",
      comment: "Nothing Node-only may be reachable from a page's entries: use a *.node.ts file, loaded by src/node.ts.",
      from: {
        path: ["^src/index\\.ts$", "^src/(theory|paper|train|bench|pictures)/index\\.ts$", "^src/web/"],
      },
      to: { reachable: true, path: NODE_ONLY },
    },
    {
      name: "node-builtins-only-in-node-files",
      severity: "error",
      from: { path: "^src/", pathNot: ["\\.node\\.ts$", "^src/[^/]*(node|deno)\\.ts$", "^src/cli/"] },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "nothing-that-ships-or-launches-reaches-into-tests",
      severity: "error",
      comment: "Tests import src and scripts/hosts, never the other way round.",
      from: { path: "^(src|scripts/hosts)/" },
      to: { path: "^(test|bench)/" },
    },
    {
      name: "src-starts-no-script",
      severity: "error",
      comment: "A user's install has no scripts; the command line starts those of a clone as processes.",
      from: { path: "^src/" },
      to: { path: "^scripts/" },
    },
    {
      name: "no-dev-dependency-in-src",
      severity: "error",
      comment: "A user's install has no devDependencies. The page (src/web) is bundled when the package is made.",
      from: { path: "^src/", pathNot: "^src/web/" },
      to: { dependencyTypes: ["npm-dev"], dependencyTypesNot: ["type-only"] },
    },
    {
      name: "every-import-resolves",
      severity: "error",
      from: { path: "^src/" },
      to: { couldNotResolve: true },
    },
  ],
  options: {
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    doNotFollow: { path: "node_modules" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      mainFields: ["main", "types"],
      conditionNames: ["import", "node", "default", "types"],
      extensions: [".ts", ".js", ".mjs", ".cjs", ".json", ".wgsl", ".d.ts"],
    },
  },
};
