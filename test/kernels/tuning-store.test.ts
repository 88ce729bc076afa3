/** Where the tuner's choices are kept: under what key, and what is ignored. */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { MATMUL_FAMILY } from "../../src/kernels/matmul.ts";
import { FolderTuningStore } from "../../src/kernels/tuning/store.node.ts";
import { entryText, parseEntry, tuningKey } from "../../src/kernels/tuning/store.ts";
import { inTempFolder } from "../checkpoint/support.ts";
import { withGpu } from "../support/gpu.ts";

const KEY = MATMUL_FAMILY.keyOf({ rows: 1, layout: "linear", storage: "f32" });

describe("the tuning store", () => {
  const choices = { [KEY]: "shared 4x64" };

  it("names adapter, host and the version of the kernels", async () => {
    await withGpu(async (gpu) => {
      const key = tuningKey(gpu);
      for (const part of [gpu.host.adapterInfo.name, "node", "kernels "]) expect(key).toContain(part);
    });
  });

  it("keeps choices under their key", async () => {
    await inTempFolder(async (folder) => {
      const store = new FolderTuningStore(join(folder, "tuning"));
      expect(await store.read("a")).toBeUndefined();
      await store.write("a", { x: "y" });
      await store.write("a", choices);
      expect(await store.read("a")).toEqual(choices);
      expect(await store.read("b")).toBeUndefined();
      expect(await readdir(join(folder, "tuning"))).toHaveLength(1);
    });
  });

  it("ignores an entry that is damaged or another key's", async () => {
    await inTempFolder(async (folder) => {
      const store = new FolderTuningStore(folder);
      await store.write("a", choices);
      const [name] = (await readdir(folder)) as [string];
      for (const text of [
        "",
        "{",
        "null",
        '"a"',
        '{"key":"a"}',
        entryText("b", choices),
        entryText("a", { x: 1 as never }),
      ]) {
        await writeFile(join(folder, name), text);
        expect(await store.read("a")).toBeUndefined();
      }
      expect(parseEntry(entryText("a", choices), "a")).toEqual(choices);
    });
  });
});
