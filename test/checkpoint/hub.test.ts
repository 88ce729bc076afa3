/** The Hub and its cache, against a local server: what is fetched when, and that half a download is no download. */
import { readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { type BlobCache, entryName } from "../../src/checkpoint/cache.ts";
import { FolderCache } from "../../src/checkpoint/cache-folder.node.ts";
import { type HubSourceOptions, openCheckpoint, writeSafetensors } from "../../src/checkpoint/index.ts";
import { CONFIG, DATA, expectData, FILE, filesBelow, hub, PATH, SHA256 } from "./hub-support.ts";
import { checkpointError, type Handler, inTempFolder, servedByTest, serveFiles, startServer } from "./support.ts";

const serve = servedByTest();

/** Sends a part of the file under the full file's Content-Length, then drops the connection. */
const breakOff =
  (bytes: number): Handler =>
  (request, response, path) => {
    if (path !== PATH || request.headers.range === "bytes=0-0") return false;
    const start = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (start === 0) response.writeHead(200, { "Content-Length": DATA.length });
    else response.writeHead(206, { "Content-Range": `bytes ${start}-${DATA.length - 1}/${DATA.length}` });
    response.write(DATA.subarray(start, start + bytes));
    setTimeout(() => response.destroy(), 20);
    return true;
  };

describe("HubSource with a cache", () => {
  it("downloads a file once, with progress, and afterwards only asks for its ETag", () =>
    inTempFolder(async (folder) => {
      const { url, requests } = await serve(serveFiles({ [PATH]: DATA }, `"${SHA256}"`));
      const seen: number[] = [];
      const first = hub(url, new FolderCache(folder), { onDownload: ({ loaded }) => seen.push(loaded) });
      expect(await first.read(FILE, 5, 10)).toEqual(DATA.slice(5, 10));
      expectData(await first.read(FILE, 0, DATA.length));
      expect(seen.at(-1)).toBe(DATA.length);
      expect(requests.map(({ range }) => range)).toEqual(["bytes=0-0", undefined]);
      await first.close();
      const second = hub(url, new FolderCache(folder));
      expectData(await second.readAll(FILE));
      expect(requests.slice(2).map(({ range }) => range)).toEqual(["bytes=0-0"]);
      await second.close();
    }));

  it("downloads again when the file has changed, and drops the old version", () =>
    inTempFolder(async (folder) => {
      const files = { [PATH]: DATA };
      for (const [etag, data] of [
        ['"v1"', DATA],
        ['"v2"', DATA.slice(0, 500)],
      ] as const) {
        files[PATH] = data;
        const { url, close } = await startServer(serveFiles(files, etag));
        const cache: BlobCache = new FolderCache(folder);
        // One key for both servers, whose ports differ.
        const sameKey: BlobCache = {
          label: cache.label,
          open: (key) => cache.open(key.replace(/^[^/]+/, "hub")),
          put: (key, version, chunks) => cache.put(key.replace(/^[^/]+/, "hub"), version, chunks),
        };
        const source = hub(url, sameKey);
        expectData(await source.readAll(FILE), data);
        await source.close();
        await close();
      }
      expect(await filesBelow(folder)).toEqual([entryName({ etag: '"v2"', size: 500 })]);
    }));

  it("resumes a download that breaks off", () =>
    inTempFolder(async (folder) => {
      let broken = 0;
      const twice: Handler = (...request) => broken < 2 && breakOff(30_000)(...request) && ++broken > 0;
      const { url, requests } = await serve(twice, serveFiles({ [PATH]: DATA }, `"${SHA256}"`));
      const source = hub(url, new FolderCache(folder));
      expectData(await source.readAll(FILE));
      expect(requests.length).toBe(4);
      expect(requests[3]?.range).toBe("bytes=60000-");
      await source.close();
    }));

  it("keeps nothing of a download that cannot be finished", () =>
    inTempFolder(async (folder) => {
      const { url } = await serve(breakOff(1), serveFiles({ [PATH]: DATA }));
      const source = hub(url, new FolderCache(folder), { retry: { attempts: 1 } });
      const error = await checkpointError(() => source.read(FILE, 0, 1));
      expect(error.code).toBe("checkpoint/network");
      expect(error.message).toContain("hf:owner/name: model.safetensors");
      expect(await filesBelow(folder)).toEqual([]);
      await source.close();
    }));

  it("keeps nothing of a download with the wrong SHA-256", () =>
    inTempFolder(async (folder) => {
      const { url } = await serve(serveFiles({ [PATH]: DATA }, `"${"0".repeat(64)}"`));
      const error = await checkpointError(() => hub(url, new FolderCache(folder)).read(FILE, 0, 1));
      expect(error.code).toBe("checkpoint/incomplete-download");
      expect(await filesBelow(folder)).toEqual([]);
    }));

  it("opens a whole cached model when the Hub cannot be reached, and says so", () =>
    inTempFolder(async (folder) => {
      const weights = writeSafetensors([{ name: "a", dtype: "U8", shape: [1], data: new Uint8Array([7]) }]);
      const index = new TextEncoder().encode('{"weight_map":{"a":"one.safetensors"}}');
      const root = "/owner/name/resolve/main/";
      const files = { [`${root}one.safetensors`]: weights, [`${root}model.safetensors.index.json`]: index };
      const { url, close } = await serve(serveFiles(files));
      const notices: string[] = [];
      const options = { retry: { attempts: 1 }, onNotice: (notice: string) => notices.push(notice) };
      const load = async () => {
        const checkpoint = await openCheckpoint(hub(url, new FolderCache(folder), options));
        const bytes = await checkpoint.read("a");
        await checkpoint.close();
        return [...bytes];
      };
      expect(await load()).toEqual([7]);
      expect(notices).toEqual([]);
      await close();
      expect(await load()).toEqual([7]);
      expect(notices.length).toBe(1);
      expect(notices[0]).toContain("hf:owner/name");
    }));

  it("lets the cache speak also where the Hub is failing, and says so", () =>
    inTempFolder(async (folder) => {
      let isFailing = false;
      const failing: Handler = (_request, response) => {
        if (isFailing) response.writeHead(503).end();
        return isFailing;
      };
      const { url } = await serve(failing, serveFiles({ [PATH]: DATA }));
      const notices: string[] = [];
      for (isFailing of [false, true]) {
        const source = hub(url, new FolderCache(folder), { onNotice: (notice) => notices.push(notice) });
        expect(await source.read(FILE, 3, 6)).toEqual(DATA.slice(3, 6));
        await source.close();
      }
      expect(notices).toEqual([expect.stringMatching(/answered 503.*Files are read from .* as they are/)]);
    }));

  it("asks nothing when it is told to be offline, and names what is not there", () =>
    inTempFolder(async (folder) => {
      const { url, requests } = await serve(serveFiles({ [PATH]: DATA }));
      for (const offline of [false, true]) {
        const source = hub(url, new FolderCache(folder), { offline });
        expect(await source.read(FILE, 3, 6)).toEqual(DATA.slice(3, 6));
        await source.close();
      }
      expect(requests.length).toBe(2);
      const error = await checkpointError(() => hub(url, new FolderCache(folder), { offline: true }).exists("other"));
      expect(error.code).toBe("checkpoint/offline");
      expect(error.message).toMatch(/other.*HF_HUB_OFFLINE/);
    }));

  it.each<[string, Handler]>([
    ["no ranges", (_request, response, path) => path === PATH && !!response.writeHead(200, { ETag: '"v"' }).end(DATA)],
    [
      "compressed answers",
      (_request, response, path) => {
        const headers = { ETag: '"v"', "Content-Encoding": "gzip" };
        return path === PATH && !!response.writeHead(200, headers).end(gzipSync(DATA));
      },
    ],
    [
      "no ETag",
      (_request, response, path) => path === PATH && !!response.writeHead(200, { "X-Repo-Commit": "c" }).end(DATA),
    ],
  ])("downloads once from a mirror with %s", (_what, mirror) =>
    inTempFolder(async (folder) => {
      const { url, requests } = await serve(mirror);
      for (let run = 0; run < 2; run++) {
        const source = hub(url, new FolderCache(folder));
        expectData(await source.readAll(FILE));
        await source.close();
      }
      expect(requests.map(({ range }) => range)).toEqual(["bytes=0-0", undefined, "bytes=0-0"]);
    }),
  );

  it("goes on after a break also where the server must begin again", () =>
    inTempFolder(async (folder) => {
      let answers = 0;
      const whole: Handler = (_request, response, path) => {
        if (path !== PATH) return false;
        response.writeHead(200, { "Content-Length": DATA.length, ETag: '"v"' });
        if (++answers !== 2) return !!response.end(DATA);
        response.write(DATA.subarray(0, 30_000));
        setTimeout(() => response.destroy(), 20);
        return true;
      };
      const { url } = await serve(whole);
      const source = hub(url, new FolderCache(folder));
      expectData(await source.readAll(FILE));
      expect(answers).toBe(3);
      await source.close();
    }));

  describe("finds a damaged file", () => {
    const weights = writeSafetensors([{ name: "a", dtype: "U8", shape: [1], data: new Uint8Array([7]) }]);
    const files = { [PATH]: weights, [CONFIG]: new TextEncoder().encode('{"a":1}') };
    const open = async (url: string, folder: string, more: HubSourceOptions = {}) => {
      const checkpoint = await openCheckpoint(hub(url, new FolderCache(folder), more));
      try {
        return [...(await checkpoint.read("a"))].concat(
          JSON.stringify(await checkpoint.readJson("config.json")) as never,
        );
      } finally {
        await checkpoint.close();
      }
    };
    const damage = async (folder: string, name: string) => {
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      const entry = entries.find((file) => file.isFile() && file.parentPath.endsWith(name));
      if (!entry) throw new Error(`no ${name}`);
      const path = join(entry.parentPath, entry.name);
      await writeFile(path, new Uint8Array((await stat(path)).size));
      return path;
    };

    it.each([FILE, "config.json"])("%s, and downloads it again once", (name) =>
      inTempFolder(async (folder) => {
        const { url, requests } = await serve(serveFiles(files));
        await open(url, folder);
        const path = await damage(folder, name);
        const before = requests.length;
        const notices: string[] = [];
        expect(await open(url, folder, { onNotice: (notice) => notices.push(notice) })).toEqual([7, '{"a":1}']);
        expect(notices).toEqual([expect.stringContaining(path)]);
        expect(requests.slice(before).filter(({ range }) => !range).length).toBe(1);
        expect(await open(url, folder)).toEqual([7, '{"a":1}']);
      }),
    );

    it("and names it where it cannot be downloaded again", () =>
      inTempFolder(async (folder) => {
        const { url } = await serve(serveFiles(files));
        await open(url, folder);
        const path = await damage(folder, FILE);
        const error = await checkpointError(() => open(url, folder, { offline: true }));
        expect(error.code).toBe("checkpoint/damaged-cache");
        expect(error.message).toContain(path);
        await rm(path);
        expect(await open(url, folder)).toEqual([7, '{"a":1}']);
      }));

    it("and does not download again what the server has so", () =>
      inTempFolder(async (folder) => {
        const { url, requests } = await serve(serveFiles({ [PATH]: new Uint8Array(100) }));
        expect((await checkpointError(() => open(url, folder))).code).toBe("checkpoint/header-json");
        expect(requests.filter(({ range }) => !range).length).toBe(1);
      }));
  });

  it("asks nothing about a cached file of a commit, which cannot change", () =>
    inTempFolder(async (folder) => {
      const commit = "0123456789abcdef0123456789abcdef01234567";
      const { url, requests } = await serve(serveFiles({ [PATH.replace("main", commit)]: DATA }));
      const read = async () => {
        const source = hub(url, new FolderCache(folder), {}, commit);
        await source.read(FILE, 0, 1);
        await source.close();
      };
      await read();
      const before = requests.length;
      await read();
      expect(requests.length).toBe(before);
    }));

  it.each<[string, Record<string, string>, number]>([
    ["by status alone is asked for again", {}, 1],
    ["by error code is not asked for again", { "X-Error-Code": "EntryNotFound" }, 0],
  ])("a file that a commit lacks %s", (_what, headers, asked) =>
    inTempFolder(async (folder) => {
      const commit = "0123456789abcdef0123456789abcdef01234567";
      const late = "tokenizer.json";
      const files: Record<string, Uint8Array> = { [CONFIG.replace("main", commit)]: DATA };
      const lacking: Handler = (_request, response) => !!response.writeHead(404, headers).end();
      const { url, requests } = await serve(serveFiles(files), lacking);
      const exists = async (offline = false) => {
        const source = hub(url, new FolderCache(folder), { offline }, commit);
        const result = await source.exists(late);
        await source.close();
        return result;
      };
      expect(await exists()).toBe(false);
      expect(await exists(true)).toBe(false);
      files[CONFIG.replace("main", commit).replace("config.json", late)] = DATA;
      const before = requests.length;
      expect(await exists()).toBe(asked === 1);
      expect(requests.length - before).toBe(asked);
    }),
  );

  it("keeps apart mirrors whose addresses are alike", () =>
    inTempFolder(async (folder) => {
      const other = DATA.slice(0, 500);
      const { url } = await serve(serveFiles({ [`/a_b${PATH}`]: DATA, [`/a/b${PATH}`]: other }, '"same"'));
      for (const [path, data] of [
        ["/a_b", DATA],
        ["/a/b", other],
      ] as const) {
        const source = hub(url + path, new FolderCache(folder));
        expectData(await source.readAll(FILE), data);
        await source.close();
      }
      expect((await readdir(folder)).length).toBe(2);
    }));

  it("reads from the server where the cache cannot be written, and says so once", () =>
    inTempFolder(async (folder) => {
      const blocked = join(folder, "file");
      await writeFile(blocked, "");
      const { url } = await serve(serveFiles({ [PATH]: DATA, [CONFIG]: DATA }));
      const notices: string[] = [];
      const source = hub(url, new FolderCache(blocked), { onNotice: (notice) => notices.push(notice) });
      expect(await source.exists("tokenizer.json")).toBe(false);
      expect(await source.read(FILE, 3, 6)).toEqual(DATA.slice(3, 6));
      expectData(await source.readAll("config.json"));
      expect(notices).toEqual([expect.stringMatching(/SUPERLENS_CACHE.*read from the server/)]);
      await source.close();
    }));

  it("keeps a file with a very long ETag", () =>
    inTempFolder(async (folder) => {
      const { url, requests } = await serve(serveFiles({ [PATH]: DATA }, `"${"e".repeat(300)}"`));
      for (let run = 0; run < 2; run++) {
        const source = hub(url, new FolderCache(folder));
        expectData(await source.readAll(FILE));
        await source.close();
      }
      expect(requests.filter(({ range }) => range === undefined).length).toBe(1);
    }));

  it("cannot be read after it was closed, not even what is in the cache", () =>
    inTempFolder(async (folder) => {
      const commit = "0123456789abcdef0123456789abcdef01234567";
      const { url } = await serve(serveFiles({ [PATH.replace("main", commit)]: DATA }));
      const source = hub(url, new FolderCache(folder), {}, commit);
      await source.read(FILE, 0, 1);
      await source.close();
      expect((await checkpointError(() => source.read(FILE, 0, 1))).code).toBe("checkpoint/closed");
      const closing = hub(url, new FolderCache(folder), {}, commit);
      const reading = checkpointError(() => closing.read(FILE, 0, 1));
      await closing.close();
      expect((await reading).code).toBe("checkpoint/closed");
    }));
});
