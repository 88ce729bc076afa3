/** The edits of the running model: a list to reorder, switch off, save and paste, and the script that does the same. */
import { useState } from "preact/hooks";
import type { Edit } from "../../hooks/index.ts";
import { activeEdits, type ListedEdit, type PageState } from "../state.ts";
import { useCall } from "../use-call.ts";
import { Card } from "../widgets.tsx";
import type { ViewProps } from "./view.ts";

export function EditList({ engine, state, change, model }: Pick<ViewProps, "engine" | "state" | "change" | "model">) {
  const { edits } = state;
  const isAsked = !model.hasTokenizer && model.takesText === true && state.text !== "";
  const tokens = useCall(engine, "tokens", isAsked ? { text: state.text } : undefined);
  const [typed, setTyped] = useState("");
  const [error, setError] = useState<string>();
  const put = (next: readonly ListedEdit[]) => change({ edits: next });
  const swap = (index: number) =>
    put(
      edits.map((each, place) =>
        place === index - 1 ? (edits[index] as ListedEdit) : place === index ? (edits[index - 1] as ListedEdit) : each,
      ),
    );
  const add = () => {
    try {
      const read = JSON.parse(typed) as Edit | Edit[];
      if (![read].flat().every((edit) => typeof edit === "object" && edit !== null)) throw new Error("no edit");
      put([...edits, ...[read].flat().map((edit) => ({ edit, isOn: true }))]);
      setTyped("");
      setError(undefined);
    } catch {
      setError('An edit is JSON, such as {"at":"blocks.0.attn.hook_z","op":"zero","heads":[0]}.');
    }
  };
  return (
    <Card title={`Edits (${activeEdits(state).length} on)`}>
      <ol class="edits">
        {edits.map(({ edit, isOn }, index) => (
          <li key={JSON.stringify(edit) + index}>
            <label>
              <input
                type="checkbox"
                checked={isOn}
                onChange={() => put(edits.map((each, place) => (place === index ? { ...each, isOn: !isOn } : each)))}
              />
              <code>{JSON.stringify(edit)}</code>
            </label>
            <button
              type="button"
              disabled={index === 0}
              aria-label={`move edit ${index + 1} up`}
              onClick={() => swap(index)}
            >
              ↑
            </button>
            <button
              type="button"
              aria-label={`remove edit ${index + 1}`}
              onClick={() => put(edits.filter((_, place) => place !== index))}
            >
              ×
            </button>
          </li>
        ))}
      </ol>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault();
          add();
        }}
      >
        <label class="field wide">
          add an edit, or a list of them, as JSON
          <input value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
        </label>
        <button type="submit" disabled={typed === ""}>
          Add
        </button>
      </form>
      {error && (
        <p class="problem" role="alert">
          {error}
        </p>
      )}
      <details>
        <summary>The script that does the same</summary>
        <pre>{scriptOf(state, isAsked ? (tokens.result ?? []).map(({ id }) => id) : state.text)}</pre>
      </details>
    </Card>
  );
}

/** Lines that run the prompt with the edits that are on: a text, or the ids of a model without a tokenizer. */
function scriptOf(state: PageState, prompt: string | number[]): string {
  const isElsewhere = /^(hf:|https?:)/.test(state.model);
  const source = state.model === "" ? "./model" : isElsewhere ? state.model : new URL(state.model, location.href).href;
  return [
    'import { loadModel } from "superlens";',
    "",
    `const model = await loadModel(${JSON.stringify(source)});`,
    `const edits = ${JSON.stringify(activeEdits(state), undefined, 2)};`,
    `const { logits } = await model.forward(${JSON.stringify(prompt)}, { edits, logits: "last" });`,
    "const last = await logits.at(0, -1);",
    "console.log(last.indexOf(Math.max(...last)));",
    "model.destroy();",
  ].join("\n");
}
