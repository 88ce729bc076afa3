/** Small pieces that several views share. */
import type { ComponentChildren, JSX } from "preact";
import { visible as visibleText } from "../pictures/labels.ts";
import type { Progress } from "./protocol.ts";
import type { CallState } from "./use-call.ts";

/** A token as a chip: whitespace is made visible, the id is its tooltip. */
export function Token({
  label,
  id,
  isSpecial = false,
  isChosen = false,
  onClick,
}: {
  label: string;
  id: number;
  isSpecial?: boolean;
  isChosen?: boolean;
  onClick?: () => void;
}) {
  const classes = ["token", isSpecial && "special", isChosen && "chosen"].filter(Boolean).join(" ");
  return (
    <button type="button" class={classes} title={`token ${id}`} aria-pressed={isChosen} onClick={onClick}>
      {visible(label)}
    </button>
  );
}

/** A token as text that can be seen. */
export const visible = (text: string): string => (text === "" ? "∅" : visibleText(text));

/** What a call says of itself: that it runs, how far it is and how to stop it, or what went wrong. */
export function CallStatus({
  call,
  what,
  unit = () => "",
}: {
  call: CallState<unknown>;
  what: string;
  /** How far it is, in words. */
  unit?: (progress: Progress) => string;
}) {
  if (call.error) return <Problem error={call.error} />;
  // The live region holds the name alone: a screen reader would read every step of the progress.
  return (
    <p class="status">
      <span role="status">{call.isRunning ? what : ""}</span>
      {call.isRunning && (
        <>
          {" "}
          <Bar progress={call.progress} label={what} /> {call.progress && unit(call.progress)}{" "}
          <button type="button" onClick={call.stop}>
            Stop
          </button>
        </>
      )}
    </p>
  );
}

function Bar({ progress, label }: { progress: Progress | undefined; label: string }) {
  if (!progress) return <progress aria-label={label} />;
  return <progress aria-label={label} value={progress.done} max={progress.total} />;
}

export function Problem({ error }: { error: Error & { code?: string | undefined } }) {
  return (
    <p class="problem" role="alert">
      {error.message} {error.code !== undefined && <code>{error.code}</code>}
    </p>
  );
}

export function Choice<Value extends string>({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: Value;
  options: readonly (readonly [Value, string])[];
  onChange: (value: Value) => void;
}) {
  return (
    <label class="field">
      {label}
      <select value={value} onChange={(event) => onChange(event.currentTarget.value as Value)}>
        {options.map(([each, text]) => (
          <option key={each} value={each}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

export function NumberField({
  label,
  value,
  onChange,
  ...rest
}: { label: string; value: number; onChange: (value: number) => void } & Pick<
  JSX.IntrinsicElements["input"],
  "min" | "max" | "step"
>) {
  return (
    <label class="field">
      {label}
      <input type="number" value={value} {...rest} onChange={(event) => onChange(Number(event.currentTarget.value))} />
    </label>
  );
}

export function Card({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section class="card">
      <h2>{title}</h2>
      {children}
    </section>
  );
}

export const bytes = (count: number): string => {
  const units = ["bytes", "kB", "MB", "GB"];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${units[unit]}`;
};

export const percent = (share: number): string => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}%`;
