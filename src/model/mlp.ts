/** The MLP of one block: project up, activate, project down, add to the residual. */
import type { Tensor } from "../gpu/tensor.ts";
import { matmul, mlpActivation } from "../kernels/calls.ts";
import type { Matrix } from "../kernels/matrix.ts";
import { type BlockContext, offer, rowsView } from "./context.ts";
import { addBranch } from "./norms.ts";
import { dMlpOf } from "./weights/table.ts";
import type { BlockWeights } from "./weights/weights.ts";

/** x, residual [rows, dModel]. Activation and gate are part of the products unless what lies before them is wanted. */
export function recordMlp(context: BlockContext, block: BlockWeights, x: Tensor, residual: Tensor): void {
  const { recorder, spec, rows, layer, taps } = context;
  const post = recordHidden(context, block, x);
  const point = `blocks.${layer}.hook_mlp_out`;
  const W_out = block.W_out as Matrix;
  offer(context, `blocks.${layer}.mlp.hook_post`, () => rowsView(post, dMlpOf(spec, layer)));
  if (spec.block.norms === "pre" && !taps.wants(point)) {
    matmul(recorder, post, rows.count, W_out, residual, {
      bias: block.b_out,
      scale: spec.block.residualScale,
      combine: "add",
    });
    recorder.release(post);
    return;
  }
  const branch = recorder.temp(rows.count, spec.dModel);
  matmul(recorder, post, rows.count, W_out, branch, { bias: block.b_out });
  recorder.release(post);
  addBranch(context, branch, block.ln2Post, point, residual);
}

/** The hidden layer after its nonlinearity, [rows, dMlp]. */
function recordHidden(context: BlockContext, block: BlockWeights, x: Tensor): Tensor {
  const { recorder, spec, rows, layer, taps } = context;
  const at = `blocks.${layer}.mlp`;
  const post = recorder.temp(rows.count, dMlpOf(spec, layer));
  if (taps.wants(`${at}.hook_pre`) || taps.wants(`${at}.hook_pre_linear`)) {
    recordActivation(context, block, x, post);
    return post;
  }
  const { activation } = spec.mlp;
  const W_in = block.W_in as Matrix;
  if (!block.W_gate) {
    matmul(recorder, x, rows.count, W_in, post, { bias: block.b_in, activation });
    return post;
  }
  matmul(recorder, x, rows.count, block.W_gate, post, { bias: block.b_gate, activation });
  matmul(recorder, x, rows.count, W_in, post, { bias: block.b_in, combine: "multiply" });
  return post;
}

/** The same with the values before the nonlinearity written out: [rows, dMlp], or gate and input side by side. */
function recordActivation(context: BlockContext, block: BlockWeights, x: Tensor, post: Tensor): void {
  const { recorder, spec, rows, layer } = context;
  const at = `blocks.${layer}.mlp`;
  const dMlp = dMlpOf(spec, layer);
  const width = block.W_gate ? 2 * dMlp : dMlp;
  const pre = recorder.temp(rows.count, width);
  const inStart = width - dMlp;
  if (block.W_gate) matmul(recorder, x, rows.count, block.W_gate, pre, { bias: block.b_gate, outStride: width });
  matmul(recorder, x, rows.count, block.W_in as Matrix, pre, {
    bias: block.b_in,
    outStart: inStart,
    outStride: width,
  });
  offer(context, `${at}.hook_pre`, () => rowsView(pre, dMlp, 0, width));
  if (block.W_gate) offer(context, `${at}.hook_pre_linear`, () => rowsView(pre, dMlp, dMlp, width));
  mlpActivation(recorder, pre, rows.count, dMlp, spec.mlp, post);
  recorder.release(pre);
}
