/** The line of a user's program that makes something, for notices about it. */

/** Frames that are taken, the engine's own included, and those that are shown. */
const FRAMES_TAKEN = 40;
const FRAMES_SHOWN = 3;

/** V8 has this setting; other engines take all frames. */
const v8 = Error as { stackTraceLimit?: number | undefined };

/** The innermost calls outside superlens, a line each; all of them where superlens is bundled with the program. */
export function originOf(): string {
  const { stackTraceLimit } = v8;
  v8.stackTraceLimit = FRAMES_TAKEN;
  // Text at once: an error that is kept keeps the objects whose methods are on the stack.
  const [own = "", ...frames] = (new Error().stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
  v8.stackTraceLimit = stackTraceLimit;
  const folder = /(?:file:\/\/|https?:\/\/|\/).*\/(?:dist|src)\//.exec(own)?.[0];
  // Frames of built-in functions, such as a generator's next, say nothing.
  const outside = frames.filter(
    (line) => folder !== undefined && !line.includes(folder) && !/node:internal|<anonymous>/.test(line),
  );
  return (outside.length > 0 ? outside : frames).slice(0, FRAMES_SHOWN).join("\n");
}
