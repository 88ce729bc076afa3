/** Choosing a model, and what it is: a block drawn with its parts, its tensors, and what it takes of the GPU. */
import { useRef, useState } from "preact/hooks";
import type { Engine, ResultOf } from "../client.ts";
import type { FoundModel, SourceChoice } from "../engine/models.ts";
import { EMBEDDED } from "../models.ts";
import { useCall } from "../use-call.ts";
import { bytes, CallStatus, Card } from "../widgets.tsx";
import { BlockDrawing } from "./block-drawing.tsx";

export function ModelView({
  engine,
  address,
  load,
  model,
}: {
  engine: Engine;
  address: string;
  load: (source: SourceChoice) => void;
  model: ResultOf<"load"> | undefined;
}) {
  const [typed, setTyped] = useState(address);
  // Counted, so that an address may be asked about again.
  const [looked, setLooked] = useState<{ source: FoundModel; attempt: number }>();
  const inspection = useCall(engine, "inspect", looked);
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const pick = (list: FileList | null | undefined) => {
    if (list && list.length > 0) load({ files: [...list] });
    for (const input of [files.current, folder.current]) if (input) input.value = ""; // so that the same can be picked again
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: dropping files is beside the two buttons that choose them
    <div
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        pick(event.dataTransfer?.files);
      }}
    >
      <Card title="Choose a model">
        <ul class="choices">
          {EMBEDDED.map(({ address: beside, name }) => (
            <li key={beside}>
              <button type="button" onClick={() => load({ address: beside })}>
                {name}
              </button>
            </li>
          ))}
        </ul>
        <form
          class="row"
          onSubmit={(event) => {
            event.preventDefault();
            load({ address: typed });
          }}
        >
          <label class="field wide">
            Hugging Face name or address
            <input
              value={typed}
              placeholder="hf:openai-community/gpt2"
              onInput={(event) => setTyped(event.currentTarget.value)}
            />
          </label>
          <button type="submit" class="main" disabled={typed.trim() === ""}>
            Load
          </button>
          <button
            type="button"
            disabled={typed.trim() === ""}
            onClick={() => setLooked({ source: { address: typed }, attempt: (looked?.attempt ?? 0) + 1 })}
          >
            What does it take?
          </button>
        </form>
        <p class="row">
          <input ref={files} id="files" type="file" multiple hidden onChange={() => pick(files.current?.files)} />
          <input
            ref={folder}
            id="folder"
            type="file"
            hidden
            {...{ webkitdirectory: true }}
            onChange={() => pick(folder.current?.files)}
          />
          <button type="button" onClick={() => files.current?.click()}>
            Files …
          </button>
          <button type="button" onClick={() => folder.current?.click()}>
            Folder …
          </button>
          <span class="quiet">
            or drop them here: config.json, model.safetensors, tokenizer.json, or a .gguf file. Nothing leaves this
            computer.
          </span>
        </p>
        <CallStatus call={inspection} what="Reading the headers" />
        {inspection.result && <Taken {...inspection.result} />}
      </Card>
      {model && <Facts model={model} />}
    </div>
  );
}

function Taken({ label, spec, tensors, weightBytes, kvBytesPerToken, bufferBytes, problem }: ResultOf<"inspect">) {
  return (
    <>
      <p>
        {label}: {spec.family}, {spec.nLayers} layers of {spec.dModel}; {bytes(weightBytes)} of weights on the GPU and{" "}
        {bytes(kvBytesPerToken)} a token. This adapter allows buffers of {bytes(bufferBytes)}; larger matrices are
        split. {problem && <strong>{problem}</strong>}
      </p>
      <details>
        <summary>{tensors.length} tensors</summary>
        <table class="cells">
          <tbody>
            {tensors.map(({ name, dtype, shape }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td>{dtype}</td>
                <td>[{shape.join(", ")}]</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </>
  );
}

function Facts({ model }: { model: ResultOf<"load"> }) {
  const { spec, label, notices, takesText, weightBytes, points } = model;
  return (
    <Card title={label}>
      <dl class="facts">
        <dt>family</dt>
        <dd>{spec.family}</dd>
        <dt>shape</dt>
        <dd>
          {spec.nLayers} layers, residual {spec.dModel} wide, {spec.nHeads} heads of {spec.dHead}
          {spec.nKvHeads !== spec.nHeads && `, ${spec.nKvHeads} of keys and values`}, MLP {spec.dMlp} wide
        </dd>
        <dt>vocabulary</dt>
        <dd>
          {spec.vocabSize} tokens, at most {spec.maxPositions} positions
        </dd>
        <dt>text</dt>
        <dd>{takesText === true ? "yes" : `no: ${takesText}`}</dd>
        <dt>GPU memory</dt>
        <dd>{bytes(weightBytes)}</dd>
        <dt>points</dt>
        <dd>{points.length} that can be captured and edited</dd>
      </dl>
      {notices.map((notice) => (
        <p key={notice} class="quiet">
          {notice}
        </p>
      ))}
      <BlockDrawing spec={spec} />
    </Card>
  );
}
