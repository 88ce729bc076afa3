/** A result for people: the adapter, the versions, and what was timed. */
import type { Answer } from "./job.ts";
import type { Result } from "./peers.ts";

export function printResult({ job, host, versions, answer, failure }: Result): void {
  console.log(`\n${job.shape}, ${host}${answer ? `, ${answer.adapter.name} (${answer.adapter.kind})` : ""}`);
  console.log(`  ${versions}; ${job.rounds} rounds`);
  if (answer) printAnswer(job.peer, answer);
  else console.log(`  FAILED: ${failure?.replaceAll("\n", "\n    ")}`);
}

function printAnswer(peerName: string, answer: Answer): void {
  console.log(`  ${"".padEnd(30)}${"superlens".padStart(12)}${peerName.padStart(12)}${"ratio".padStart(9)}`);
  for (const { what, superlens, peer, ratio } of answer.rows) {
    const label = what === "prefill" ? "prefill 128, ms" : "decode behind 128, ms a token";
    const cells = [superlens, peer].map((time) => time.toFixed(1).padStart(12)).join("");
    console.log(`  ${label.padEnd(30)}${cells}${`${ratio.toFixed(2)}x`.padStart(9)}`);
  }
  const { prefill, decode } = answer.differences;
  const text = answer.isSameText ? "the same tokens" : "other tokens";
  console.log(`  logits differ by ${prefill.toExponential(1)} and ${decode.toExponential(1)} of the largest; ${text}`);
  for (const note of answer.notes) console.log(`  ${note}`);
}
