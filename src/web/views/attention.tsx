/** Attention: every head of a layer small, one head large, and heads sorted by what they do. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { ResultOf } from "../client.ts";
import { shareColour } from "../colours.ts";
import type { AttentionKind } from "../engine/calls.ts";
import { activeEdits } from "../state.ts";
import { useCall } from "../use-call.ts";
import { CallStatus, Card, Choice, visible } from "../widgets.tsx";
import { numberSetting, type ViewProps } from "./view.ts";

const SORTS = [
  ["place", "place"],
  ["entropy", "entropy"],
  ["previous", "previous token"],
  ["induction", "induction"],
  ["first", "first token"],
] as const;
const KINDS = [
  ["pattern", "attention weights"],
  ["attn_scores", "scores before the softmax"],
  ["value_weighted", "weights times the values' lengths"],
] as const;
type Sort = (typeof SORTS)[number][0];

export function AttentionView(props: ViewProps) {
  const { engine, state, setting, model } = props;
  const { nLayers, nHeads } = model.spec;
  const layer = numberSetting(props, "attention.layer", nLayers - 1);
  const head = numberSetting(props, "attention.head", nHeads - 1);
  const sort = (state.settings["attention.sort"] ?? "place") as Sort;
  const kind = (state.settings["attention.kind"] ?? "pattern") as AttentionKind;
  const text = { text: state.text, edits: activeEdits(state) };
  const patterns = useCall(engine, "attention", state.text === "" ? undefined : { ...text, layer, kind });
  const scores = useCall(engine, "heads", state.text === "" || sort === "place" ? undefined : text);
  const order = headOrder(nLayers, nHeads, sort, scores.result);
  return (
    <>
      <Card title="Heads">
        <div class="row">
          <Choice
            label="layer"
            value={`${layer}`}
            options={Array.from({ length: nLayers }, (_, index) => [`${index}`, `${index}`] as const)}
            onChange={(value) => setting("attention.layer", value)}
          />
          <Choice label="show" value={kind} options={KINDS} onChange={(value) => setting("attention.kind", value)} />
          <Choice
            label="sort all heads by"
            value={sort}
            options={SORTS}
            onChange={(value) => setting("attention.sort", value)}
          />
        </div>
        <CallStatus call={scores} what="Scoring heads" />
        {sort !== "place" && (
          <ol class="ranking">
            {order.slice(0, 12).map(({ layer: ofLayer, head: ofHead, score }) => (
              <li key={`${ofLayer}.${ofHead}`}>
                <button
                  type="button"
                  onClick={() => {
                    setting("attention.layer", `${ofLayer}`);
                    setting("attention.head", `${ofHead}`);
                  }}
                >
                  L{ofLayer}H{ofHead} {score.toFixed(2)}
                </button>
              </li>
            ))}
          </ol>
        )}
        <CallStatus call={patterns} what="Running the model" />
        {patterns.result && (
          <div class="heads">
            {Array.from({ length: nHeads }, (_, index) => (
              <button
                key={index}
                type="button"
                class="head"
                aria-pressed={index === head}
                onClick={() => setting("attention.head", `${index}`)}
              >
                <PatternImage
                  pattern={patternOf(patterns.result as ResultOf<"attention">, index)}
                  size={patterns.result?.tokens.length ?? 0}
                />
                H{index}
              </button>
            ))}
          </div>
        )}
      </Card>
      {patterns.result && <OneHead result={patterns.result} layer={layer} head={head} />}
    </>
  );
}

function headOrder(nLayers: number, nHeads: number, sort: Sort, scores: ResultOf<"heads"> | undefined) {
  const values = sort === "place" ? undefined : scores?.[sort];
  if (!values) return [];
  const order = Array.from({ length: nLayers * nHeads }, (_, index) => ({
    layer: Math.floor(index / nHeads),
    head: index % nHeads,
    score: values[index] as number,
  }));
  return order.sort((a, b) => b.score - a.score);
}

/** [query, key] of one head. */
function patternOf({ tokens, values }: ResultOf<"attention">, head: number): Float32Array {
  const size = tokens.length ** 2;
  return values.subarray(head * size, (head + 1) * size);
}

