/** The Hub and its cache, against a local server: what is fetched when, and that half a download is no download. */
import { createHash } from "node:crypto";
import { mkdir, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import { type BlobCache, entryName, safeSegment, versionFromName } from "../../src/checkpoint/cache.ts";
import { defaultCacheFolder, FolderCache } from "../../src/checkpoint/cache-folder.node.ts";
import { HubSource, type HubSourceOptions, openCheckpoint, writeSafetensors } from "../../src/checkpoint/index.ts";
import { hubOptionsFrom } from "../../src/checkpoint/register.node.ts";
import {
  checkpointError,
  firstFew,
  type Handler,
  inTempFolder,
  serveFiles,
  startServer,
  type TestServer,
} from "./support.ts";

const DATA = Uint8Array.from({ length: 100_000 }, (_, i) => i % 251);
const SHA256 = createHash("sha256").update(DATA).digest("hex");
const PATH = "/owner/name/resolve/main/model.safetensors";
const CONFIG = "/owner/name/resolve/main/config.json";
const FILE = "model.safetensors";

let server: TestServer | undefined;

afterEach(async () => {
  await server?.close();
  server = undefined;
});

async function serve(...handlers: Handler[]): Promise<TestServer> {
  server = await startServer(...handlers);
  return server;
}

function hub(url: string, cache?: BlobCache, more: HubSourceOptions = {}, revision = "main"): HubSource {
  return new HubSource({ repo: "owner/name", revision }, { hubUrl: url, cache, retry: { delayMs: 1 }, ...more });
}

/** `toEqual` takes seconds for so many bytes. */
function expectData(bytes: Uint8Array, expected: Uint8Array = DATA): void {
  expect(Buffer.compare(bytes, expected)).toBe(0);
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

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
});

describe("HubSource", () => {
  it("sends the access token and the revision", async () => {
    const seen: (string | undefined)[] = [];
    const { url } = await serve((request) => {
      seen.push(request.url, request.headers.authorization);
      return false;
    });
    await hub(url, undefined, { accessToken: "hf_test" }, "refs/pr/1").exists("config.json");
    expect(seen).toEqual(["/owner/name/resolve/refs%2Fpr%2F1/config.json", "Bearer hf_test"]);
  });

  it.each([
    [401, "forbidden"],
    [403, "forbidden"],
    [404, "no-model"],
    [500, "network"],
  ])("gives a typed error for status %i", async (status, code) => {
    const { url } = await serve((_request, response) => {
      response.writeHead(status, { "X-Error-Code": "RepoNotFound" }).end();
      return true;
    });
    const error = await checkpointError(() => hub(url).exists("config.json"));
    expect(error.code).toBe(`checkpoint/${code}`);
    expect(error.message).toContain("hf:owner/name");
    expect(error.message).not.toContain("connection");
  });

  it.each<[number, Record<string, string>, string | undefined, string, RegExp]>([
    [401, {}, undefined, "forbidden", /does not exist, or is private.*HF_TOKEN/],
    [401, {}, "hf_x", "forbidden", /access token is wrong/],
    [403, { "X-Error-Code": "GatedRepo", "X-Error-Message": "ask first" }, "hf_x", "forbidden", /ask first.*gated/],
    [404, { "X-Error-Code": "RevisionNotFound" }, undefined, "no-model", /Check the revision/],
    [404, {}, undefined, "no-model", /name and revision/],
    [400, {}, undefined, "network", /answered 400\. Check the address/],
  ])("says what %i with %j means, with the token %j", async (status, headers, accessToken, code, message) => {
    const { url } = await serve((_request, response) => {
      response.writeHead(status, headers).end();
      return true;
    });
    const error = await checkpointError(() => hub(url, undefined, { accessToken }).exists(FILE));
    expect(error.code).toBe(`checkpoint/${code}`);
    expect(error.message).toMatch(message);
  });

  it("says that the connection failed only when it did", async () => {
    const { url, close } = await startServer();
    await close();
    const error = await checkpointError(() => hub(url).exists(FILE));
    expect(error.code).toBe("checkpoint/network");
    expect(error.message).toMatch(/ECONNREFUSED.*Check the connection/);
  });

  it.each([403, 404])("takes %i without a code for a missing file where the model can be read", async (status) => {
    const { url } = await serve(serveFiles({ [CONFIG]: new Uint8Array(2) }), (_request, response) => {
      response.writeHead(status).end();
      return true;
    });
    expect(await hub(url).exists("tokenizer.json")).toBe(false);
  });

  it("takes length and hash of a file in chunked storage from the Hub's description of it", async () => {
    const described: Handler = (request, response) => {
      if (!request.headers.accept?.includes("xet-fileinfo")) return false;
      const headers = { "X-Linked-Size": DATA.length, "X-Linked-ETag": `"${SHA256}"`, ETag: '"of the description"' };
      response.writeHead(200, { "Content-Type": "application/vnd.xet-fileinfo+json", ...headers }).end("{}");
      return true;
    };
    const { url } = await serve(described, serveFiles({ [PATH]: DATA }, '"of the storage"'));
    expect(await hub(url).read(FILE, 3, 6)).toEqual(DATA.slice(3, 6));
    await inTempFolder(async (folder) => {
      const source = hub(url, new FolderCache(folder));
      expectData(await source.readAll(FILE));
      expect(await filesBelow(folder)).toEqual([entryName({ etag: `"${SHA256}"`, size: DATA.length })]);
      await source.close();
    });
  });

  it.each([
    ["two\nlines", "bad-token"],
    ["sécret", "bad-token"],
  ])("refuses the access token %j without repeating it", async (accessToken, code) => {
    const error = await checkpointError(() => hub("http://localhost", undefined, { accessToken }));
    expect(error.code).toBe(`checkpoint/${code}`);
    expect(error.message).not.toContain(accessToken);
  });

  it("sends a token of any form, and headers, to a hub with a path and slashes at its end", async () => {
    const seen: unknown[] = [];
    const { url } = await serve((request) => {
      seen.push(request.url, request.headers.authorization, request.headers["x-team"]);
      return false;
    });
    const options = { accessToken: "eyJ2ZXIiOiIy\n", headers: { "X-Team": "lens" } };
    await hub(`${url}/api/hf//`, undefined, options).exists("config.json");
    expect(seen).toEqual(["/api/hf/owner/name/resolve/main/config.json", "Bearer eyJ2ZXIiOiIy", "lens"]);
  });

  it("names a hub that is no address", async () => {
    const error = await checkpointError(() => hub("hf-mirror.com"));
    expect(error.code).toBe("checkpoint/bad-source");
    expect(error.message).toContain("HF_ENDPOINT");
  });

  it("tries again after a transient failure", async () => {
    const flaky = firstFew(2, PATH, (response) => response.writeHead(502).end());
    const { url } = await serve(flaky, serveFiles({ [PATH]: DATA }));
    expect(await hub(url).read(FILE, 3, 6)).toEqual(DATA.slice(3, 6));
  });

  it("reads the right place from a server that sends ranges of a byte alone", async () => {
    const whole: Handler = (request, response) => {
      if (request.headers.range === "bytes=0-0") return false;
      response.writeHead(200).end(DATA);
      return true;
    };
    const { url } = await serve(whole, serveFiles({ [PATH]: DATA }));
    expect(await hub(url).read(FILE, 3, 6)).toEqual(DATA.slice(3, 6));
  });
});

