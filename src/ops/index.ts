/** Every kind of op there is. Tests, the documentation of points and the reach of edits are driven by this table. */
import { ADD } from "./add.ts";
import { ATTENTION, MIX, SCORES, SOFTMAX } from "./attention.ts";
import { CALLBACK } from "./callback.ts";
import { CAPTURE } from "./capture.ts";
import { CLAMP } from "./clamp.ts";
import { COPY } from "./copy.ts";
import { DECODE, GATED_RELU, JUMP_RELU, RESHAPE, TOP_K } from "./dictionary.ts";
import { EDIT } from "./edit.ts";
import { ACTIVATION, SCALE, SOFT_CAP } from "./elementwise.ts";
import { EMBED } from "./embed.ts";
import { EMBEDS } from "./embeds.ts";
import { EXPERT_MATMUL } from "./experts.ts";
import { GATED } from "./gated.ts";
import { HEAD_PROJECTION } from "./head-inputs.ts";
import { JOIN_HEADS, SPLIT_HEADS } from "./head-parts.ts";
import { JOIN } from "./join.ts";
import { HEAD_RESULTS, MATMUL } from "./matmul.ts";
import { MULTIPLY } from "./multiply.ts";
import { AFFINE, NORM, NORM_SCALE, NORMALIZE } from "./norm.ts";
import { PICK_HEAD } from "./pick-head.ts";
import { POSITION_SCALE } from "./position-scale.ts";
import { QK_NORM } from "./qk-norm.ts";
import { ROPE, ROPE_STORE } from "./rope.ts";
import { ROUTE } from "./route.ts";
import { SCALE_BY } from "./scale-by.ts";
import { SELECT } from "./select.ts";
import { SINUSOIDS } from "./sinusoids.ts";
import { ROW_STATISTICS, STANDARDIZE, UNSTANDARDIZE } from "./standardize.ts";
import { STORE } from "./store.ts";
import { REPEAT_HEADS, SUM_HEADS } from "./sum-heads.ts";
import { WEIGH, WEIGHED_SUM } from "./weigh.ts";
import { XIELU } from "./xielu.ts";

/** What a model's formula is written in. */
export const PRIMITIVES = [
  EMBED,
  EMBEDS,
  SINUSOIDS,
  NORM_SCALE,
  NORMALIZE,
  AFFINE,
  MATMUL,
  REPEAT_HEADS,
  HEAD_PROJECTION,
  CLAMP,
  QK_NORM,
  ROPE,
  POSITION_SCALE,
  SPLIT_HEADS,
  JOIN_HEADS,
  STORE,
  SCORES,
  SOFTMAX,
  MIX,
  HEAD_RESULTS,
  SUM_HEADS,
  ACTIVATION,
  XIELU,
  MULTIPLY,
  ROUTE,
  EXPERT_MATMUL,
  WEIGH,
  SCALE,
  SCALE_BY,
  RESHAPE,
  PICK_HEAD,
  SOFT_CAP,
  ADD,
  SELECT,
  JOIN,
] as const;

/** What dictionaries of features are written in, besides. */
export const MODULES = [ROW_STATISTICS, STANDARDIZE, JUMP_RELU, GATED_RELU, TOP_K, DECODE, UNSTANDARDIZE] as const;

/** What people put into a graph: changes, looks, calls. */
export const HOOKS = [EDIT, CALLBACK, CAPTURE] as const;

/** What fusion and the plan of memory make of them. */
export const FUSED = [NORM, ROPE_STORE, ATTENTION, GATED, WEIGHED_SUM, COPY] as const;
