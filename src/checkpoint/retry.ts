/**
 * Networks fail for a moment. A request is repeated a few times when the failure can pass: the connection broke, or the
 * server said 429 or 5xx. The pause grows by itself, or is what the server asks for. Anything else (404, 403, a malformed
 * answer) will not get better.
 */
import { pause } from "../abort.ts";
import { SuperlensError } from "../errors.ts";
import * as s from "../schema/schema.ts";

/** How often and how patiently to try. */
export interface RetryOptions {
  /** Tries in all; 4 unless told. */
  attempts?: number;
  /** Pause after the first failure in milliseconds, doubled each time; 250 unless told. */
  delayMs?: number;
  /** The longest pause that a server may ask for (`Retry-After`, `RateLimit`), in milliseconds; 5 minutes unless told. */
  maxWaitMs?: number;
  /** A try in which nothing arrives for so many milliseconds has failed; 60 seconds unless told. */
  timeoutMs?: number;
}

const milliseconds = s.wholeFrom(0);

export const RETRY_OPTIONS = s.object<RetryOptions>("options of retries", {
  attempts: s.wholeFrom(1),
  delayMs: milliseconds,
  maxWaitMs: milliseconds,
  timeoutMs: s.wholeFrom(1),
});

/** What a retried request does meanwhile. */
export interface RetryContext {
  signal?: AbortSignal | undefined;
  /** Told of a pause that the server asked for. */
  onWait?: (error: HttpStatusError, ms: number) => void;
}

const DEFAULT_ATTEMPTS = 4;
const DEFAULT_DELAY_MS = 250;
/** The Hub counts requests in windows of 5 minutes. */
const DEFAULT_MAX_WAIT_MS = 300_000;

/** An HTTP answer that is not a success. */
export class HttpStatusError extends Error {
  readonly status: number;
  /** `X-Error-Code`, by which a Hub says what is missing or forbidden. */
  readonly errorCode: string | null;
  /** Milliseconds after which the server wants to be asked again, if it says so. */
  readonly retryAfterMs: number | undefined;

  constructor(response: Response) {
    const said = response.headers.get("x-error-message");
    super(`the server answered ${response.status}${said ? ` (${said.slice(0, 200)})` : ""}`);
    this.status = response.status;
    this.errorCode = response.headers.get("x-error-code");
    this.retryAfterMs = retryAfterMs(response.headers);
  }
}

/**
 * `RateLimit: "api";r=0;t=55` (https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-09.html) says that
 * nothing is left for 55 seconds; `Retry-After` (RFC 9110, section 10.2.3) has seconds or a date.
 */
function retryAfterMs(headers: Headers): number | undefined {
  const [, left, reset] = /;\s*r\s*=\s*(\d+)\s*;\s*t\s*=\s*(\d+)/.exec(headers.get("ratelimit") ?? "") ?? [];
  if (Number(left) === 0) return Number(reset) * 1000;
  const value = headers.get("retry-after");
  if (value === null) return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const ms = Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** Whether trying again may help. A failed fetch has no status; our own typed errors are verdicts. */
function isTransient(error: unknown, maxWaitMs: number): boolean {
  if (error instanceof SuperlensError) return false;
  if (!(error instanceof HttpStatusError)) return true;
  const { status, retryAfterMs: wait = 0 } = error;
  return (status === 429 || status >= 500) && wait <= maxWaitMs;
}

/**
 * Runs `attempt` until it succeeds, fails for good, or `attempts` are used up; then throws its last error. A server that
 * asks for a longer pause than `maxWaitMs` is not waited for.
 * @throws `signal.reason` as soon as the signal is aborted, also during a pause
 */
export async function withRetries<Result>(
  attempt: () => Promise<Result>,
  options: RetryOptions = {},
  { signal, onWait }: RetryContext = {},
): Promise<Result> {
  const { attempts = DEFAULT_ATTEMPTS, delayMs = DEFAULT_DELAY_MS, maxWaitMs = DEFAULT_MAX_WAIT_MS } = options;
  for (let tried = 1; ; tried++) {
    try {
      return await attempt();
    } catch (error) {
      signal?.throwIfAborted();
      if (tried >= attempts || !isTransient(error, maxWaitMs)) throw error;
      const asked = error instanceof HttpStatusError ? error.retryAfterMs : undefined;
      if (asked) onWait?.(error as HttpStatusError, asked);
      // Servers round the pause that they ask for; the usual one on top of it makes up for that.
      await pause((asked ?? 0) + delayMs * 2 ** (tried - 1), signal);
    }
  }
}
