/**
 * Progress of loading and of timing kernels, on stderr. A terminal shows a bar that redraws itself. A log gets a line every few
 * seconds, so a short load says nothing. `--quiet` shows nothing.
 */
import type { CheckpointProgress } from "../checkpoint/index.ts";
import type { TuneProgress } from "../kernels/tuning/tuner.ts";
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

function drawing({ loaded, total }: CheckpointProgress): string {
  return `▕${bar(loaded / Math.max(1, total), BAR_WIDTH).padEnd(BAR_WIDTH)}▏`;
}

function amounts({ loaded, total }: CheckpointProgress): string {
  return `${bytes(loaded)} of ${bytes(total)}`;
}
