/**
 * Tests run in child processes (Dawn lives in the process, and a crash of a driver must not take the others along).
 * Two workers also where the adapter is software: two runs of a matmul benchmark side by side, on two cores, took 4.0 s
 * with lavapipe (one after the other 5.5 s) and 12.7 s with SwiftShader (15.3 s).
 */
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

/**
 * The files that take longest, longest first. Vitest starts with what took long the last time, but a fresh clone has no last
 * time: there a file of three minutes came last, and one worker waited for the other through half of it.
 */
const LONGEST = ["cross-host/hosts", "kernels/matmul", "kernels/attention", "patching/examples", "bench/page"];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const index = LONGEST.findIndex((name) => moduleId.endsWith(`test/${name}.test.ts`));
      return index < 0 ? LONGEST.length : index;
    };
    return (await super.sort(files)).sort((a, b) => place(a) - place(b));
  }
}

export default defineConfig({
  plugins: [wgslAsText()],
  oxc: { target: "es2022" },
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    testTimeout: 120_000,
    hookTimeout: 600_000,
    teardownTimeout: 20_000,
  },
});
