/** The loss of a training run: a point a step, and the mean of each fortieth of the run as a line. */
import { type Picture, pointPlot } from "../pictures/index.ts";
import type { TrainStep } from "../train/index.ts";

/** Points of the line. */
const MEANS = 40;

export function lossPlot(name: string, steps: readonly Pick<TrainStep, "step" | "loss">[]): Picture {
  const size = Math.max(1, Math.ceil(steps.length / MEANS));
  const parts = Array.from({ length: Math.ceil(steps.length / size) }, (_, index) =>
    steps.slice(index * size, (index + 1) * size),
  );
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return pointPlot(
    [
      {
        name: "mean, each 1/40",
        line: parts.map((part) => [mean(part.map(({ step }) => step)), mean(part.map(({ loss }) => loss))] as const),
        points: steps.map(({ step, loss }) => [step, loss] as const),
      },
    ],
    {
      title: `Training ${name}: the loss of each step`,
      x: { label: "step" },
      y: { label: "cross entropy (nats)" },
    },
  );
}