/** The range in which a pattern is drawn: weights from 0 to 1, scores over their finite values. */
function rangeOf(pattern: Float32Array): [low: number, high: number] {
  const finite = pattern.filter(Number.isFinite);
  const high = finite.reduce((most, value) => Math.max(most, value), 0);
  return [
    Math.min(
      0,
      finite.reduce((least, value) => Math.min(least, value), 0),
    ),
    Math.max(high, 1e-9),
  ];
}

function PatternImage({
  pattern,
  size,
  onRow,
}: {
  pattern: Float32Array;
  size: number;
  /** The row that is pointed at. */
  onRow?: (row: number) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const context = canvas.current?.getContext("2d");
    if (!context || size === 0) return;
    const image = context.createImageData(size, size);
    const [low, high] = rangeOf(pattern);
    pattern.forEach((value, index) => {
      const strength = Number.isFinite(value) ? (value - low) / (high - low) : 0;
      image.data.set([33, 102, 172, Math.round(255 * strength)], 4 * index);
    });
    context.putImageData(image, 0, 0);
  }, [pattern, size]);
  const point = (event: MouseEvent) => {
    const { offsetHeight } = event.currentTarget as HTMLCanvasElement;
    onRow?.(Math.min(size - 1, Math.max(0, Math.floor((event.offsetY / offsetHeight) * size))));
  };
  return <canvas ref={canvas} width={size} height={size} onMouseMove={onRow && point} />;
}

/** Of longer prompts a head is drawn as a picture: a table of 200 tokens has 40,000 cells. */
const MOST_ROWS = 64;

/** One head: the tokens, and for the one that is chosen how much it looks at each earlier one. */
function OneHead({ result, layer, head }: { result: ResultOf<"attention">; layer: number; head: number }) {
  const { tokens } = result;
  const [query, setQuery] = useState<number>();
  const chosen = Math.min(query ?? tokens.length - 1, tokens.length - 1);
  const pattern = patternOf(result, head);
  const [low, high] = rangeOf(pattern);
  const strength = (value: number) => (Number.isFinite(value) ? (value - low) / (high - low) : 0);
  const from = (key: number) => pattern[chosen * tokens.length + key] as number;
  return (
    <Card title={`Layer ${layer}, head ${head}`}>
      <p class="quiet">Point at a token, or move to it with the Tab key: colours say where it looks.</p>
      <div class="tokens">
        {tokens.map((label, position) => (
          <button
            key={position}
            type="button"
            class={position === chosen ? "token chosen" : "token"}
            style={{ background: shareColour(strength(from(position))) }}
            aria-label={`${visible(label)}, position ${position}: ${from(position).toFixed(3)}`}
            onMouseEnter={() => setQuery(position)}
            onFocus={() => setQuery(position)}
          >
            {visible(label)}
          </button>
        ))}
      </div>
      <p class="quiet">Rows are queries, columns keys.</p>
      {tokens.length > MOST_ROWS ? (
        <div class="pattern">
          <PatternImage pattern={pattern} size={tokens.length} onRow={setQuery} />
        </div>
      ) : (
        <div class="scroll">
          <table class="grid small">
            <tbody>
              {tokens.map((label, row) => (
                <tr key={row} class={row === chosen ? "chosen" : ""}>
                  <th scope="row">{visible(label)}</th>
                  {tokens.map((_, key) => {
                    const value = pattern[row * tokens.length + key] as number;
                    return (
                      <td
                        key={key}
                        title={`${value.toFixed(3)}`}
                        style={{ background: shareColour(strength(value)) }}
                      />
                    );
                  })}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}
