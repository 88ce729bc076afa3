/** The sources keep one contract: the same model read from a folder, from files and over HTTP is the same model. */
import { mkdir, rename, symlink, utimes, writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { FolderSource } from "../../src/checkpoint/folder.node.ts";
import {
  type CheckpointSource,
  FilesSource,
  HubSource,
  openCheckpoint,
  UrlSource,
} from "../../src/checkpoint/index.ts";
import { checkpointError, firstFew, type Handler, inTempFolder, servedByTest, serveFiles } from "./support.ts";

const DATA = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);
const FILES = { "config.json": new TextEncoder().encode("{}"), "model.safetensors": DATA, "sub/a b.bin": DATA };
const FAST = { delayMs: 1 };

const serve = servedByTest();

const under = (prefix: string) =>
  Object.fromEntries(Object.entries(FILES).map(([name, data]) => [prefix + name, data]));

const KINDS: Record<string, (use: (source: CheckpointSource) => Promise<void>) => Promise<void>> = {
  folder: (use) =>
    inTempFolder(async (folder) => {
      await mkdir(join(folder, "sub"));
      for (const [name, data] of Object.entries(FILES)) await writeFile(join(folder, name), data);
      const source = new FolderSource(folder);
      await use(source);
      await source.close();
    }),
  files: (use) => use(new FilesSource(Object.entries(FILES).map(([name, data]) => ({ name, blob: new Blob([data]) })))),
  url: async (use) => use(new UrlSource(`${(await serve(serveFiles(under("/m/")))).url}/m`, { retry: FAST })),
  hub: async (use) => {
    const { url } = await serve(serveFiles(under("/owner/name/resolve/main/")));
    await use(new HubSource({ repo: "owner/name" }, { hubUrl: url, retry: FAST }));
  },
};

describe.each(Object.entries(KINDS))("a source of kind %s", (_kind, withSource) => {
  it("reads ranges and whole files", () =>
    withSource(async (source) => {
      expect(await source.size("model.safetensors")).toBe(1000);
      expect(await source.read("model.safetensors", 0, 1000)).toEqual(DATA);
      expect(await source.read("model.safetensors", 10, 20)).toEqual(DATA.slice(10, 20));
      expect(await source.read("model.safetensors", 999, 1000)).toEqual(DATA.slice(999));
      expect(await source.read("model.safetensors", 5, 5)).toEqual(new Uint8Array(0));
      expect(await source.readAll("sub/a b.bin")).toEqual(DATA);
      expect(new TextDecoder().decode(await source.readAll("config.json"))).toBe("{}");
    }));

  it("knows what exists", () =>
    withSource(async (source) => {
      expect(await source.exists("model.safetensors")).toBe(true);
      expect(await source.exists("absent.json")).toBe(false);
      for (const call of [() => source.size("absent.json"), () => source.readAll("absent.json")]) {
        const error = await checkpointError(call);
        expect(error.code).toBe("checkpoint/not-found");
        expect(error.message).toContain("absent.json");
        expect(error.message).toContain(source.label);
      }
    }));

  it("refuses ranges beyond the file, files too large and names that leave the folder", () =>
    withSource(async (source) => {
      expect((await checkpointError(() => source.read("model.safetensors", 0, 1001))).code).toBe("checkpoint/range");
      expect((await checkpointError(() => source.readAll("model.safetensors", 999))).code).toBe("checkpoint/too-large");
      for (const name of ["../x", "/x", "http://x/y", "a\\b", "", "a/./b"]) {
        for (const call of [() => source.exists(name), () => source.readAll(name), () => source.read(name, 0, 0)]) {
          expect((await checkpointError(call)).code).toBe("checkpoint/unsafe-name");
        }
      }
    }));
});