describe("the Hub's options on Node and Deno", () => {
  it("come from the variables and files of Hugging Face's own tools", () =>
    inTempFolder(async (folder) => {
      await writeFile(join(folder, "token"), "from-file\n");
      await mkdir(join(folder, "huggingface"));
      await writeFile(join(folder, "huggingface", "token"), "from-cache");
      await writeFile(join(folder, "other"), " elsewhere ");
      const token = async (environment: Record<string, string>) => (await hubOptionsFrom(environment)).accessToken;
      expect(await token({ HF_TOKEN: " a\n", HUGGING_FACE_HUB_TOKEN: "b", HF_HOME: folder })).toBe("a");
      expect(await token({ HUGGING_FACE_HUB_TOKEN: "b", HF_HOME: folder })).toBe("b");
      expect(await token({ HF_HOME: folder })).toBe("from-file");
      expect(await token({ XDG_CACHE_HOME: folder })).toBe("from-cache");
      expect(await token({ HF_HOME: folder, HF_TOKEN_PATH: join(folder, "other") })).toBe("elsewhere");
      expect(await token({ HF_TOKEN: "a", HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" })).toBeUndefined();
      expect(await token({ HF_HOME: join(folder, "none") })).toBeUndefined();
    }));

  it("say where the Hub is, whether to ask it, and how patiently", async () => {
    const none = await hubOptionsFrom({ HF_HOME: "/none", HF_ENDPOINT: "" });
    expect([none.hubUrl, none.offline, none.retry]).toEqual([undefined, false, undefined]);
    const all = { HF_ENDPOINT: "https://mirror/hf/", HF_HUB_OFFLINE: "YES", HF_HUB_DOWNLOAD_TIMEOUT: "90" };
    const { hubUrl, offline, retry } = await hubOptionsFrom({ HF_HOME: "/none", ...all });
    expect([hubUrl, offline, retry]).toEqual(["https://mirror/hf/", true, { timeoutMs: 90_000 }]);
    expect((await hubOptionsFrom({ HF_HOME: "/none", TRANSFORMERS_OFFLINE: "1" })).offline).toBe(true);
  });
});

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

  it("cannot leave the folder", () => {
    expect(
      [".", "..", "...", "a/b", "a\\b", "a:b"].map(safeSegment).filter((name) => /^\.+$|[/\\:]/.test(name)),
    ).toEqual([]);
  });
});
