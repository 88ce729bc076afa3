/** The page: a model, a prompt, edits, and views of them. Its state is the address. */

import type { ComponentType } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { Engine } from "./client.ts";
import type { SourceChoice } from "./engine/models.ts";
import { EMBEDDED } from "./models.ts";
import { EMPTY, fromHash, type PageState, toHash, VIEWS, type ViewName } from "./state.ts";
import { useCall } from "./use-call.ts";
import { AttentionView } from "./views/attention.tsx";
import { AttributionView } from "./views/attribution.tsx";
import { BenchView } from "./views/bench.tsx";
import { EditList } from "./views/edits.tsx";
import { LensView } from "./views/lens.tsx";
import { ModelView } from "./views/model.tsx";
import { PatchView } from "./views/patch.tsx";
import { PromptView } from "./views/prompt.tsx";
import { SuperpositionView } from "./views/superposition.tsx";
import { TrainView } from "./views/train.tsx";
import type { ViewProps } from "./views/view.ts";
import { bytes, CallStatus, Problem } from "./widgets.tsx";

const CONTENTS: Record<Exclude<ViewName, "model" | "train" | "bench">, ComponentType<ViewProps>> = {
  prompt: PromptView,
  lens: LensView,
  attention: AttentionView,
  patch: PatchView,
  attribution: AttributionView,
  superposition: SuperpositionView,
};

/** What is to be different, or how it follows from the state. */
type Change = Partial<PageState> | ((state: PageState) => Partial<PageState>);

/** The state in the address: read at the start and after back and forward, written with every change. */
function useAddress(): { state: PageState; change: (part: Change) => void; problem: Error | undefined } {
  const read = () => {
    try {
      return { state: fromHash(location.hash), problem: undefined };
    } catch (error) {
      return { state: EMPTY, problem: error as Error };
    }
  };
  const [{ state, problem }, setNow] = useState<{ state: PageState; problem: Error | undefined }>(read);
  useEffect(() => {
    const listen = () => setNow(read());
    addEventListener("popstate", listen);
    addEventListener("hashchange", listen);
    return () => {
      removeEventListener("popstate", listen);
      removeEventListener("hashchange", listen);
    };
  }, []);
  // Of several changes in one event each begins where the one before ended.
  const latest = useRef(state);
  latest.current = state;
  const change = useCallback((part: Change) => {
    const next = { ...latest.current, ...(typeof part === "function" ? part(latest.current) : part) };
    // A step of history for what people call going somewhere; typing and sliding replace the step they are in.
    const isStep = next.view !== latest.current.view || (next.model !== latest.current.model && next.model !== "");
    history[isStep ? "pushState" : "replaceState"](undefined, "", toHash(next));
    latest.current = next;
    setNow({ state: next, problem: undefined });
  }, []);
  return { state, change, problem };
}

/** A prompt to begin with for models that were trained here. */
const TRAINED_TEXT = "\n2+3->five\n1+6->seven\n3+3->";

