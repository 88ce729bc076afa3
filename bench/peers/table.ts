/** A result for people: the adapter, the versions, and what was timed. */
import type { Row } from "./compare.ts";
import type { Answer } from "./job.ts";
import type { Result } from "./peers.ts";

export function printResult({ job, host, versions, answer, failure }: Result): void {
  console.log(`\n${job.shape}, ${host}${answer ? `, ${answer.adapter.name} (${answer.adapter.kind})` : ""}`);
  console.log(`  ${versions}; ${job.rounds} rounds`);
  if (answer) printAnswer(job.peer, answer);
  else console.log(`  FAILED: ${failure?.replaceAll("\n", "\n    ")}`);
}

const LABELS: Record<Row["what"], string> = {
  prefill: "prefill 128, ms",
  decode: "decode behind 128, ms a token",
  train: "train, ms a step",
};

function printAnswer(peerName: string, { rows, differences, isSameText, notes }: Answer): void {
  console.log(`  ${"".padEnd(30)}${"superlens".padStart(12)}${peerName.padStart(12)}${"ratio".padStart(9)}`);
  for (const { what, superlens, peer, ratio } of rows) {
    const cells = [superlens, peer].map((time) => time.toFixed(1).padStart(12)).join("");
    console.log(`  ${LABELS[what].padEnd(30)}${cells}${`${ratio.toFixed(2)}x`.padStart(9)}`);
  }
  if ("losses" in differences) console.log(`  losses differ by ${differences.losses.toExponential(1)}`);
  else {
    const { prefill, decode } = differences;
    const text = isSameText ? "the same tokens" : "other tokens";
    console.log(
      `  logits differ by ${prefill.toExponential(1)} and ${decode.toExponential(1)} of the largest; ${text}`,
    );
  }
  for (const note of notes) console.log(`  ${note}`);
}