describe("FolderSource", () => {
  it("follows links, as the Python Hub cache needs", () =>
    inTempFolder(async (folder) => {
      await mkdir(join(folder, "snapshot"));
      await writeFile(join(folder, "blob"), DATA);
      await symlink(join(folder, "blob"), join(folder, "snapshot", "model.safetensors"));
      const source = new FolderSource(join(folder, "snapshot"));
      expect(await source.read("model.safetensors", 0, 3)).toEqual(DATA.slice(0, 3));
      expect(await source.list()).toEqual(["model.safetensors"]);
      await source.close();
    }));

  it("lists what lies in a folder of Python's Hub cache, through links, and has done where links go round", () =>
    inTempFolder(async (folder) => {
      await mkdir(join(folder, "blobs"));
      await writeFile(join(folder, "blobs", "b"), DATA);
      await mkdir(join(folder, "elsewhere"));
      await symlink(join(folder, "blobs", "b"), join(folder, "elsewhere", "model.safetensors"));
      await mkdir(join(folder, "cache", "snapshots"), { recursive: true });
      await symlink(join(folder, "elsewhere"), join(folder, "cache", "snapshots", "c0ffee"));
      await symlink(folder, join(folder, "elsewhere", "round"));
      const listed = await new FolderSource(join(folder, "cache")).list();
      expect(listed).toContain("snapshots/c0ffee/model.safetensors");
      expect(listed.length).toBeLessThan(10);
    }));

  it("refuses a file that was written to since it was opened, and reads on in one that another replaced", () =>
    inTempFolder(async (folder) => {
      const path = join(folder, "model.safetensors");
      await writeFile(path, DATA);
      const source = new FolderSource(folder);
      expect(await source.read("model.safetensors", 0, 3)).toEqual(DATA.slice(0, 3));
      await writeFile(`${path}.new`, DATA.slice().reverse());
      await rename(`${path}.new`, path);
      expect(await source.read("model.safetensors", 0, 3)).toEqual(DATA.slice(0, 3));
      await source.close();
      const other = new FolderSource(folder);
      await other.read("model.safetensors", 0, 3);
      await writeFile(path, DATA);
      await utimes(path, new Date(), new Date(Date.now() + 5000)); // clocks of disks are coarse
      const error = await checkpointError(() => other.read("model.safetensors", 0, 3));
      expect(error.code).toBe("checkpoint/changed");
      expect(error.message).toContain("model.safetensors");
      await other.close();
    }));

  it("names a folder that is not there, and does not take a folder for a file", () =>
    inTempFolder(async (folder) => {
      await mkdir(join(folder, "config.json"));
      expect((await checkpointError(() => new FolderSource(join(folder, "none")).list())).code).toBe(
        "checkpoint/no-folder",
      );
      expect((await checkpointError(() => new FolderSource(join(folder, "none")).size("x"))).code).toBe(
        "checkpoint/no-folder",
      );
      expect(await new FolderSource(folder).exists("config.json")).toBe(false);
      expect((await checkpointError(() => new FolderSource(folder).size("config.json"))).code).toBe(
        "checkpoint/not-found",
      );
    }));
});

describe("a folder that is not there", () => {
  it.each([
    ["openai-community/gpt2", "write hf:openai-community/gpt2."],
    ["owner/name@refs/pr/1", "write hf:owner/name@refs/pr/1."],
    ["./models/gpt2", "hf:owner/name for"],
    ["gpt2", "hf:owner/name for"],
  ])("is said to be %j, with what to write instead", async (path, remedy) => {
    const error = await checkpointError(() => openCheckpoint(new FolderSource(path)));
    expect(error.code).toBe("checkpoint/no-folder");
    expect(error.message).toContain(remedy);
  });
});

describe("FilesSource", () => {
  it("drops the picked folder's name and refuses two files of one name", async () => {
    const picked = (path: string) =>
      Object.defineProperty(new File([DATA], path.split("/").at(-1) as string), "webkitRelativePath", { value: path });
    const source = new FilesSource([picked("TinyStories/config.json"), picked("TinyStories/sub/config.json")]);
    expect(await source.list()).toEqual(["config.json", "sub/config.json"]);
    const twice = () => new FilesSource([new File([], "a"), new File([], "a")]);
    expect((await checkpointError(twice)).code).toBe("checkpoint/duplicate-file");
  });
});

