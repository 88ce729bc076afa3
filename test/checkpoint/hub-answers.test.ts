/** The Hub and servers that speak like it: what is sent, and what each answer means. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { entryName } from "../../src/checkpoint/cache.ts";
import { FolderCache } from "../../src/checkpoint/cache-folder.node.ts";
import { hubOptionsFrom } from "../../src/hosts/hub-environment.node.ts";
import { CONFIG, DATA, expectData, FILE, filesBelow, hub, PATH, SHA256 } from "./hub-support.ts";
import {
  checkpointError,
  firstFew,
  type Handler,
  inTempFolder,
  servedByTest,
  serveFiles,
  startServer,
} from "./support.ts";

const serve = servedByTest();

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

  it.each([
    [{}, "", "Bearer hf_x"],
    [{ authorization: "Bearer mine" }, "", "Bearer mine"],
    [{}, "me:pw@", `Basic ${Buffer.from("me:pw").toString("base64")}`],
  ])("sends one Authorization with the headers %j and the login %j", async (headers, login, expected) => {
    const seen: (string | undefined)[] = [];
    const { url } = await serve((request) => {
      seen.push(request.headers.authorization);
      return false;
    });
    await hub(url.replace("://", `://${login}`), undefined, { accessToken: "hf_x", headers }).exists("config.json");
    expect(seen).toEqual([expected]);
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
