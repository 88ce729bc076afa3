/** What the parts of a traced block share: names of points and weights, norms, and copies of the residual for those who read it. */
import { GraphBuilder } from "../graph/graph.ts";
import { AFFINE, NORM_SCALE, NORMALIZE } from "../ops/norm.ts";
import type { Value, WeightRef } from "../ops/op.ts";
import { SELECT } from "../ops/select.ts";
import { REPEAT_HEADS } from "../ops/sum-heads.ts";
import type { ModelSpec, NormSpec } from "./spec.ts";
import { normsAttention } from "./weights/table.ts";

/** What the graph of a pass depends on, besides the spec. */
export interface PassForm {
  /** Embeddings that the caller supplies, in place of the tokens'. */
  readonly embeds?: boolean;
  /** Rows join at later layers than the first. */
  readonly joins?: boolean;
  /** Some rows end once their keys and values in the last block are stored; the others give the logits. */
  readonly narrow?: boolean;
  /** Begins with this block, whose residual the caller supplies. */
  readonly startAtLayer?: number | undefined;
  /** Ends before this block; there are no logits then. */
  readonly stopAtLayer?: number | undefined;
  /**
   * The points that hooks change, or whose gradients are wanted. Where heads or the MLP read a copy of the residual of their own, as those
   * at `hook_q_input` do, they read it only if it is among these.
   */
  readonly changed?: { has(point: string): boolean };
  /** Of every row, of some that are picked after the final norm, or of none. */
  readonly logits?: "all" | "picked" | "none";
}

/** Of norms without weights: weights that are absent are read as zeros, and with an offset of 1 they change nothing. */
export const withoutWeights = (spec: NormSpec): NormSpec =>
  spec.affine === false ? { ...spec, weightOffset: 1 } : spec;

/** Makes the ops of a pass, a block at a time: what its parts share. */
export class BlockBuilder extends GraphBuilder {
  /** Keys and values in the cache, by the block that made them. */
  readonly stored: { keys: Value; values: Value }[] = [];

  constructor(
    readonly spec: ModelSpec,
    readonly form: PassForm,
  ) {
    super();
  }

  /** The name of a point of the block. */
  at(name: string): string {
    return `blocks.${this.layer}.${name}`;
  }

  weight(name: string) {
    return { name, block: this.layer };
  }

  /**
   * What attention or the MLP reads: the normed residual, or the residual itself in blocks without a norm there. The norm of a copy follows
   * the points of the residual's own.
   */
  inputNorm(x: Value, name: "ln1" | "ln2", isCopy = false): Value {
    const isAbsent = name === "ln1" && !normsAttention(this.spec, this.layer);
    return isAbsent || ["post", "added"].includes(this.spec.block.norms)
      ? x
      : this.norm(x, this.weight(name), this.at(name), isCopy);
  }

  /** What attention or the MLP reads, under its name; a copy where others read it as well and hooks change it. */
  readAt(name: string, x: Value, residual: Value, shared?: Value): Value {
    if (x === residual || x === shared) return this.copied(x, name, 1);
    this.name(x, this.at(name));
    return x;
  }

  /** A copy of the residual for each head, where hooks change it; else the residual, and what they look at is computed apart. */
  copied(residual: Value, name: string, heads: number): Value {
    const point = this.at(name);
    const copy = this.one(REPEAT_HEADS, [residual], { heads }, point);
    return this.form.changed?.has(point) ? copy : residual;
  }

  /** x, normed; with the points `.hook_scale` and `.hook_normalized` where they have a prefix. */
  norm(x: Value, weights: WeightRef, points?: string, isCopy = false, spec = this.spec.norm): Value {
    if (spec.kind === "none") return x;
    const attributes = { spec, weights };
    const at = (name: string) => {
      if (!points) return {};
      return isCopy ? { follows: [`${points}.${name}`] } : { points: [[`${points}.${name}`]] };
    };
    const [scale] = this.add(NORM_SCALE, [x], attributes, at("hook_scale")) as [Value];
    const [normalized] = this.add(NORMALIZE, [x, scale], attributes, at("hook_normalized")) as [Value];
    return this.one(AFFINE, [normalized], attributes);
  }

  select(x: Value, rows: "output" | "picked"): Value {
    return this.one(SELECT, [x], { rows }, undefined, rows);
  }
}
