/** Bugs of streamed weights. */
import type { Mutant } from "./mutant.ts";

const STREAMED = ["test/engine/streamed.test.ts"];

export const STREAMED_MUTANTS: readonly Mutant[] = [
  {
    name: "streamed: a window that holds another block is taken for this one's",
    file: "src/model/weights/stream.ts",
    from: "if (window.held === layer) return;",
    to: "if (window.held !== undefined) return;",
    tests: STREAMED,
  },
  {
    name: "streamed: a block that was read in part counts as whole",
    file: "src/model/weights/stream.ts",
    from: "    window.held = undefined;\n",
    to: "    window.held = layer;\n",
    tests: STREAMED,
  },
  {
    name: "streamed: ops of the next block join the submission before it is there",
    file: "src/gpu/recorder.ts",
    from: "if (streamed === undefined || streamed === this.#streamed) return;",
    to: "if (streamed === undefined || this.#streamed !== undefined) return;",
    tests: STREAMED,
  },
  {
    name: "streamed: a pass that nobody waits for is submitted all the same",
    file: "src/gpu/submission.ts",
    from: "    isWaitedFor = false;\n",
    to: "",
    tests: STREAMED,
  },
  {
    name: "streamed: the last block goes first for all recordings but one",
    file: "src/gpu/submission.ts",
    from: "each.order < least.order",
    to: "each.order > least.order",
    tests: STREAMED,
  },
  {
    name: "streamed: every batch of a sweep reads the blocks",
    file: "src/hooks/sweep.ts",
    from: "} while (engine.isStreamed && ",
    to: "} while (!engine.isStreamed && ",
    tests: STREAMED,
  },
  {
    name: "streamed: the plan forgets a window",
    file: "src/model/weights/residency.ts",
    from: "resident + windows * sum(window)",
    to: "resident + sum(window)",
    tests: ["test/cli/inspect-memory.test.ts"],
  },
];
