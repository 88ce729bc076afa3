/** A page on this computer: the port it has, and how long it stays. */
import { SuperlensError } from "../errors.ts";
import { type Handler, type LocalServer, startLocalServer } from "./local-server.ts";
import { note, print } from "./output.ts";
import { stop } from "./stop.ts";

/** What a page of ours is served with: isolated from other origins it has a clock of 5 us in Chrome, any other one of 100 us. */
export const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

/**
 * Serves a page on localhost, which browsers trust with WebGPU; port 0 takes a free one.
 * @throws SuperlensError `cli/port` when the port is taken.
 */
export async function openPort(handler: Handler, port: number): Promise<LocalServer> {
  try {
    return await startLocalServer(handler, port);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const reason = code === "EADDRINUSE" ? "another program has it" : message;
    const remedy = "Choose another with --port, or --port 0 for a free one.";
    throw new SuperlensError("cli/port", `The page cannot have port ${port}: ${reason}. ${remedy}`, { cause });
  }
}

/** Prints a page's address, and ends the page when the command is interrupted. */
export async function untilInterrupted(page: LocalServer, path: string, quiet = false): Promise<void> {
  print(`${page.origin}/${path}`);
  if (!quiet) note("superlens: open this address in a browser with WebGPU; Ctrl-C ends the server");
  await new Promise<void>((resolve) => stop.signal.addEventListener("abort", () => resolve(), { once: true }));
  await page.close();
}
