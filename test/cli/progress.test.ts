/** What people see on stderr while a model loads or kernels are timed: on a terminal, in a log, and with --quiet. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { showProgress, showTraining, showTuning, showWork } from "../../src/cli/progress.ts";

/** A stream that remembers what was written to it. */
function stream(isTTY: boolean, columns = 80) {
  const written: string[] = [];
  const fake = { isTTY, columns, write: (text: string) => written.push(text) > 0 };
  return { written, stream: fake as unknown as NodeJS.WriteStream };
}

const CLEAR = "\r\x1b[K";
const timing = (done: number) => ({ class: "1 row, linear, f32", kernel: "lanes 8x8", done, total: 4 });
const load = (loaded: number) => ({ loaded, total: 4_000_000, tensor: "wte" });

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("timing kernels", () => {
  it("is drawn on a terminal, class and kernel at each step, and wiped off at the end", () => {
    const { written, stream: terminal } = stream(true);
    const progress = showTuning(false, terminal);
    progress.update(timing(0));
    progress.update(timing(2));
    progress.end();
    expect(written[0]).toBe(`${CLEAR}timing kernels, once ▕${" ".repeat(24)}▏ 1 row, linear, f32: lanes 8x8`);
    expect(written[1]).toContain(`▕${"█".repeat(12)}${" ".repeat(12)}▏`);
    expect(written[2]).toBe(CLEAR);
    for (const line of written) expect(line.length - CLEAR.length).toBeLessThan(80);
  });

  it("is one line in a log", () => {
    const { written, stream: log } = stream(false);
    const progress = showTuning(false, log);
    for (const done of [0, 1, 2]) progress.update(timing(done));
    progress.end();
    expect(written).toEqual(["superlens: timing kernels for this adapter, once (--no-tune does without)\n"]);
  });

  it("says nothing when nothing is timed, or with --quiet", () => {
    for (const [quiet, isTTY] of [
      [false, true],
      [true, true],
      [true, false],
    ] as const) {
      const { written, stream: any } = stream(isTTY);
      const progress = showTuning(quiet, any);
      if (quiet) progress.update(timing(0));
      progress.end();
      expect(written).toEqual([]);
    }
  });
});

describe("loading", () => {
  it("is redrawn at most every 80 ms on a terminal", () => {
    const { written, stream: terminal } = stream(true, 60);
    const progress = showProgress("gpt2", false, terminal);
    progress.update(load(1_000_000));
    vi.advanceTimersByTime(50);
    progress.update(load(2_000_000));
    vi.advanceTimersByTime(50);
    progress.update(load(3_000_000));
    progress.end();
    expect(written).toHaveLength(3);
    expect(written[0]).toContain("loading gpt2 ▕██████");
    expect(written[1]).toContain("██████████████████");
    expect(written[2]).toBe(CLEAR);
    for (const line of written) expect(line.length - CLEAR.length).toBeLessThan(60);
  });

  it("is a line every five seconds in a log, so that a short load says nothing", () => {
    const { written, stream: log } = stream(false);
    const progress = showProgress("gpt2", false, log);
    for (const [seconds, loaded] of [
      [1, 1e6],
      [4, 2e6],
      [3, 3e6],
      [3, 4e6],
    ] as const) {
      vi.advanceTimersByTime(1000 * seconds);
      progress.update(load(loaded));
    }
    progress.end();
    expect(written).toEqual([
      "superlens: loading gpt2: 2.00 MB of 4.00 MB\n",
      "superlens: loading gpt2: 4.00 MB of 4.00 MB\n",
    ]);
  });

  it("says nothing with --quiet", () => {
    const { written, stream: terminal } = stream(true);
    const progress = showProgress("gpt2", true, terminal);
    progress.update(load(1));
    progress.end();
    expect(written).toEqual([]);
  });
});

describe("long work", () => {
  it("of training shows step, loss, rate and the time left", () => {
    const { written, stream: terminal } = stream(true, 120);
    const progress = showTraining(40, false, terminal);
    const read = { gradNorm: 1, lr: 1e-3 };
    progress.update({ step: 11, loss: 5, ...read });
    vi.advanceTimersByTime(4000);
    progress.update({ step: 13, loss: 2.5, ...read });
    vi.advanceTimersByTime(500);
    progress.update({ step: 22, loss: 1.25, ...read });
    progress.end();
    expect(written).toEqual([
      `${CLEAR}training ▕${"█".repeat(7)}▊${" ".repeat(16)}▏ 13 of 40 steps  loss 2.5000  2.0 s/step  54 s left`,
      `${CLEAR}training ▕${"█".repeat(13)}▎${" ".repeat(10)}▏ 22 of 40 steps  loss 1.2500  2.4 steps/s  8 s left`,
      CLEAR,
    ]);
  });

  it("is a line every five seconds in a log, and says nothing of time as long as none is known", () => {
    const { written, stream: log } = stream(false);
    const progress = showWork({ doing: "lambda", parts: "cells" }, false, log);
    for (const [done, secondsLeft] of [
      [1, undefined],
      [2, undefined],
      [3, 200],
    ] as const) {
      vi.advanceTimersByTime(3000);
      progress.update({ done, total: 9, secondsLeft });
      vi.advanceTimersByTime(3000);
    }
    progress.end();
    expect(written).toEqual(["superlens: 2 of 9 cells\n", "superlens: 3 of 9 cells  3 min left\n"]);
  });
});
