/** The metric of patching and attribution: a token's logit, or how far it is above another's. */

import type { ResultOf } from "../client.ts";
import { type CallState, useCall } from "../use-call.ts";
import { CallStatus, Choice, visible } from "../widgets.tsx";
import type { ViewProps } from "./view.ts";

/** What the model expects after each prompt, without edits, and the tokens that the metric compares. */
export interface AnswerChoice {
  readonly right: CallState<ResultOf<"next">>;
  readonly wrong: CallState<ResultOf<"next">>;
  /** Undefined until the model was asked. */
  readonly chosen: { readonly answer: number; readonly other: number | undefined } | undefined;
}

const OFFERED = 30;
/** The setting of a metric that is one token's logit. */
const NONE = "none";

/** The tokens that were chosen, else what the model expects after each prompt. An answer is never that of another prompt. */
export function useAnswers({ engine, state }: ViewProps): AnswerChoice {
  const asked = (text: string) => (text === "" ? undefined : { text, edits: [], position: -1, k: OFFERED });
  const right = useCall(engine, "next", asked(state.text), { isFresh: true });
  const wrong = useCall(engine, "next", asked(state.corrupted), { isFresh: true });
  const set = (name: string, call: CallState<ResultOf<"next">>) => {
    const setting = state.settings[`metric.${name}`];
    return setting === undefined ? call.result?.[0]?.id : setting === NONE ? undefined : Number(setting);
  };
  const [answer, other] = [set("answer", right), set("other", wrong)];
  const isKnown = answer !== undefined && !right.isRunning && !wrong.isRunning;
  return { right, wrong, chosen: isKnown ? { answer, other: other === answer ? undefined : other } : undefined };
}

/** Lets a person choose the two tokens among what the model expects after either prompt. */
export function Answers({ setting, answers }: ViewProps & { answers: AnswerChoice }) {
  const { right, wrong, chosen } = answers;
  const offered = [...(right.result ?? []), ...(wrong.result ?? [])];
  const labels = new Map(offered.map(({ id, label }) => [`${id}`, visible(label)] as const));
  for (const id of [chosen?.answer, chosen?.other])
    if (id !== undefined && !labels.has(`${id}`)) labels.set(`${id}`, `token ${id}`);
  const options = [...labels];
  return (
    <>
      {right.error && <CallStatus call={right} what="Asking the model" />}
      {wrong.error && <CallStatus call={wrong} what="Asking the model" />}
      {chosen && (
        <>
          <Choice
            label="answer"
            value={`${chosen.answer}`}
            options={options}
            onChange={(value) => setting("metric.answer", value)}
          />
          <Choice
            label="minus"
            value={`${chosen.other ?? NONE}`}
            options={[[NONE, "nothing"], ...options]}
            onChange={(value) => setting("metric.other", value)}
          />
        </>
      )}
    </>
  );
}
