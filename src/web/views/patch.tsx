/** Activation patching: which activation of the clean prompt brings its answer back into the run of the corrupted one. */
import { useState } from "preact/hooks";
import type { Edit } from "../../hooks/index.ts";
import type { ArgumentsOf, ResultOf } from "../client.ts";
import { signedColour } from "../colours.ts";
import { Downloads } from "../download.tsx";
import { activeEdits } from "../state.ts";
import { type CallState, useCall } from "../use-call.ts";
import { CallStatus, Card, Choice, visible } from "../widgets.tsx";
import { type AnswerChoice, Answers, useAnswers } from "./answers.tsx";
import type { ViewProps } from "./view.ts";

const SITES = [
  ["resid_pre", "residual before each block"],
  ["attn_out", "what attention adds"],
  ["mlp_out", "what the MLP adds"],
  ["z", "each head's output"],
] as const;
type Site = (typeof SITES)[number][0];

/** Which patching is chosen, and which was asked for last: what was swept stays until the next sweep, whatever changes meanwhile. */
export function usePatching({ state, setting }: ViewProps, { chosen }: AnswerChoice) {
  const at = (state.settings["patch.at"] ?? "resid_pre") as Site;
  const [asked, setAsked] = useState<ArgumentsOf<"patch">>();
  const { text: clean, corrupted } = state;
  const ask = () => {
    const run = (asked?.run ?? 0) + 1;
    if (chosen) setAsked({ clean, corrupted, at, metric: chosen, edits: activeEdits(state), run });
  };
  const choose = (
    <Choice label="activation" value={at} options={SITES} onChange={(value) => setting("patch.at", value)} />
  );
  const button = (label: string) => (
    <button type="button" class="main" disabled={!chosen || corrupted === ""} onClick={ask}>
      {label}
    </button>
  );
  return { asked, choose, button };
}

export function PatchView(props: ViewProps) {
  const { engine, state, change } = props;
  const answers = useAnswers(props);
  const { asked, choose, button } = usePatching(props, answers);
  const patch = useCall(engine, "patch", asked, { isFresh: true });
  const grid = (patch.result ?? patch.progress?.part) as ResultOf<"patch"> | undefined;
  return (
    <>
      <PairOfPrompts {...props} />
      <Card title="Patch">
        <div class="row">
          {choose}
          <Answers {...props} answers={answers} />
          {button("Sweep")}
        </div>
        <CallStatus call={patch as CallState<unknown>} what="Patching" />
        {grid && (
          <PatchTable
            grid={grid}
            rows={props.model.spec.nLayers}
            choose={(layer, column) =>
              change({
                edits: [...state.edits, { edit: zeroEdit(grid.at, layer, column), isOn: true }],
              })
            }
          />
        )}
        {grid && patch.result && <GridDownloads engine={engine} name="activation-patching" grid={grid} />}
        {grid && (
          <p class="quiet">
            0 is the corrupted run ({grid.corrupted.toFixed(2)}), 1 the clean one ({grid.clean.toFixed(2)}). A click
            adds an edit that takes the activation out of the running model.
          </p>
        )}
      </Card>
    </>
  );
}

/** What a click makes of a cell: the same place, set to zero, in every run from now on. */
function zeroEdit(at: Site, layer: number, column: number): Edit {
  if (at === "z") return { at: `blocks.${layer}.attn.hook_z`, op: "zero", heads: [column] };
  return { at: `blocks.${layer}.hook_${at}`, op: "zero", positions: [column] };
}

export function PairOfPrompts({ engine, state, change }: ViewProps) {
  const clean = useCall(engine, "tokens", state.text === "" ? undefined : { text: state.text });
  const corrupted = useCall(engine, "tokens", state.corrupted === "" ? undefined : { text: state.corrupted });
  const length = Math.max(clean.result?.length ?? 0, corrupted.result?.length ?? 0);
  const differs = (index: number) => clean.result?.[index]?.id !== corrupted.result?.[index]?.id;
  return (
    <Card title="Two prompts">
      <p class="quiet">The clean prompt is the one above. The corrupted one has as many tokens and another answer.</p>
      <label class="field wide">
        corrupted prompt
        <textarea
          rows={2}
          value={state.corrupted}
          onChange={(event) => change({ corrupted: event.currentTarget.value })}
        />
      </label>
      <CallStatus call={clean} what="Cutting the text" />
      <CallStatus call={corrupted} what="Cutting the text" />
      {length > 0 && (
        <div class="scroll">
          <table class="grid aligned">
            <tbody>
              {[clean.result, corrupted.result].map((tokens, row) => (
                <tr key={row}>
                  <th scope="row">{row === 0 ? "clean" : "corrupted"}</th>
                  {Array.from({ length }, (_, index) => (
                    <td key={index} class={differs(index) ? "differs" : ""}>
                      {visible(tokens?.[index]?.label ?? "")}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

/** The grid, scaled so that 0 is the corrupted run and 1 the clean one; rows to come are empty. */
export function PatchTable({
  grid,
  rows,
  choose,
}: {
  grid: ResultOf<"patch">;
  rows: number;
  choose?: (layer: number, column: number) => void;
}) {
  const { columns, values, clean, corrupted } = grid;
  const scaled = (value: number) => (value - corrupted) / (clean - corrupted);
  return (
    <div class="scroll">
      <table class="grid">
        <thead>
          <tr>
            <th />
            {columns.map((label) => (
              <th key={label} scope="col">
                {visible(label)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {Array.from({ length: rows }, (_, layer) => (
            <tr key={layer}>
              <th scope="row">L{layer}</th>
              {columns.map((label, column) => {
                const value = values[layer]?.[column];
                if (value === undefined) return <td key={label} />;
                const share = scaled(value);
                const style = { background: signedColour(share, 1) };
                const text = share.toFixed(2);
                return (
                  <td key={label} style={choose ? {} : style}>
                    {choose ? (
                      <button
                        type="button"
                        class="cell"
                        style={style}
                        aria-label={`layer ${layer}, ${visible(label)}: ${text}`}
                        onClick={() => choose(layer, column)}
                      >
                        {text}
                      </button>
                    ) : (
                      text
                    )}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The grid as the table shows it: 0 is the corrupted run, 1 the clean one. */
export function GridDownloads({
  engine,
  name,
  grid,
}: {
  engine: ViewProps["engine"];
  name: string;
  grid: ResultOf<"patch">;
}) {
  const { clean, corrupted, columns } = grid;
  const values = grid.values.map((row) => row.map((value) => (value - corrupted) / (clean - corrupted)));
  const rows = values.map((row, layer) => ({ name: `L${layer}`, values: row }));
  const options = {
    title: name.replace("-", " "),
    measure: "0 corrupted, 1 clean",
    rows: rows.map((row) => row.name),
    columns: columns.map(visible),
    colours: "diverging" as const,
  };
  return (
    <Downloads engine={engine} name={name} table={{ columns, rows }} figure={{ kind: "heatMap", values, options }} />
  );
}
