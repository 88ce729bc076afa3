/** Who wrote the answer: direct logit attribution as bars, and attribution patching beside the exact sweep. */
import type { ResultOf } from "../client.ts";
import { Downloads } from "../download.tsx";
import { activeEdits } from "../state.ts";
import { useCall } from "../use-call.ts";
import { CallStatus, Card, Choice } from "../widgets.tsx";
import { type AnswerChoice, Answers, useAnswers } from "./answers.tsx";
import { GridDownloads, PairOfPrompts, PatchTable, usePatching } from "./patch.tsx";
import type { ViewProps } from "./view.ts";

export function AttributionView(props: ViewProps) {
  const { engine, state, setting } = props;
  const answers = useAnswers(props);
  const by = (state.settings["attribution.by"] ?? "component") as "component" | "head";
  const edits = activeEdits(state);
  const parts = useCall(
    engine,
    "contributions",
    answers.chosen && state.text !== "" ? { text: state.text, edits, metric: answers.chosen, by } : undefined,
  );
  return (
    <>
      <Card title="Who writes the answer">
        <div class="row">
          <Choice
            label="by"
            value={by}
            options={[
              ["component", "layer"],
              ["head", "head"],
            ]}
            onChange={(value) => setting("attribution.by", value)}
          />
          <Answers {...props} answers={answers} />
        </div>
        <CallStatus call={parts} what="Attributing" />
        {parts.result && <SignedBars {...parts.result} />}
        {parts.result && <PartsDownloads engine={engine} parts={parts.result} />}
      </Card>
      <PairOfPrompts {...props} />
      <Comparison {...props} answers={answers} />
    </>
  );
}

function PartsDownloads({
  engine,
  parts: { labels, values },
}: {
  engine: ViewProps["engine"];
  parts: ResultOf<"contributions">;
}) {
  const rows = labels.map((name, index) => ({ name, values: [values[index] as number] }));
  const byName = Object.fromEntries(rows.map((row) => [row.name, row.values[0] as number]));
  const figure = {
    kind: "barChart",
    values: byName,
    options: { title: "Direct logit attribution", measure: "logits" },
  } as const;
  return <Downloads engine={engine} name="logit-attribution" table={{ columns: ["logits"], rows }} figure={figure} />;
}

function SignedBars({ labels, values, total }: ResultOf<"contributions">) {
  const full = Math.max(...values.map(Math.abs), 1e-9);
  const order = labels.map((label, index) => ({ label, value: values[index] as number }));
  const shown = order.length > 40 ? order.sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 40) : order;
  return (
    <table class="bars">
      <tbody>
        {shown.map(({ label, value }) => (
          <tr key={label}>
            <th scope="row">{label}</th>
            <td class="signed">
              <span class={value < 0 ? "bar minus" : "bar"} style={{ width: `${(50 * Math.abs(value)) / full}%` }} />
            </td>
            <td class="right">{value.toFixed(2)}</td>
          </tr>
        ))}
        <tr>
          <th scope="row">{shown.length < order.length ? `all ${order.length} together` : "total"}</th>
          <td />
          <td class="right">{total.toFixed(2)}</td>
        </tr>
      </tbody>
    </table>
  );
}

function Comparison({ answers, ...props }: ViewProps & { answers: AnswerChoice }) {
  const { engine, model } = props;
  const { asked, choose, button } = usePatching(props, answers);
  const first = useCall(engine, "attribution", asked, { isFresh: true });
  const exact = useCall(engine, "patch", asked, { isFresh: true });
  const sweep = (exact.result ?? exact.progress?.part) as ResultOf<"patch"> | undefined;
  return (
    <Card title="To first order, and exactly">
      <div class="row">
        {choose}
        {button("Compare")}
      </div>
      <CallStatus call={first} what="One backward pass" />
      <CallStatus call={exact} what="The exact sweep" />
      <div class="side">
        {first.result && (
          <figure>
            <figcaption>attribution patching</figcaption>
            <PatchTable grid={first.result} rows={model.spec.nLayers} />
            <GridDownloads engine={engine} name="attribution-patching" grid={first.result} />
          </figure>
        )}
        {sweep && (
          <figure>
            <figcaption>activation patching</figcaption>
            <PatchTable grid={sweep} rows={model.spec.nLayers} />
          </figure>
        )}
      </div>
    </Card>
  );
}
