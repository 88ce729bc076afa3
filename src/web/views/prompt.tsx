/** A prompt as tokens, what the model expects after any of them, and its continuation. */
import { useState } from "preact/hooks";
import type { ResultOf } from "../client.ts";
import { save } from "../download.tsx";
import { activeEdits } from "../state.ts";
import { useCall } from "../use-call.ts";
import { CallStatus, Card, NumberField, Problem, percent, Token, visible } from "../widgets.tsx";
import { numberSetting, type ViewProps } from "./view.ts";

export function PromptView(props: ViewProps) {
  const { engine, state } = props;
  const edits = activeEdits(state);
  const tokens = useCall(engine, "tokens", state.text === "" ? undefined : { text: state.text });
  const count = tokens.result?.length ?? 0;
  const position = numberSetting(props, "prompt.position", Math.max(0, count - 1), Math.max(0, count - 1));
  const next = useCall(engine, "next", count === 0 ? undefined : { text: state.text, edits, position, k: 15 });
  return (
    <>
      <Card title="Tokens">
        <CallStatus call={tokens} what="Cutting the text" />
        <div class="tokens">
          {tokens.result?.map(({ id, label, isSpecial }, index) => (
            <Token
              key={index}
              id={id}
              label={label}
              isSpecial={isSpecial}
              isChosen={index === position}
              onClick={() => props.setting("prompt.position", `${index}`)}
            />
          ))}
        </div>
        {count > 0 && <p class="quiet">{count} tokens. Choose one to see what the model expects after it.</p>}
      </Card>
      <Card title={`The next token after position ${position}`}>
        <CallStatus call={next} what="Running the model" />
        {next.result && <Distribution likely={next.result} />}
      </Card>
      <Generation {...props} />
      <Activations {...props} />
    </>
  );
}

export function Distribution({ likely }: { likely: ResultOf<"next"> }) {
  return (
    <table class="bars">
      <thead>
        <tr>
          <th>token</th>
          <th>probability</th>
          <th class="right">logit</th>
        </tr>
      </thead>
      <tbody>
        {likely.map(({ id, label, probability, logit }) => (
          <tr key={id}>
            <th scope="row" title={`token ${id}`}>
              {visible(label)}
            </th>
            <td>
              <meter value={probability} max={1} aria-label={`probability of ${label}`} /> {percent(probability)}
            </td>
            <td class="right">{logit.toFixed(2)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const SAMPLING = [
  ["temperature", 0, { min: 0, step: 0.1 }],
  ["topK", 0, { min: 0, step: 1 }],
  ["topP", 1, { min: 0, max: 1, step: 0.05 }],
  ["minP", 0, { min: 0, max: 1, step: 0.05 }],
  ["repetitionPenalty", 1, { min: 0.1, step: 0.1 }],
] as const;

function Generation({ engine, state, setting, change }: ViewProps) {
  const options: Record<string, number> = { maxNewTokens: Number(state.settings["prompt.tokens"] ?? 20) };
  for (const [name, off] of SAMPLING) {
    const value = Number(state.settings[`prompt.${name}`] ?? off);
    if (value !== off) options[name] = value;
  }
  const isDrawn = (options.temperature ?? 0) > 0;
  const args = {
    text: state.text,
    edits: activeEdits(state),
    options: isDrawn ? { ...options, seed: Number(state.settings["prompt.seed"] ?? 0) } : options,
  };
  const [asked, setAsked] = useState<typeof args & { run: number }>();
  const generation = useCall(engine, "generate", asked, { isFresh: true });
  const written = (generation.result ?? generation.progress?.part ?? "") as string;
  return (
    <Card title="Continue">
      <div class="row">
        <NumberField
          label="tokens"
          value={options.maxNewTokens ?? 20}
          min={1}
          max={500}
          onChange={(value) => setting("prompt.tokens", `${value}`)}
        />
        {SAMPLING.map(([name, off, limits]) => (
          <NumberField
            key={name}
            label={name}
            value={options[name] ?? off}
            {...limits}
            onChange={(value) => setting(`prompt.${name}`, `${value}`)}
          />
        ))}
        {isDrawn && (
          <NumberField
            label="seed"
            value={Number(state.settings["prompt.seed"] ?? 0)}
            onChange={(value) => setting("prompt.seed", `${value}`)}
          />
        )}
        <button
          type="button"
          class="main"
          disabled={state.text === ""}
          onClick={() => setAsked({ ...args, run: (asked?.run ?? 0) + 1 })}
        >
          Generate
        </button>
        <button type="button" disabled={written === ""} onClick={() => change({ text: `${asked?.text}${written}` })}>
          Take it as the prompt
        </button>
      </div>
      <CallStatus call={generation} what="Generating" />
      <pre class="written" aria-live="polite">
        {asked?.text}
        <mark>{written}</mark>
      </pre>
    </Card>
  );
}

/** Activations of this prompt as a file, which Python's safetensors package opens, too. */
function Activations({ engine, state, setting }: ViewProps) {
  const points = state.settings["prompt.points"] ?? "*.hook_resid_post";
  const [error, setError] = useState<Error>();
  const take = async () => {
    try {
      save(
        "activations.safetensors",
        await engine.call("activations", { text: state.text, edits: activeEdits(state), points }),
      );
      setError(undefined);
    } catch (cause) {
      setError(cause as Error);
    }
  };
  return (
    <Card title="Activations">
      <div class="row">
        <label class="field wide">
          points, with * for anything
          <input value={points} onInput={(event) => setting("prompt.points", event.currentTarget.value)} />
        </label>
        <button type="button" disabled={state.text === ""} onClick={() => void take()}>
          Save as safetensors
        </button>
      </div>
      {error && <Problem error={error} />}
    </Card>
  );
}