export function App({ engine }: { engine: Engine }) {
  const { state, change, problem } = useAddress();
  const adapter = useCall(engine, "adapter", {});
  /** A model without an address: files that were picked, or one that was trained here. */
  const [local, setLocal] = useState<SourceChoice>();
  // Counts loads, since files have no value by which to tell them apart, and an address may be tried again.
  const [attempt, setAttempt] = useState(0);
  const source = state.model === "" ? local : { address: state.model };
  const model = useCall(engine, "load", source && { source, attempt }, { isFresh: true });
  const setting = useCallback(
    (name: string, value: string) => {
      change(({ settings: { [name]: _, ...others } }) => ({
        settings: value === "" ? others : { ...others, [name]: value },
      }));
    },
    [change],
  );
  const load = (choice: SourceChoice) => {
    setAttempt((before) => before + 1);
    if (!("address" in choice)) {
      setLocal(choice);
      return change({ model: "", edits: [], settings: {} });
    }
    const beside = EMBEDDED.find(({ address }) => address === choice.address);
    change({
      model: choice.address,
      edits: [],
      settings: {},
      ...(beside && { text: beside.text, corrupted: beside.corrupted }),
    });
  };
  /** Before a run that needs the whole GPU: the engine ends its model then. */
  const begin = () => {
    setLocal(undefined);
    change({ model: "" });
  };
  const View: ComponentType<ViewProps> | undefined = Object.hasOwn(CONTENTS, state.view)
    ? CONTENTS[state.view as keyof typeof CONTENTS]
    : undefined;
  return (
    <>
      <header>
        <h1>superlens</h1>
        <p class="quiet">
          {adapter.result?.line.replace(/^superlens: /, "") ?? (adapter.error ? "" : "Looking for a GPU …")}
        </p>
        <nav aria-label="views">
          {(Object.keys(VIEWS) as ViewName[]).map((name) => (
            <a
              key={name}
              href={toHash({ ...state, view: name })}
              aria-current={name === state.view ? "page" : undefined}
            >
              {VIEWS[name]}
            </a>
          ))}
        </nav>
      </header>
      <main>
        {adapter.error && <NoGpu error={adapter.error} />}
        {problem && <Problem error={problem} />}
        <CallStatus
          call={model}
          what="Loading the model"
          unit={({ done, total }) => `${bytes(done)} of ${bytes(total)}`}
        />
        {state.view === "model" && <ModelView engine={engine} address={state.model} load={load} model={model.result} />}
        {state.view === "bench" && <BenchView engine={engine} state={state} setting={setting} begin={begin} />}
        {state.view === "train" && (
          <TrainView
            engine={engine}
            state={state}
            setting={setting}
            begin={begin}
            look={(run) => {
              load({ trained: run });
              change({ view: "prompt", text: TRAINED_TEXT });
            }}
          />
        )}
        {View && !model.result && !model.isRunning && <p>No model is loaded. Choose one in the Model view.</p>}
        {View && model.result && model.result.takesText !== true && (
          <Problem
            error={
              new Error(
                `The views need text, and this model takes none: ${model.result.takesText}. Load it together with its tokenizer.json.`,
              )
            }
          />
        )}
        {View && model.result?.takesText === true && (
          <>
            {state.view !== "superposition" && <PromptField state={state} change={change} />}
            <View
              key={state.view}
              engine={engine}
              state={state}
              change={change}
              setting={setting}
              model={model.result}
            />
            {state.view !== "superposition" && (
              <EditList engine={engine} state={state} change={change} model={model.result} />
            )}
          </>
        )}
      </main>
    </>
  );
}

function PromptField({ state, change }: { state: PageState; change: (part: Partial<PageState>) => void }) {
  return (
    <label class="field wide">
      prompt
      <textarea
        id="prompt"
        rows={3}
        value={state.text}
        onInput={(event) => change({ text: event.currentTarget.value })}
      />
    </label>
  );
}

const ADVICE = [
  [
    "Chrome and Edge",
    "WebGPU is on by default on Windows, macOS, ChromeOS and recent Android. On Linux start with --enable-unsafe-webgpu --enable-features=Vulkan.",
  ],
  ["Firefox", "Version 141 on Windows and 145 on macOS have WebGPU; elsewhere use Nightly."],
  ["Safari", "Version 26 has WebGPU."],
];

function NoGpu({ error }: { error: Error & { code?: string | undefined } }) {
  if (error.code !== "gpu/no-adapter") return <Problem error={error} />;
  return (
    <section class="card problem" role="alert">
      <h2>No WebGPU here</h2>
      <p>{error.message}</p>
      <dl class="facts">
        {ADVICE.map(([browser, advice]) => [<dt key={browser}>{browser}</dt>, <dd key={advice}>{advice}</dd>])}
      </dl>
    </section>
  );
}
