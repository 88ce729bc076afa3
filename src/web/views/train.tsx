/** Training from scratch in the tab: the loss while it falls, and the curve of mixtures as it forms. */
import { useState } from "preact/hooks";
import type { Engine, ResultOf } from "../client.ts";
import { Downloads, save } from "../download.tsx";
import type { FigureSpec } from "../engine/figures.ts";
import { useCall } from "../use-call.ts";
import { CallStatus, Card, Choice, NumberField } from "../widgets.tsx";
import { Plot } from "./plot.tsx";
import type { ViewProps } from "./view.ts";

const PRESETS = [
  ["lc-d16", "16 wide, one task a prompt: the quickest"],
  ["lc-d32", "32 wide, one task a prompt"],
  ["lc", "64 wide, one task a prompt"],
  ["lc-mix10", "64 wide, a tenth of the examples of another task"],
] as const;
type PresetName = (typeof PRESETS)[number][0];

export function TrainView({
  engine,
  state,
  setting,
  begin,
  look,
}: Pick<ViewProps, "engine" | "state" | "setting"> & { begin: () => void; look: (run: number) => void }) {
  const preset = (state.settings["train.preset"] ?? "lc-d16") as PresetName;
  const steps = Number(state.settings["train.steps"] ?? 400);
  const every = Number(state.settings["train.every"] ?? 50);
  const [asked, setAsked] = useState<{ preset: string; steps: number; every: number; resume: boolean; run: number }>();
  const training = useCall(engine, "train", asked, { isFresh: true });
  const now = (training.result ?? training.progress?.part) as ResultOf<"train"> | undefined;
  const start = (resume: boolean) => {
    begin();
    setAsked({ preset, steps, every, resume, run: (asked?.run ?? 0) + 1 });
  };
  const isStopped =
    asked?.preset === preset && asked.steps === steps && !training.isRunning && training.result === undefined;
  const download = async () => {
    for (const { name, blob } of await engine.call("trained", {})) save(name, blob);
  };
  return (
    <>
      <Card title="Train a small model from scratch">
        <p class="quiet">
          The model reads lines of additions in four languages and of countries, and learns to answer the last one. When
          does a prompt with two tasks in it make it answer both? Leaving this view stops the run.
        </p>
        <div class="row">
          <Choice label="model" value={preset} options={PRESETS} onChange={(value) => setting("train.preset", value)} />
          <NumberField
            label="steps"
            value={steps}
            min={1}
            max={5000}
            onChange={(value) => setting("train.steps", `${value}`)}
          />
          <NumberField
            label="curve every"
            value={every}
            min={1}
            max={5000}
            onChange={(value) => setting("train.every", `${value}`)}
          />
          <button type="button" class="main" disabled={training.isRunning} onClick={() => start(false)}>
            Train
          </button>
          <button type="button" disabled={!isStopped} onClick={() => start(true)}>
            Continue
          </button>
          <button type="button" disabled={training.result === undefined} onClick={() => void download()}>
            Save the model
          </button>
          <button
            type="button"
            disabled={asked === undefined || training.isRunning || training.error !== undefined}
            onClick={() => look(asked?.run ?? 0)}
          >
            Look inside it
          </button>
        </div>
        <CallStatus call={training} what="Training" />
      </Card>
      {now && <Loss engine={engine} training={now} />}
      {now && now.curve.length > 0 && <Curve engine={engine} training={now} />}
    </>
  );
}

/** At most so many points of the loss are drawn. */
const MOST_POINTS = 200;

function Loss({ engine, training: { steps, accuracy } }: { engine: Engine; training: ResultOf<"train"> }) {
  const last = steps.at(-1);
  const stride = Math.ceil(steps.length / MOST_POINTS);
  // Drawn again after each tenth part of what there is, not after each step.
  const drawn = steps.slice(0, steps.length - (steps.length % Math.max(1, Math.floor(steps.length / 10))));
  const line = drawn.filter((_, index) => index % stride === 0).map(({ step, loss }) => [step, loss] as const);
  const spec: FigureSpec = {
    kind: "pointPlot",
    values: [{ name: "loss", line }],
    options: { title: "Loss", x: { label: "step" }, y: { label: "loss (nats a token)", from: 0 } },
  };
  return (
    <Card title={`Step ${last?.step ?? 0}: loss ${last?.loss.toFixed(3) ?? ""}`}>
      {line.length > 1 && (
        <Plot engine={engine} spec={spec} label={`The loss over ${last?.step} steps, now ${last?.loss.toFixed(3)}`} />
      )}
      {accuracy && (
        <p>
          Right on held-out queries:{" "}
          {Object.entries(accuracy)
            .map(([family, part]) => `${family} ${(100 * part).toFixed(0)}%`)
            .join(", ")}
        </p>
      )}
      <Downloads
        engine={engine}
        name="loss"
        figure={spec}
        table={{ columns: ["loss"], rows: steps.map(({ step, loss }) => ({ name: `${step}`, values: [loss] })) }}
      />
    </Card>
  );
}

function Curve({ engine, training: { curve, curveStep } }: { engine: Engine; training: ResultOf<"train"> }) {
  const spec: FigureSpec = {
    kind: "pointPlot",
    values: [
      { name: "first task's answer", line: curve.map(({ share, first }) => [share, first] as const) },
      { name: "second task's answer", line: curve.map(({ share, second }) => [share, second] as const) },
      { name: "prompts with both above 0.2", line: curve.map(({ share, both }) => [share, both] as const) },
    ],
    options: {
      title: "Two tasks in one prompt",
      x: { label: "share of the first task's examples", from: 0, to: 1 },
      y: { label: "probability, and part of prompts", from: 0, to: 1 },
    },
  };
  const rows = curve.map(({ share, first, second, both }) => ({ name: `${share}`, values: [first, second, both] }));
  return (
    <Card title={`Mixtures after ${curveStep} steps`}>
      <Plot
        engine={engine}
        spec={spec}
        label={`Probabilities of two tasks' answers over the share of the first, after ${curveStep} steps`}
      />
      <p class="quiet">
        The mean may follow the share though each prompt makes the model pick one task: the third line says in how many
        prompts both answers have more than a fifth.
      </p>
      <Downloads
        engine={engine}
        name="mixtures"
        figure={spec}
        table={{ columns: ["first", "second", "both above 0.2"], rows }}
      />
    </Card>
  );
}
