/** GGUF files that ggml's quantizer wrote: the logits are those of transformers, which unpacks the same blocks with gguf-py. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { loadParts } from "../../../src/model/load.ts";
import { Model } from "../../../src/model/model.ts";
import { goldenIn, readLogits } from "../../support/fixtures.ts";
import { testGpu } from "../../support/gpu.ts";
import { relativeError } from "../../support/numbers.ts";

const ROOT = fileURLToPath(new URL("../../fixtures/gguf/", import.meta.url));

describe.each(readdirSync(ROOT))("%s", (name) => {
  it("has transformers' logits", { timeout: 60_000 }, async () => {
    const notices: string[] = [];
    const onNotice = (message: string) => void notices.push(message);
    using model = new Model(await loadParts(`${ROOT}${name}/model.gguf`, { gpu: await testGpu(), onNotice }));
    const { ids, values } = await goldenIn(ROOT + name);
    const logits = await readLogits(model.forward(ids));
    expect(relativeError(logits, values.get("logits") as Float32Array)).toBeLessThan(1e-5);
    expect(notices[0]).toMatch(
      /16 tensors are quantized \(Q._., Q._.\)\. They are unpacked to float32 .* MB become 5\.8 MB/,
    );
    expect(notices[1]).toMatch(/token ids only.*without tokenizer\.ggml\.pre/);
  });
});
