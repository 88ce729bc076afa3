/** The constructive transformer: sliders for the examples of each task, and its heads' weights beside what is counted. */
import { useState } from "preact/hooks";
import type { ResultOf } from "../client.ts";
import { useCall } from "../use-call.ts";
import { CallStatus, Card, percent } from "../widgets.tsx";
import { Distribution } from "./prompt.tsx";
import type { ViewProps } from "./view.ts";

export function SuperpositionView(props: ViewProps) {
  if (!props.model.construction)
    return (
      <Card title="Superposition">
        <p>This view is about the constructive transformer. Load it in the Model view.</p>
      </Card>
    );
  return <Construction {...props} />;
}

function Construction({ engine, state, setting, model }: ViewProps) {
  const plan = model.construction as NonNullable<typeof model.construction>;
  const counts =
    countsOf(state.settings["superposition.counts"], plan.tasks.length) ?? evenly(plan.tasks.length, plan.examples);
  const seed = Number(state.settings["superposition.seed"] ?? 0);
  const own = state.settings["superposition.text"];
  const weight = state.settings["superposition.weight"]?.split(",").map(Number);
  const look = useCall(engine, "superposition", {
    seed,
    ...(own === undefined ? { counts } : { text: own }),
    ...(weight && { weight }),
  });
  const [draft, setDraft] = useState<string>();
  const setCount = (task: number, value: number) =>
    setting("superposition.counts", moved(counts, task, value, plan.examples).join(","));
  return (
    <>
      <Card title={`${plan.examples} examples of ${plan.tasks.length} tasks`}>
        {counts.map((count, task) => (
          <label key={plan.tasks[task]} class="slider">
            {plan.tasks[task]}
            <input
              type="range"
              min={0}
              max={plan.examples}
              value={count}
              disabled={own !== undefined}
              onInput={(event) => setCount(task, Number(event.currentTarget.value))}
            />
            {count}
          </label>
        ))}
        <button type="button" onClick={() => setting("superposition.seed", `${seed + 1}`)}>
          Other examples
        </button>
        <CallStatus call={look} what="Running the model" />
        {look.result && <pre class="written">{look.result.prompt.join("\n")}</pre>}
        <details>
          <summary>A prompt of your own</summary>
          <textarea
            rows={8}
            value={draft ?? own ?? look.result?.prompt.join("\n") ?? ""}
            aria-label="A prompt of your own"
            onInput={(event) => setDraft(event.currentTarget.value)}
          />
          <button
            type="button"
            onClick={() => setting("superposition.text", draft ?? own ?? look.result?.prompt.join("\n") ?? "")}
          >
            Use it
          </button>
          <button type="button" disabled={own === undefined} onClick={() => setting("superposition.text", "")}>
            Back to the sliders
          </button>
        </details>
      </Card>
      {look.result && (
        <Weights
          look={look.result}
          weight={weight}
          set={(values) => setting("superposition.weight", values?.join(",") ?? "")}
        />
      )}
      {look.result && <Mixture {...look.result} />}
      {look.result && <Trained engine={engine} text={look.result.prompt.join("\n")} />}
    </>
  );
}

/** The counts of an address, where it has one whole number for each task. */
function countsOf(text: string | undefined, tasks: number): number[] | undefined {
  const counts = text?.split(",").map(Number);
  return counts?.length === tasks && counts.every((count) => Number.isInteger(count) && count >= 0)
    ? counts
    : undefined;
}

const evenly = (tasks: number, examples: number) =>
  Array.from({ length: tasks }, (_, task) => Math.floor(examples / tasks) + (task < examples % tasks ? 1 : 0));

/** Sets one count and takes the difference from the others, the largest first, so that they still add up. */
export function moved(counts: readonly number[], task: number, value: number, total: number): number[] {
  const next = [...counts];
  next[task] = Math.min(total, Math.max(0, value));
  for (let excess = next.reduce((sum, count) => sum + count, 0) - total; excess !== 0; excess -= Math.sign(excess)) {
    const others = next.map((count, index) => ({ count, index })).filter(({ index }) => index !== task);
    const pick = excess > 0 ? others.sort((a, b) => b.count - a.count)[0] : others.sort((a, b) => a.count - b.count)[0];
    (next[(pick as { index: number }).index] as number) -= Math.sign(excess);
  }
  return next;
}

function Weights({
  look,
  weight,
  set,
}: {
  look: ResultOf<"superposition">;
  weight: number[] | undefined;
  set: (weight: number[] | undefined) => void;
}) {
  const now = weight ?? look.tasks.map((task) => task.weight);
  return (
    <Card title="The weight of each task">
      <table class="bars">
        <thead>
          <tr>
            <th>task</th>
            <th>examples</th>
            <th>WEIGHT, to be dragged</th>
            <th>attention of its head</th>
            <th>answer</th>
          </tr>
        </thead>
        <tbody>
          {look.tasks.map(({ task: name, explains, attention, answer }, task) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{explains}</td>
              <td>
                <input
                  type="range"
                  min={0}
                  max={1}
                  step={0.01}
                  value={now[task]}
                  aria-label={`WEIGHT of ${name}`}
                  onInput={(event) =>
                    set(now.map((each, index) => (index === task ? Number(event.currentTarget.value) : each)))
                  }
                />
                {(now[task] as number).toFixed(2)}
              </td>
              <td>
                <meter value={attention} max={1} aria-label={`attention of the head of ${name}`} />{" "}
                {attention.toFixed(3)}
              </td>
              <td>{answer ?? "none"}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {weight && (
        <button type="button" onClick={() => set(undefined)}>
          Back to the counted weights
        </button>
      )}
    </Card>
  );
}

function Mixture({ tokens, largestDifference }: ResultOf<"superposition">) {
  return (
    <Card title="The mixture">
      <table class="bars">
        <thead>
          <tr>
            <th>answer</th>
            <th>expected</th>
            <th>computed</th>
          </tr>
        </thead>
        <tbody>
          {tokens.map(({ token, exact, model }) => (
            <tr key={token}>
              <th scope="row">{token}</th>
              <td>
                <meter value={exact} max={1} aria-label={`counted probability of ${token}`} /> {percent(exact)}
              </td>
              <td>
                <meter value={model} max={1} aria-label={`computed probability of ${token}`} /> {percent(model)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="quiet">They differ by at most {largestDifference.toExponential(1)}.</p>
    </Card>
  );
}

/** The small model that is asked the same: it was trained on lines of this form, with a tenth of the examples of another task. */
const TRAINED = "models/lc-mix10";

/** The same prompt in a trained model, beside the constructed one. */
function Trained({ engine, text }: { engine: ViewProps["engine"]; text: string }) {
  const answers = useCall(engine, "beside", { address: TRAINED, text: `\n${text}`, k: 6 });
  return (
    <Card title="The same prompt in a trained model">
      <CallStatus call={answers} what="Asking the trained model" />
      {answers.result && <Distribution likely={answers.result} />}
      <p class="quiet">
        It has two layers of four heads and was trained on such lines, not built. Its answers lean to the tasks of the
        examples, but do not count them.
      </p>
    </Card>
  );
}
