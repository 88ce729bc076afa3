/** One block as a drawing: what reads the residual stream, and what is added to it. */
import type { ModelSpec } from "../../model/spec.ts";

const WIDTH = 640;
const STREAM = 40;

interface Box {
  readonly title: string;
  readonly detail: string;
}

export function BlockDrawing({ spec }: { spec: ModelSpec }) {
  const branches = branchesOf(spec);
  const height = 70 * branches.length + 60;
  return (
    <svg
      class="block"
      viewBox={`0 0 ${WIDTH} ${height}`}
      role="img"
      aria-label={`A block of ${spec.family}: ${branches.map(({ title, detail }) => `${title}, ${detail}`).join("; ")}`}
    >
      <line x1={STREAM} y1={10} x2={STREAM} y2={height - 10} class="stream" />
      <text x={STREAM + 12} y={22}>
        residual stream, {spec.dModel} wide
      </text>
      {branches.map(({ title, detail }, index) => {
        const y = 45 + 70 * index;
        return (
          <g key={title}>
            <path d={`M${STREAM} ${y} H 110`} class="edge" />
            <rect x={110} y={y - 12} width={440} height={46} rx={6} />
            <text x={124} y={y + 6} class="title">
              {title}
            </text>
            <text x={124} y={y + 24} class="detail">
              {detail}
            </text>
            <path d={`M330 ${y + 34} V ${y + 46} H ${STREAM + 8}`} class="edge" />
            <circle cx={STREAM} cy={y + 46} r={8} />
            <text x={STREAM} y={y + 50} text-anchor="middle">
              +
            </text>
          </g>
        );
      })}
    </svg>
  );
}

function branchesOf(spec: ModelSpec): Box[] {
  const { block, attention, layers, mlp, norm, nHeads, nKvHeads, dHead } = spec;
  const before =
    norm.kind === "none" || block.norms === "post" ? "" : `${norm.kind === "rms" ? "RMS norm" : "LayerNorm"}, then `;
  const window = layers.find(({ window: width }) => width !== null)?.window;
  const heads = `${before}${nHeads} heads of ${dHead}${nKvHeads === nHeads ? "" : `, ${nKvHeads} of keys and values`}`;
  const marks = [
    window ? `window ${window} in some layers` : "",
    attention.softCap ? "capped scores" : "",
    spec.ropes.length > 0 ? "RoPE" : "",
  ];
  const attentionBox = { title: "attention", detail: [heads, ...marks.filter(Boolean)].join(", ") };
  const beside = block.residual === "parallel" ? ", beside attention" : "";
  const hidden = `${before}${spec.dMlp} hidden, ${mlp.activation}${mlp.kind === "gated" ? ", gated" : ""}${beside}`;
  return mlp.absent ? [attentionBox] : [attentionBox, { title: "MLP", detail: hidden }];
}
