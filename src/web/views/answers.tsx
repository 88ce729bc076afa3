/** The metric of patching and attribution: a token's logit, or how far it is above another's. */

import { activeEdits } from "../state.ts";
import { useCall } from "../use-call.ts";
import { Choice, visible } from "../widgets.tsx";
import type { ViewProps } from "./view.ts";

/** The tokens that the metric compares: those that were chosen, else what the model expects after each prompt. */
export function useAnswers(props: ViewProps): { answer: number; other: number | undefined } | undefined {
  const { engine, state } = props;
  const edits = activeEdits(state);
  const asked = (text: string) => (text === "" ? undefined : { text, edits, position: -1, k: 1 });
  const right = useCall(engine, "next", asked(state.text));
  const wrong = useCall(engine, "next", asked(state.corrupted));
  const answer = Number(state.settings["metric.answer"] ?? right.result?.[0]?.id ?? Number.NaN);
  const other = Number(state.settings["metric.other"] ?? wrong.result?.[0]?.id ?? Number.NaN);
  if (Number.isNaN(answer)) return undefined;
  return { answer, other: Number.isNaN(other) || other === answer ? undefined : other };
}

/** Lets a person choose the two tokens among what the model expects after either prompt. */
export function Answers(props: ViewProps & { chosen: { answer: number; other: number | undefined } | undefined }) {
  const { engine, state, setting, chosen } = props;
  const right = useCall(
    engine,
    "next",
    state.text === "" ? undefined : { text: state.text, edits: activeEdits(state), position: -1, k: 30 },
  );
  const wrong = useCall(
    engine,
    "next",
    state.corrupted === "" ? undefined : { text: state.corrupted, edits: activeEdits(state), position: -1, k: 30 },
  );
  const labels = new Map(
    [...(right.result ?? []), ...(wrong.result ?? [])].map(({ id, label }) => [`${id}`, visible(label)] as const),
  );
  const options = [...labels];
  if (!chosen || options.length === 0) return null;
  return (
    <>
      <Choice
        label="answer"
        value={`${chosen.answer}`}
        options={options}
        onChange={(value) => setting("metric.answer", value)}
      />
      <Choice
        label="minus"
        value={`${chosen.other ?? ""}`}
        options={[["", "nothing"], ...options]}
        onChange={(value) => setting("metric.other", value)}
      />
    </>
  );
}
