/** A `ModelSpec` in words: one labelled line per aspect, leaving out what the model does not have. */
import type { ExpertsSpec, LayerSpec, ModelSpec, NormSpec, RopeSpec } from "../model/spec.ts";
import { dMlpOf, isSparse } from "../model/weights/table.ts";
import { grouped } from "./output.ts";

type Line = [label: string, text: string];

/** Labelled lines, from the embedding to the unembedding. */
export function describeSpec(spec: ModelSpec): Line[] {
  return [
    ["family", spec.family],
    ["shape", `${plural(spec.nLayers, "layer")}, residual ${spec.dModel} wide, ${describeResidual(spec)}`],
    ["vocabulary", `${grouped(spec.vocabSize)} tokens, at most ${grouped(spec.maxPositions)} positions`],
    ["embedding", describeEmbedding(spec)],
    ["attention", describeAttention(spec)],
    ...describeWindows(spec),
    ...spec.ropes.map(
      (rope, index): Line => ["RoPE", describeRope(rope, ropeLayers(spec.layers, index), spec.nLayers)],
    ),
    ["MLP", describeMlp(spec)],
    ["norms", describeNorms(spec)],
    ["unembedding", describeUnembedding(spec)],
  ];
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function joined(...parts: (string | false)[]): string {
  return parts.filter((part) => part !== false).join(", ");
}

/** Numbers of the config, without the noise of binary fractions. */
function short(value: number): string {
  return String(Number(value.toPrecision(6)));
}

function describeResidual({ block }: ModelSpec): string {
  const order =
    block.residual === "sequential"
      ? "MLP after attention"
      : `MLP beside attention (parallel${block.parallelSharedNorm ? ", one norm for both" : ""})`;
  return joined(
    order,
    block.normedResidual === true && "added to what they read",
    block.residualScale !== 1 && `each scaled by ${short(block.residualScale)}`,
  );
}

function describeEmbedding({ embed, positions }: ModelSpec): string {
  const kinds: Record<typeof positions.kind, string> = {
    none: "no positions added",
    learned: "learned positions added",
    sinusoidal: "sinusoidal positions added",
    alibi: "ALiBi slopes on the scores",
  };
  const offset = positions.kind === "learned" && positions.offset > 0 && `which start at row ${positions.offset}`;
  return joined(
    kinds[positions.kind],
    offset,
    embed.width !== undefined && `${embed.width} wide, projected to the residual`,
    embed.scale !== 1 && `scaled by ${short(embed.scale)}`,
    embed.norm && "then a norm",
  );
}

function describeAttention({ nHeads, nKvHeads, dHead, attention }: ModelSpec): string {
  const sharing = nKvHeads !== nHeads && `${plural(nKvHeads, "key-value head")}, each for ${nHeads / nKvHeads}`;
  const qkNorm = attention.qkNorm !== "none" && `${normName(attention.qkNormSpec)} of q and k (${attention.qkNorm})`;
  const cap = attention.softCap !== null && `scores capped at ${short(attention.softCap)}`;
  const bothWays = attention.causal === false && "looks both ways";
  return joined(
    `${plural(nHeads, "head")} of ${dHead}`,
    sharing,
    bothWays,
    `scale ${short(attention.scale)}`,
    attention.clamp !== undefined && `q, k and v kept within ±${short(attention.clamp)}`,
    qkNorm && `${qkNorm}${attention.qkNormAfterRope ? " after RoPE" : ""}`,
    cap,
    attention.sinks === true && "a sink a head",
  );
}

function describeWindows({ layers, attention }: ModelSpec): Line[] {
  const windows = new Set(layers.flatMap(({ window }) => (window === null ? [] : [window])));
  return [...windows].map((window): Line => {
    const where = layers.flatMap((layer, index) => (layer.window === window ? [index] : []));
    const reach =
      attention.causal === false
        ? `${grouped(window - 1)} positions either way`
        : `the last ${grouped(window)} positions`;
    return ["window", `${reach} ${inLayers(where, layers.length)}`];
  });
}

function ropeLayers(layers: readonly LayerSpec[], rope: number): number[] {
  return layers.flatMap((layer, index) => (layer.rope === rope ? [index] : []));
}

function inLayers(where: readonly number[], count: number): string {
  if (where.length === count) return "in every layer";
  return `in ${where.length === 1 ? "layer" : "layers"} ${where.join(", ")}`;
}

function describeRope(rope: RopeSpec, where: readonly number[], nLayers: number): string {
  const { kind, ...settings } = rope.scaling;
  const scaling = Object.entries(settings).map(([name, value]) => `${name} ${value}`);
  return joined(
    `theta ${grouped(rope.theta)}`,
    `${rope.rotaryDim} dimensions of each head`,
    rope.style === "half" ? "i pairs with i + half" : "2i pairs with 2i + 1",
    kind !== "none" && `${kind} scaling (${scaling.join(", ")})`,
    inLayers(where, nLayers),
  );
}

function describeMlp(spec: ModelSpec): string {
  const { mlp, layers } = spec;
  if (mlp.absent) return "none";
  const widths = layers.flatMap((_, layer) => (isSparse(spec, layer) ? [] : [grouped(dMlpOf(spec, layer))]));
  const same = new Set(widths).size === 1;
  const sparse = layers.flatMap((_, layer) => (isSparse(spec, layer) ? [layer] : []));
  return joined(
    mlp.experts !== undefined && `${describeExperts(mlp.experts)} ${inLayers(sparse, layers.length)}`,
    mlp.experts !== undefined && sparse.length < layers.length && "one MLP in the others",
    sparse.length < layers.length && `${same ? widths[0] : `${widths.join(", then ")}`} wide`,
    mlp.activation,
    mlp.kind === "gated" && "gated",
  );
}

function describeExperts({ count, perToken, dExpert, routing, shared }: ExpertsSpec): string {
  return joined(
    `${perToken} of ${count} experts for each token, each ${grouped(dExpert)} wide`,
    `chosen by ${routing.scores}${routing.choiceBias ? " and a bias" : ""}`,
    routing.groups !== undefined && `within ${routing.groups.chosen} of ${routing.groups.count} groups`,
    shared !== undefined && `beside an MLP ${grouped(shared.dMlp)} wide${shared.gate ? " with a gate" : ""}`,
  );
}

function normName({ kind, eps }: NormSpec): string {
  const names: Record<typeof kind, string> = { layer: "LayerNorm", rms: "RMSNorm", none: "no norm" };
  return kind === "none" ? names.none : `${names[kind]} (eps ${eps})`;
}

function describeNorms({ norm, block, layers }: ModelSpec): string {
  if (norm.kind === "none") return "none";
  const unnormed = layers.flatMap(({ attentionNorm }, layer) => (attentionNorm === false ? [layer] : []));
  const places: Record<typeof block.norms, string> = {
    pre: "before attention and MLP",
    post: "after attention and MLP",
    sandwich: "before and after attention and MLP",
    added: "after each addition to the residual",
  };
  return joined(
    `${normName(norm)} ${places[block.norms]}`,
    norm.affine === false && "without weights",
    unnormed.length > 0 && `none before attention ${inLayers(unnormed, layers.length)}`,
    norm.weightOffset !== 0 && `weights stored less ${norm.weightOffset}`,
  );
}

function describeUnembedding({ unembed }: ModelSpec): string {
  return joined(
    unembed.transform !== undefined && `a layer before it (${unembed.transform.activation}, then a norm)`,
    unembed.tied ? "the embedding's own weights (tied)" : "weights of its own",
    unembed.scale !== 1 && `logits scaled by ${short(unembed.scale)}`,
    unembed.softCap !== null && `logits capped at ${short(unembed.softCap)}`,
  );
}
