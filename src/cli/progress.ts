/**
 * Progress of loading, of timing kernels and of long work, on stderr. A terminal shows a bar that redraws itself. A log gets a line every few
 * seconds, so a short load says nothing. `--quiet` shows nothing.
 */
import type { CheckpointProgress } from "../checkpoint/index.ts";
import type { TuneProgress } from "../kernels/tuning/tuner.ts";
import type { TrainStep } from "../train/index.ts";
import { bar, bytes } from "./output.ts";

const REDRAW_MS = 80;
const LOG_LINE_MS = 5000;
const BAR_WIDTH = 24;
const DEFAULT_COLUMNS = 80;
const CLEAR_LINE = "\r\x1b[K";

export interface Progress<Event = CheckpointProgress> {
  update(progress: Event): void;
  /** Removes the bar. */
  end(): void;
}

const SILENT: Progress<unknown> = { update: () => undefined, end: () => undefined };

/** A display for loading `label` on `stream`. */
export function showProgress(label: string, quiet: boolean, stream: NodeJS.WriteStream = process.stderr): Progress {
  if (quiet) return SILENT;
  return stream.isTTY ? drawnBar(label, stream) : logLines(label, stream);
}

function drawnBar(label: string, stream: NodeJS.WriteStream): Progress {
  const started = performance.now();
  let drawnAt = Number.NEGATIVE_INFINITY;
  return {
    update(progress) {
      const now = performance.now();
      if (now - drawnAt < REDRAW_MS) return;
      drawnAt = now;
      const rate = progress.loaded / Math.max(1e-3, (now - started) / 1000);
      const line = `loading ${label} ${drawing(progress)} ${amounts(progress)}  ${bytes(Math.round(rate))}/s`;
      stream.write(CLEAR_LINE + line.slice(0, (stream.columns || DEFAULT_COLUMNS) - 1));
    },
    end() {
      if (drawnAt > Number.NEGATIVE_INFINITY) stream.write(CLEAR_LINE);
    },
  };
}

function logLines(label: string, stream: NodeJS.WriteStream): Progress {
  let writtenAt = performance.now();
  return {
    update(progress) {
      const now = performance.now();
      if (now - writtenAt < LOG_LINE_MS) return;
      writtenAt = now;
      stream.write(`superlens: loading ${label}: ${amounts(progress)}\n`);
    },
    end: () => undefined,
  };
}

/** A display for the tuner, which takes seconds once: the kernel that is being timed, or in a log one line. */
export function showTuning(quiet: boolean, stream: NodeJS.WriteStream = process.stderr): Progress<TuneProgress> {
  if (quiet) return SILENT;
  let isShown = false;
  return {
    update({ class: shapes, kernel, done, total }) {
      const what = "timing kernels";
      if (stream.isTTY) {
        const line = `${what}, once ▕${bar(done / total, BAR_WIDTH).padEnd(BAR_WIDTH)}▏ ${shapes}: ${kernel}`;
        stream.write(CLEAR_LINE + line.slice(0, (stream.columns || DEFAULT_COLUMNS) - 1));
      } else if (!isShown) {
        stream.write(`superlens: ${what} for this adapter, once (--no-tune does without)\n`);
      }
      isShown = true;
    },
    end() {
      if (isShown && stream.isTTY) stream.write(CLEAR_LINE);
    },
  };
}

/** How far work has come, in steps or in cells. */
export interface Work {
  readonly done: number;
  readonly total: number;
  /** Undefined as long as it is not known. */
  readonly secondsLeft: number | undefined;
  /** More to say. */
  readonly text?: string;
}

/** A display for work of many parts: `doing` it, so many `parts` of all, and the time that is left. */
export function showWork(
  { doing, parts }: { doing: string; parts: string },
  quiet: boolean,
  stream: NodeJS.WriteStream = process.stderr,
): Progress<Work> {
  if (quiet) return SILENT;
  let shownAt = performance.now();
  return {
    update({ done, total, secondsLeft, text = "" }) {
      const now = performance.now();
      if (now - shownAt < (stream.isTTY ? REDRAW_MS : LOG_LINE_MS)) return;
      shownAt = now;
      const left = secondsLeft === undefined ? "" : `${duration(secondsLeft)} left`;
      const words = [`${done} of ${total} ${parts}`, text, left].filter((part) => part !== "").join("  ");
      const line = `${doing} ▕${bar(done / total, BAR_WIDTH).padEnd(BAR_WIDTH)}▏ ${words}`;
      if (stream.isTTY) stream.write(CLEAR_LINE + line.slice(0, (stream.columns || DEFAULT_COLUMNS) - 1));
      else stream.write(`superlens: ${words}\n`);
    },
    end() {
      if (stream.isTTY) stream.write(CLEAR_LINE);
    },
  };
}

/** A display for training: the step, its loss, how fast steps go, and the time that is left. */
export function showTraining(
  steps: number,
  quiet: boolean,
  stream: NodeJS.WriteStream = process.stderr,
): Progress<TrainStep> {
  const { update, end } = showWork({ doing: "training", parts: "steps" }, quiet, stream);
  let first: { step: number; at: number } | undefined;
  return {
    update({ step, loss }) {
      const now = performance.now();
      first ??= { step, at: now };
      const each = step > first.step ? (now - first.at) / 1000 / (step - first.step) : undefined;
      const rate = each === undefined ? "" : `  ${rateOf(each)}`;
      const secondsLeft = each === undefined ? undefined : (steps - step) * each;
      update({ done: step, total: steps, secondsLeft, text: `loss ${loss.toFixed(4)}${rate}` });
    },
    end,
  };
}

const rateOf = (seconds: number) =>
  seconds < 1 ? `${(1 / seconds).toFixed(1)} steps/s` : `${seconds.toFixed(1)} s/step`;

/** Seconds as a person says them: 8 s, 3 min, 2.5 h. */
function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function drawing({ loaded, total }: CheckpointProgress): string {
  return `▕${bar(loaded / Math.max(1, total), BAR_WIDTH).padEnd(BAR_WIDTH)}▏`;
}

function amounts({ loaded, total }: CheckpointProgress): string {
  return `${bytes(loaded)} of ${bytes(total)}`;
}
