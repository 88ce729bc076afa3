/** The cache on disk: what is kept, under which name. */
import { mkdir, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type BlobVersion, entryName, safeSegment, versionFromName } from "../../src/checkpoint/cache.ts";
import { defaultCacheFolder, FolderCache } from "../../src/checkpoint/cache-folder.node.ts";
import { filesBelow } from "./hub-support.ts";
import { checkpointError, inTempFolder } from "./support.ts";

async function* chunksOf(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

describe("FolderCache", () => {
  const version = { etag: 'W/"a.b"', size: 4 };
  const four = new Uint8Array([1, 2, 3, 4]);

  it("keeps what it is given, under any key", () =>
    inTempFolder(async (folder) => {
      const cache = new FolderCache(folder);
      for (const key of ["plain", "a/../b", "hub:80/owner/name/refs%2Fpr/x y", "CON*?"]) {
        expect(await cache.open(key)).toBeUndefined();
        const put = await cache.put(key, version, chunksOf(four.slice(0, 1), four.slice(1)));
        const opened = await cache.open(key);
        expect(opened).toMatchObject(version);
        expect(await opened?.read(1, 3)).toEqual(new Uint8Array([2, 3]));
        await put.close?.();
        await opened?.close?.();
      }
      expect((await filesBelow(folder)).length).toBe(4);
    }));

  it.each([
    ["too few", [four.slice(1)], /3 of 4/],
    ["too many", [four, four], /more than the 4/],
  ])("refuses %s bytes and keeps none", (_what, chunks, message) =>
    inTempFolder(async (folder) => {
      const put = () => new FolderCache(folder).put("key", version, chunksOf(...chunks));
      expect((await checkpointError(put)).message).toMatch(message);
      expect(await filesBelow(folder)).toEqual([]);
    }),
  );

  it("does not take a partial or damaged file for an entry, and removes abandoned ones", () =>
    inTempFolder(async (folder) => {
      const cache = new FolderCache(folder);
      await mkdir(join(folder, "key"));
      await writeFile(join(folder, "key", entryName({ etag: "v1", size: 9 })), four);
      await writeFile(join(folder, "key", ".partial-young"), four);
      await writeFile(join(folder, "key", ".partial-old"), four);
      await utimes(join(folder, "key", ".partial-old"), 0, 0);
      expect(await cache.open("key")).toBeUndefined();
      await (await cache.put("key", version, chunksOf(four))).close?.();
      expect((await filesBelow(folder)).sort()).toEqual([".partial-young", entryName(version)].sort());
    }));

  it("names the folder when it cannot be written", () =>
    inTempFolder(async (folder) => {
      await writeFile(join(folder, "file"), "");
      const put = () => new FolderCache(join(folder, "file")).put("key", version, chunksOf(four));
      expect((await checkpointError(put)).message).toMatch(/SUPERLENS_CACHE/);
    }));

  it("follows the usual environment variables", () => {
    expect(defaultCacheFolder({ SUPERLENS_CACHE: "/c", HF_HOME: "/h" })).toBe("/c");
    expect(defaultCacheFolder({ HF_HOME: "/h", XDG_CACHE_HOME: "/x" })).toBe(join("/h", "superlens"));
    expect(defaultCacheFolder({ XDG_CACHE_HOME: "/x" })).toBe(join("/x", "superlens"));
    expect(defaultCacheFolder({})).toMatch(/\.cache.superlens$/);
  });
});

describe("cache names", () => {
  it("say the version and come back from it", () => {
    for (const etag of ['"abc"', 'W/"a.b"', "é☃", "..", "a%b"]) {
      expect(versionFromName(entryName({ etag, size: 12 }))).toEqual({ etag, size: 12 });
    }
    expect(versionFromName(".partial-1.12")).toBeUndefined();
  });

  it("are short, one for each ETag, however long that is", () => {
    const long = (last: string) => ({ etag: `"${"e".repeat(300)}${last}"`, size: 12 });
    expect(entryName(long("a")).length).toBeLessThan(64);
    expect(entryName(long("a"))).not.toBe(entryName(long("b")));
    expect(entryName(versionFromName(entryName(long("a"))) as BlobVersion)).toBe(entryName(long("a")));
  });

  it("cannot leave the folder", () => {
    expect(
      [".", "..", "...", "a/b", "a\\b", "a:b"].map(safeSegment).filter((name) => /^\.+$|[/\\:]/.test(name)),
    ).toEqual([]);
  });
});
