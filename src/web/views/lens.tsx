/** The logit lens as a table, depth by position: what the model would say if it ended there. */
import { useState } from "preact/hooks";
import type { ResultOf } from "../client.ts";
import { shareColour } from "../colours.ts";
import { Downloads } from "../download.tsx";
import { activeEdits } from "../state.ts";
import { useCall } from "../use-call.ts";
import { CallStatus, Card, Choice, visible } from "../widgets.tsx";
import { Distribution } from "./prompt.tsx";
import type { ViewProps } from "./view.ts";

const TOP = 20;

/** What colours a cell: its token's probability, or how near its distribution is to the last depth's. */
type Colour = "probability" | "kl";

/** The distance, in nats, at which a cell has its full colour. */
const FAR = 5;

export function LensView({ engine, state, setting }: ViewProps) {
  const colour = (state.settings["lens.colour"] ?? "probability") as Colour;
  const lens = useCall(
    engine,
    "lens",
    state.text === "" ? undefined : { text: state.text, edits: activeEdits(state), k: TOP, kl: colour === "kl" },
  );
  const [cell, setCell] = useState<{ row: number; position: number }>();
  return (
    <>
      <Card title="What each depth would say">
        <div class="row">
          <Choice
            label="colour by"
            value={colour}
            options={[
              ["probability", "its probability"],
              ["kl", "distance from the end (KL)"],
            ]}
            onChange={(value) => setting("lens.colour", value)}
          />
        </div>
        <CallStatus call={lens} what="Running the lens" />
        {lens.result && <LensTable {...lens.result} colour={colour} cell={cell} choose={setCell} />}
        {lens.result && <LensDownloads engine={engine} lens={lens.result} colour={colour} />}
      </Card>
      {lens.result && cell && <Cell {...lens.result} {...cell} />}
    </>
  );
}

function LensTable({
  depths,
  tokens,
  rows,
  kl,
  colour,
  cell,
  choose,
}: ResultOf<"lens"> & {
  colour: Colour;
  cell: { row: number; position: number } | undefined;
  choose: (cell: { row: number; position: number }) => void;
}) {
  return (
    <div class="scroll">
      <table class="grid">
        <thead>
          <tr>
            <th />
            {tokens.map((label, position) => (
              <th key={position} scope="col">
                {visible(label)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {[...rows.keys()].reverse().map((row) => (
            <tr key={row}>
              <th scope="row">{depths[row]}</th>
              {rows[row]?.map((likely, position) => {
                const isFar = colour === "kl" && kl !== undefined;
                const number = isFar ? (kl[row * tokens.length + position] as number) : (likely[0]?.probability ?? 0);
                const isChosen = cell?.row === row && cell.position === position;
                return (
                  <td key={position}>
                    <button
                      type="button"
                      class="cell"
                      style={{ background: shareColour(isFar ? number / FAR : number) }}
                      aria-pressed={isChosen}
                      aria-label={`${depths[row]}, position ${position}: ${visible(likely[0]?.label ?? "")}, ${number.toFixed(2)}`}
                      onClick={() => choose({ row, position })}
                    >
                      {visible(likely[0]?.label ?? "")}
                    </button>
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

function Cell({ depths, tokens, rows, row, position }: ResultOf<"lens"> & { row: number; position: number }) {
  const likely = rows[row]?.[position] ?? [];
  const before = new Map(rows[row - 1]?.[position]?.map(({ id, probability }) => [id, probability]));
  const gained = likely.filter(({ id, probability }) => row > 0 && probability - (before.get(id) ?? 0) > 0.01);
  return (
    <Card title={`${depths[row]}, after ${visible(tokens[position] ?? "")} (position ${position})`}>
      <Distribution likely={likely} />
      {row > 0 && (
        <p class="quiet">
          Gained since {depths[row - 1]}:{" "}
          {gained
            .map(
              ({ label, id, probability }) => `${visible(label)} +${(probability - (before.get(id) ?? 0)).toFixed(2)}`,
            )
            .join(", ") || "nothing above 0.01"}
        </p>
      )}
    </Card>
  );
}

function LensDownloads({
  engine,
  lens: { depths, tokens, rows, kl },
  colour,
}: {
  engine: ViewProps["engine"];
  lens: ResultOf<"lens">;
  colour: Colour;
}) {
  const isFar = colour === "kl" && kl !== undefined;
  const values = rows.map((row, depth) =>
    row.map(([first], position) =>
      isFar ? (kl[depth * tokens.length + position] as number) : (first?.probability ?? 0),
    ),
  );
  const table = {
    columns: tokens,
    rows: depths.map((name, depth) => ({ name, values: (rows[depth] ?? []).map(([first]) => first?.label ?? "") })),
  };
  const options = {
    title: "Logit lens",
    measure: isFar ? "KL to the end (nats)" : "probability",
    rows: depths,
    columns: tokens.map(visible),
  };
  return <Downloads engine={engine} name="logit-lens" table={table} figure={{ kind: "heatMap", values, options }} />;
}
