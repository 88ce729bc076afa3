/**
 * Tests run in child processes (Dawn lives in the process, and a crash of a driver must not take the report along). The
 * files that a process runs share its modules, and so the GPU of test/support/gpu.ts with all that was compiled for it: the
 * tests of hooks and readouts made 1,434 pipelines with a process a file and 731 with two, and took 121 s and 62 s.
 * Two workers also where the adapter is software: two runs of a matmul benchmark side by side, on two cores, took 4.0 s
 * with lavapipe (one after the other 5.5 s) and 12.7 s with SwiftShader (15.3 s).
 */
import { existsSync } from "node:fs";
import { defineConfig, type Plugin } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Imports `*.wgsl` as text, as esbuild's `text` loader does in the builds. */
function wgslAsText(): Plugin {
  return {
    name: "wgsl-as-text",
    enforce: "pre",
    transform(code, id) {
      if (!id.endsWith(".wgsl")) return undefined;
      return { code: `export default ${JSON.stringify(code)};`, map: null };
    },
  };
}

/** A name that has moved would be passed over, so that its file starts last or in a process with others. */
function testFile(name: string): string {
  const path = `test/${name}.test.ts`;
  if (!existsSync(new URL(path, import.meta.url))) throw new Error(`There is no ${path}: correct vitest.config.ts.`);
  return path;
}

/**
 * The files that take longest, longest first. Vitest starts with what took long the last time, but a fresh clone has no last
 * time: there a file of three minutes came last, and one worker waited for the other through half of it.
 */
const LONGEST = [
  ...["cross-host/hosts", "web/page", "kernels/matmul", "web/bench"],
  ...["gradients/kernels", "bench/cli", "kernels/attention"],
].map(testFile);

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const index = LONGEST.findIndex((path) => moduleId.endsWith(path));
      return index < 0 ? LONGEST.length : index;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

/**
 * Files that change what a process's files share, each in a process of its own: the host, and the module of kernels. They come first:
 * for one in between, vitest ended a process whose 700 pipelines the next had to compile again.
 */
const ALONE = ["checkpoint/source-spec", "cli/before-loading", "kernels/interfaces"].map(testFile);

/**
 * SwiftShader's compiler takes and frees memory by the megabyte. glibc gives freed memory back to the system at once, and gets
 * it again page by page; told to keep it, the whole suite took 12 min 36 s in place of 14 min 20 s. Other libraries ignore this.
 */
const KEEP_MEMORY = {
  MALLOC_TRIM_THRESHOLD_: `${2 ** 30}`,
  MALLOC_MMAP_THRESHOLD_: `${2 ** 25}`,
  MALLOC_TOP_PAD_: `${2 ** 24}`,
};

export default defineConfig({
  plugins: [wgslAsText()],
  oxc: { target: "es2022" },
  test: {
    pool: "forks",
    env: KEEP_MEMORY,
    // Examples import the built package; transformed once more, it took two seconds.
    server: { deps: { external: [/\/dist\/.*\.js$/] } },
    setupFiles: ["test/support/equality.ts"],
    // What a file is transformed to is kept in node_modules by its content: 750 modules took ten seconds of a core at each start.
    experimental: { fsModuleCache: true },
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    testTimeout: 120_000,
    hookTimeout: 600_000,
    teardownTimeout: 20_000,
    projects: [
      { extends: true, test: { name: "alone", include: ALONE, sequence: { groupOrder: 0 } } },
      {
        extends: true,
        test: {
          name: "shared",
          include: ["test/**/*.test.ts"],
          exclude: ALONE,
          isolate: false,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
