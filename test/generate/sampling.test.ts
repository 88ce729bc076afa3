/**
 * The kernels that choose tokens, against the plain reference. A draw inverts the cumulative distribution, so a row of
 * evenly spaced uniform numbers finds each token exactly as often as its probability says, without any randomness.
 */
import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import {
  chosenTokens,
  recordChoice,
  recordPenalty,
  resolveSampling,
  type SamplingOptions,
} from "../../src/model/sampling.ts";
import { gpuTakenForHardware, gpuWithLimits, testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
import { gaussians, seeded } from "../support/numbers.ts";
import { distribution, penalized } from "./sampling.reference.ts";

/** Tokens chosen for the rows of `logits` [rows, vocab]. */
async function choose(gpu: Gpu, logits: Float32Array, vocab: number, options: SamplingOptions, uniforms: Float32Array) {
  const rows = logits.length / vocab;
  using tensor = gpu.tensorFrom(logits, [rows, vocab], "logits");
  const readback = await Recorder.run(gpu, "choice", (recorder) =>
    recorder.readback(recordChoice(recorder, tensor, rows, resolveSampling(options), recorder.upload(uniforms))),
  );
  return chosenTokens(readback.bytes, [...new Array(rows).keys()]);
}

/** How often each token is drawn from one distribution at `draws` evenly spaced numbers. */
async function shares(gpu: Gpu, x: Float32Array, options: SamplingOptions, draws: number): Promise<number[]> {
  const logits = new Float32Array(draws * x.length);
  for (let row = 0; row < draws; row++) logits.set(x, row * x.length);
  const uniforms = Float32Array.from({ length: draws }, (_, row) => (row + 0.5) / draws);
  const counts = new Array<number>(x.length).fill(0);
  for (const token of await choose(gpu, logits, x.length, options, uniforms)) {
    counts[token] = (counts[token] as number) + 1;
  }
  return counts.map((count) => count / draws);
}

/** Logits of a shape a language model may give: most far below a few. */
function modelLike(seed: number, vocab: number): Float32Array {
  return gaussians(seeded(seed), vocab, 2, -3);
}

const ALL_FILTERS: SamplingOptions[] = [
  { temperature: 1 },
  { temperature: 0.3 },
  { temperature: 4 },
  { temperature: 1, topK: 1 },
  { temperature: 0.7, topK: 7 },
  { temperature: 1, topK: 100000 },
  { temperature: 1, topP: 0 },
  { temperature: 1, topP: 0.001 },
  { temperature: 1, topP: 0.5 },
  { temperature: 1.3, topP: 0.93 },
  { temperature: 1, topP: 0.9999 },
  { temperature: 1, minP: 0.05 },
  { temperature: 2, minP: 0.3 },
  { temperature: 1, minP: 1 },
  { temperature: 0.8, topK: 20, topP: 0.7, minP: 0.1 },
  { temperature: 3, topK: 50, topP: 0.99, minP: 0.02 },
];

const DRAWS = 128;

describe.each(ALL_FILTERS)("a draw with %o", (options) => {
  it.each(byDay([1, 2, 96, 129, 1000], [1, 129, 1000]))(
    "has the reference's distribution over %i tokens",
    async (vocab) => {
      const x = modelLike(vocab, vocab);
      const expected = distribution(x, options);
      const drawn = await shares(await testGpu(), x, options, DRAWS);
      // A token's share ends at two draws, either of which rounding may move.
      expected.forEach((probability, token) => {
        expect(Math.abs((drawn[token] as number) - probability), `token ${token}`).toBeLessThan(2 / DRAWS);
        if (probability === 0) expect(drawn[token], `token ${token} is filtered out`).toBe(0);
      });
    },
  );
});

describe("thresholds", () => {
  it("keep all of the tokens that are equal to the k-th largest", async () => {
    const x = Float32Array.from([1, 3, 2, 3, 2, 2, 0, -1]);
    const drawn = await shares(await testGpu(), x, { temperature: 1, topK: 3 }, DRAWS);
    expect(drawn.map((share) => share > 0)).toEqual([false, true, true, true, true, true, false, false]);
  });

  it("keep or drop equal tokens together in top-p", async () => {
    const x = Float32Array.from([0, 0, 0, 0, -9, -9]);
    const drawn = await shares(await testGpu(), x, { temperature: 1, topP: 0.3 }, DRAWS);
    expect(drawn.map((share) => share > 0)).toEqual([true, true, true, true, false, false]);
  });

  it("take zeros of either sign as equal", async () => {
    const drawn = await shares(await testGpu(), Float32Array.from([-0, 0, -1]), { temperature: 1, topK: 1 }, DRAWS);
    expect(drawn).toEqual([0.5, 0.5, 0]);
  });

  it("apply top-p to what top-k left", async () => {
    const x = Float32Array.from([0.4, 0.3, 0.2, 0.1], Math.log);
    const gpu = await testGpu();
    const topPAlone = await shares(gpu, x, { temperature: 1, topP: 0.5 }, DRAWS);
    const both = await shares(gpu, x, { temperature: 1, topK: 2, topP: 0.5 }, DRAWS);
    expect(topPAlone.map((share) => share > 0)).toEqual([true, true, false, false]);
    expect(both).toEqual([1, 0, 0, 0]); // the first has 4/7 of what top-k left
  });

  it("never draw a masked token", async () => {
    const x = Float32Array.from({ length: 300 }, (_, token) => (token % 3 === 0 ? 0 : Number.NEGATIVE_INFINITY));
    const drawn = await shares(await testGpu(), x, { temperature: 1 }, DRAWS);
    expect(drawn.filter((share, token) => share > 0 !== (token % 3 === 0))).toEqual([]);
  });

  it("hold for logits of any size", async () => {
    for (const scale of [1e-30, 1e30]) {
      const x = Float32Array.from([3, 2, 1, -1, -2, -3], (value) => value * scale);
      const drawn = await shares(await testGpu(), x, { temperature: scale, topK: 4 }, DRAWS);
      distribution(
        Array.from(x, (value) => value / scale),
        { topK: 4 },
      ).forEach((probability, token) => {
        expect(Math.abs((drawn[token] as number) - probability)).toBeLessThan(2 / DRAWS);
      });
    }
  });
});

describe("a large vocabulary", () => {
  it.each([50257, 262144])("of %i tokens is filtered and drawn like a small one", async (vocab) => {
    const x = modelLike(3, vocab);
    x[vocab - 5] = 9; // the draw must reach the end of the row
    const options = { temperature: 0.8, topK: 200, topP: 0.8 };
    const expected = distribution(x, options);
    const drawn = await shares(await testGpu(), x, options, 16);
    drawn.forEach((share, token) => {
      if (share === 0) return;
      expect(expected[token], `token ${token}`).toBeGreaterThan(0);
      expect(Math.abs(share - (expected[token] as number))).toBeLessThan(2 / 16);
    });
    expect(drawn[vocab - 5]).toBeGreaterThan(0);
  });

  it("is split by rows where a binding cannot hold all of them", async () => {
    const gpu = await gpuWithLimits({ maxStorageBufferBindingSize: 64 * 300 * 4, maxComputeWorkgroupsPerDimension: 7 });
    const x = modelLike(4, 300);
    const drawn = await shares(gpu, x, { temperature: 1 }, 500);
    distribution(x, {}).forEach((probability, token) => {
      expect(Math.abs((drawn[token] as number) - probability)).toBeLessThan(2 / 500);
    });
  });
});

describe("greedy choice", () => {
  const NONE = new Float32Array();

  it("takes the lowest of equal tokens", async () => {
    const rows = [
      [1, 5, 5, 0, 5],
      [-3, -2, -2, -4, -2],
      [0, -0, 0, 0, 0],
      [-0, 0, -1, -1, -1],
      [Number.NEGATIVE_INFINITY, -1e38, Number.NEGATIVE_INFINITY, -3e38, -3e38],
    ];
    expect(await choose(await testGpu(), Float32Array.from(rows.flat()), 5, {}, NONE)).toEqual([1, 1, 0, 0, 1]);
  });

  it.each([1, 255, 257, 4099, 262144])("finds the largest of %i anywhere in the row", async (vocab) => {
    const places = [0, 1, vocab >> 1, vocab - 2, vocab - 1].map((place) => Math.min(Math.max(place, 0), vocab - 1));
    const logits = gaussians(seeded(vocab), places.length * vocab);
    places.forEach((place, row) => {
      logits[row * vocab + place] = 100;
    });
    for (const gpu of [await testGpu(), await gpuTakenForHardware()]) {
      expect(await choose(gpu, logits, vocab, {}, NONE)).toEqual(places);
    }
  });

  it("is split by rows where a binding cannot hold all of them", async () => {
    const gpu = await gpuWithLimits({ maxStorageBufferBindingSize: 64 * 300 * 4, maxComputeWorkgroupsPerDimension: 7 });
    const logits = gaussians(seeded(8), 300 * 300);
    const expected = Array.from({ length: 300 }, (_, row) => {
      const values = logits.subarray(row * 300, (row + 1) * 300);
      return values.indexOf(Math.max(...values));
    });
    expect(await choose(gpu, logits, 300, {}, NONE)).toEqual(expected);
  });
});

describe.each([{ temperature: 0 }, { temperature: 1, topP: 0.9 }])("with %o", (options) => {
  const BAD: [string, number[]][] = [
    ["a NaN", [0, Number.NaN, 1]],
    ["infinity", [0, Number.POSITIVE_INFINITY, 1]],
    ["nothing but masked tokens", new Array(3).fill(Number.NEGATIVE_INFINITY)],
  ];
  it.each(BAD)("%s in the logits is an error that names the sequence", async (_, row) => {
    const logits = Float32Array.from([1, 2, 3, ...row]);
    await expect(choose(await testGpu(), logits, 3, options, Float32Array.from([0.5, 0.5]))).rejects.toMatchObject({
      code: "gpu/not-finite",
      message: expect.stringContaining("sequence 1"),
    });
  });

  it("a NaN with its sign set is one as well", async () => {
    const logits = new Float32Array(new Uint32Array([0, 0xffc00000, 0]).buffer);
    await expect(choose(await testGpu(), logits, 3, options, Float32Array.from([0.5]))).rejects.toMatchObject({
      code: "gpu/not-finite",
    });
  });
});

describe("the repetition penalty", () => {
  it.each([1.3, 0.5])("of %f changes seen tokens once, by their sign, and no others", async (penalty) => {
    const gpu = await gpuWithLimits({ maxStorageBufferBindingSize: 64 * 50 * 4 });
    const random = seeded(5);
    const logits = gaussians(random, 150 * 50);
    logits[3] = 0;
    const seen = Array.from({ length: 150 }, (_, row) => {
      return new Set(Array.from({ length: row % 7 }, () => Math.floor(random() * 50)));
    });
    using tensor = gpu.tensorFrom(logits, [150, 50], "logits");
    await Recorder.run(gpu, "penalty", (recorder) => recordPenalty(recorder, tensor, seen, penalty));
    const actual = await tensor.read();
    seen.forEach((tokens, row) => {
      const expected = penalized(logits.subarray(row * 50, (row + 1) * 50), tokens, penalty);
      expected.forEach((value, token) => {
        const is = actual[row * 50 + token] as number;
        expect(Math.abs(is - value), `row ${row}, token ${token}`).toBeLessThanOrEqual(2e-7 * Math.abs(value));
      });
    });
  });
});

describe("settings", () => {
  const BAD: SamplingOptions[] = [
    { temperature: -1 },
    { temperature: Number.NaN },
    { topK: 1.5 },
    { topK: -1 },
    { topP: 1.1 },
    { minP: -0.1 },
    { repetitionPenalty: 0 },
    { seed: 0.5 },
  ];
  it.each(BAD)("%o is refused by name", (options) => {
    const name = Object.keys(options)[0] as string;
    expect(() => resolveSampling(options)).toThrow(expect.objectContaining({ code: "input/sampling" }));
    expect(() => resolveSampling(options)).toThrow(name);
  });
});
