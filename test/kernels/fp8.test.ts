/** Weights of eight bits that are floats. */
import { expect, it } from "vitest";
import { testGpu } from "../support/gpu.ts";
import { everyFp8 } from "./fp8.cases.ts";

it("every float of eight bits is its number, the smallest too, for which an f32 of its bits would be subnormal", async () => {
  const { actual, expected } = await everyFp8(await testGpu());
  expect(actual).toEqual(expected);
});
