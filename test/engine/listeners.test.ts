/** A signal may outlive what it is given to: an open or a load that has ended, in whatever way, leaves no listener on it. */
import { getEventListeners } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { loadModel } from "../../src/hooks/index.ts";
import { openModelSource } from "../../src/model/load.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { testGpu } from "../support/gpu.ts";

const GPT2 = fileURLToPath(new URL("../fixtures/families/gpt2", import.meta.url));

it("an open or a load that has ended leaves no listener on its signal", async () => {
  await inTempFolder(async (folder) => {
    const broken = join(folder, "broken.safetensors");
    await writeFile(broken, new Uint8Array(20));
    const gpu = await testGpu();
    for (const source of [GPT2, broken, join(folder, "none"), "ftp://none", "http://127.0.0.1:9/none"]) {
      const { signal } = new AbortController();
      const load = loadModel(source, { gpu, signal, quiet: true });
      const open = openModelSource(source, { signal, onNotice: () => {} });
      const freed = load.then((model) => model.destroy());
      const closed = open.then((checkpoint) => checkpoint.close());
      const ended = (await Promise.allSettled([freed, closed])).map(({ status }) => status);
      expect(ended, source).toEqual(Array(2).fill(source === GPT2 ? "fulfilled" : "rejected"));
      expect(getEventListeners(signal, "abort"), source).toEqual([]);
    }
  });
});
