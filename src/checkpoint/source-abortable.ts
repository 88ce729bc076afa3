/** Any source, made to obey a signal: its own calls may hang for ever, but nobody waits for them. */
import { abortable, pause } from "../abort.ts";
import type { CheckpointSource } from "./source.ts";

/** How long closing an aborted source may take before nobody waits for it: usually it removes half a download. */
const CLOSING_MS = 50;

/** `source`, whose calls reject with `signal.reason` as soon as the signal is aborted. */
export function obeying(source: CheckpointSource, signal: AbortSignal | undefined): CheckpointSource {
  if (!signal) return source;
  const obey = async <T>(call: () => Promise<T>): Promise<T> => {
    signal.throwIfAborted();
    return abortable(call(), signal);
  };
  return {
    label: source.label,
    list: source.list && (() => obey(async () => (await source.list?.()) ?? [])),
    exists: (file) => obey(() => source.exists(file)),
    size: (file) => obey(() => source.size(file)),
    read: (file, start, end) => obey(() => source.read(file, start, end)),
    readAll: (file, maxBytes) => obey(() => source.readAll(file, maxBytes)),
    renew: (file) => obey(async () => (await source.renew?.(file)) ?? false),
    close: () => closeSoon(source, signal),
  };
}

async function closeSoon(source: CheckpointSource, signal: AbortSignal): Promise<void> {
  const closing = (async () => source.close?.())();
  if (!signal.aborted) return closing;
  closing.catch(() => undefined);
  await Promise.race([closing, pause(CLOSING_MS)]);
}