describe("UrlSource", () => {
  const FILE = "model.safetensors";
  /** As `python3 -m http.server` answers. */
  const withoutRanges =
    (length = DATA.length): Handler =>
    (_request, response, path) => {
      if (path !== `/${FILE}`) return false;
      response.writeHead(200, { "Content-Length": length }).write(DATA);
      if (length === DATA.length) response.end();
      return true;
    };

  it("reads a whole file once from a server that ignores Range, and says so", async () => {
    const { url, requests } = await serve(withoutRanges());
    const notices: string[] = [];
    const source = new UrlSource(url, { onNotice: (notice) => notices.push(notice) });
    expect(await source.size(FILE)).toBe(DATA.length);
    for (const [start, end] of [
      [0, 10],
      [990, 1000],
      [5, 5],
    ] as const) {
      expect(await source.read(FILE, start, end)).toEqual(DATA.slice(start, end));
    }
    expect(requests.map(({ range }) => range)).toEqual(["bytes=0-0", undefined]);
    expect(notices).toEqual([expect.stringMatching(/whole files only.*model\.safetensors.*memory/)]);
    await source.close();
    expect((await checkpointError(() => source.read(FILE, 0, 10))).code).toBe("checkpoint/closed");
  });

  it("refuses a file too long to be held in memory, and names servers that send ranges", async () => {
    const { url } = await serve(withoutRanges(513 * 2 ** 20));
    const error = await checkpointError(() => new UrlSource(url).read(FILE, 0, 10));
    expect(error.code).toBe("checkpoint/no-range");
    expect(error.message).toContain(url);
    expect(error.message).toContain("npx http-server");
  });

  it("reads a file whose length is not told, or is that of compressed bytes", async () => {
    const answers: Record<string, (response: ServerResponse) => void> = {
      "/chunked": (response) => response.writeHead(200).end(DATA),
      "/gzip": (response) => {
        const zipped = gzipSync(DATA);
        response.writeHead(200, { "Content-Encoding": "gzip", "Content-Length": zipped.length }).end(zipped);
      },
    };
    const { url } = await serve((_request, response, path) => {
      answers[path]?.(response);
      return path in answers;
    });
    const source = new UrlSource(url);
    for (const path of Object.keys(answers)) {
      expect(await source.size(path.slice(1))).toBe(DATA.length);
      expect(await source.read(path.slice(1), 990, 1000)).toEqual(DATA.slice(990));
    }
  });

  it("asks for the length by HEAD where a page may not see Content-Range", async () => {
    const hidden: Handler = (request, response) => {
      if (request.method === "HEAD") response.writeHead(200, { "Content-Length": DATA.length }).end();
      else {
        const [start = 0, end = 0] = request.headers.range?.match(/\d+/g)?.map(Number) ?? [];
        response.writeHead(206).end(DATA.subarray(start, end + 1));
      }
      return true;
    };
    const { url, requests } = await serve(hidden);
    const source = new UrlSource(url);
    expect(await source.read(FILE, 990, 1000)).toEqual(DATA.slice(990));
    expect(requests.length).toBe(3);
  });

  it.each([403, 404, 405, 501])("reads the whole file where HEAD is answered %i", async (status) => {
    const { url } = await serve((request, response) => {
      if (request.method === "HEAD") response.writeHead(status).end();
      else if (request.headers.range) response.writeHead(206).end(DATA.subarray(0, 1));
      else response.writeHead(200).end(DATA);
      return true;
    });
    const source = new UrlSource(url, { retry: { attempts: 1 } });
    expect(await source.exists(FILE)).toBe(true);
    expect(await source.read(FILE, 990, 1000)).toEqual(DATA.slice(990));
  });

  it("takes 403 for a missing file where config.json can be read, as object stores mean it", async () => {
    const store: Handler = (_request, response, path) => {
      if (path === "/open/config.json") return false;
      response.writeHead(403).end();
      return true;
    };
    const { url } = await serve(store, serveFiles({ "/open/config.json": new Uint8Array(2) }));
    expect(await new UrlSource(`${url}/open`).exists("tokenizer.json")).toBe(false);
    const error = await checkpointError(() => new UrlSource(`${url}/closed`).exists("tokenizer.json"));
    expect(error.code).toBe("checkpoint/forbidden");
  });

  it("sends the login of an address, as a header, and keeps it out of messages", async () => {
    const seen: (string | undefined)[] = [];
    const { url } = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(401).end();
      return true;
    });
    const source = new UrlSource(url.replace("://", "://me:p%40ss@"));
    const error = await checkpointError(() => source.exists("config.json"));
    expect(error.code).toBe("checkpoint/forbidden");
    expect(error.message).not.toContain("ss@");
    expect(seen).toEqual([`Basic ${Buffer.from("me:p@ss").toString("base64")}`]);
  });

  it("sends one value a header: one that is given in place of the login, whatever its case", async () => {
    const seen: (string | undefined)[] = [];
    const { url } = await serve((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(401).end();
      return true;
    });
    const source = new UrlSource(url.replace("://", "://me:pw@"), { headers: { authorization: "Bearer mine" } });
    await checkpointError(() => source.exists("config.json"));
    expect(seen).toEqual(["Bearer mine"]);
  });

  it("refuses a login that cannot be decoded, without repeating it", async () => {
    const error = await checkpointError(() => new UrlSource("https://me%:s%w@127.0.0.1:9/m").exists("config.json"));
    expect(error.code).toBe("checkpoint/bad-source");
    expect(error.message).toMatch(/Write %25/);
    expect(error.message).not.toContain("s%w");
  });

  it("waits as long as a timer can where it may wait longer", async () => {
    const { url } = await serve(serveFiles({ [`/${FILE}`]: DATA }));
    const source = new UrlSource(url, { retry: { timeoutMs: 3e9, attempts: 1 } });
    expect(await source.read(FILE, 0, 3)).toEqual(DATA.slice(0, 3));
  });

  it("reads small whole files from a server that ignores Range", async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200).end("{}");
      return true;
    });
    expect(await new UrlSource(url).exists("config.json")).toBe(true);
    expect(await new UrlSource(url).readAll("config.json")).toEqual(new TextEncoder().encode("{}"));
  });

  it.each([
    ["another range", { "Content-Range": "bytes 0-9/1000" }, "bad-range"],
    ["a file that changed its length", { "Content-Range": "bytes 10-19/999" }, "changed"],
    ["a file that changed its ETag", { "Content-Range": "bytes 10-19/1000", ETag: '"v2"' }, "changed"],
    ["no Content-Range and too many bytes", { "X-Bytes": "11" }, "bad-range"],
  ])("refuses an answer with %s", async (_what, headers, code) => {
    let requests = 0;
    const answer: Handler = (_request, response) => {
      if (requests++ === 0) return false;
      response.writeHead(206, headers).end(DATA.subarray(10, "X-Bytes" in headers ? 21 : 20));
      return true;
    };
    const { url } = await serve(answer, serveFiles(under("/")));
    expect((await checkpointError(() => new UrlSource(url).read(FILE, 10, 20))).code).toBe(`checkpoint/${code}`);
  });

  it.each<[string, Parameters<typeof firstFew>[2]]>([
    ["status 503", (response) => response.writeHead(503).end()],
    ["status 429", (response) => response.writeHead(429).end()],
    ["a broken connection", (response) => response.destroy()],
    [
      "a body that breaks off",
      (response) => {
        response.writeHead(206, { "Content-Range": "bytes 0-0/1000", "Content-Length": 1 });
        response.flushHeaders();
        setTimeout(() => response.destroy(), 10);
      },
    ],
  ])("tries again after %s", async (_what, answer) => {
    const { url } = await serve(firstFew(3, `/${FILE}`, answer), serveFiles(under("/")));
    expect(await new UrlSource(url, { retry: FAST }).read(FILE, 0, 1)).toEqual(DATA.slice(0, 1));
  });

  it("gives up after its tries, and at once when trying again cannot help", async () => {
    const { url, requests } = await serve((_request, response, path) => {
      response.writeHead(path.includes("busy") ? 503 : 403).end();
      return true;
    });
    const source = new UrlSource(url, { retry: FAST });
    const busy = await checkpointError(() => source.size("busy.bin"));
    expect(busy.code).toBe("checkpoint/network");
    expect(busy.message).toMatch(/answered 503\. Try again later/);
    expect(requests.length).toBe(4);
    expect((await checkpointError(() => source.size("secret.bin"))).code).toBe("checkpoint/forbidden");
    expect(requests.slice(4).map(({ path }) => path)).toEqual(["/secret.bin", "/config.json"]);
  });

  it("does not take a single-page server's index.html for a file", async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { "Content-Type": "text/html; charset=utf-8" }).end("<!doctype html>");
      return true;
    });
    expect(await new UrlSource(url).exists(FILE)).toBe(false);
    expect((await checkpointError(() => new UrlSource(url).readAll(FILE))).code).toBe("checkpoint/not-found");
  });

  it("reads JSON that is sent as text/html", async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { "Content-Type": "text/html" }).end("{}");
      return true;
    });
    expect(await new UrlSource(url).exists("config.json")).toBe(true);
    expect(await new UrlSource(url).readAll("config.json")).toEqual(new TextEncoder().encode("{}"));
  });

  it("reads an empty file, whether the server answers 416 or 200", async () => {
    const { url } = await serve(serveFiles({ "/416": new Uint8Array(0) }), (_request, response, path) => {
      response.writeHead(200, { "Content-Length": 0 }).end();
      return path === "/200";
    });
    for (const file of ["416", "200"]) expect(await new UrlSource(url).size(file)).toBe(0);
  });

  it("sends headers and keeps the prefix's query, which stays out of messages", async () => {
    const seen: string[] = [];
    const { url } = await serve((request, response) => {
      seen.push(`${request.url} ${request.headers.authorization}`);
      response.writeHead(404).end();
      return true;
    });
    const source = new UrlSource(`${url}/m/?token=secret`, { headers: { Authorization: "Bearer x" } });
    expect((await checkpointError(() => source.size("a#b?c.bin"))).message).not.toContain("secret");
    expect(seen).toEqual(["/m/a%23b%3Fc.bin?token=secret Bearer x"]);
  });

  it("refuses what is not an http(s) URL", async () => {
    for (const prefix of ["ftp://x/y", "nonsense"]) {
      expect((await checkpointError(() => new UrlSource(prefix))).code).toBe("checkpoint/bad-source");
    }
  });
});
