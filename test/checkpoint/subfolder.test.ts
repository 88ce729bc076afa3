/** A model deeper than the top of its source: named by a file in its folder, or the only one there. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FolderSource } from "../../src/checkpoint/folder.node.ts";
import {
  type Checkpoint,
  type CheckpointSource,
  FilesSource,
  HubSource,
  openCheckpoint,
  UrlSource,
  writeSafetensors,
} from "../../src/checkpoint/index.ts";
import { checkpointError, inTempFolder, serveFiles, startServer } from "./support.ts";

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const weights = (name: string, value: number) =>
  writeSafetensors([{ name, dtype: "F32", shape: [1], data: new Float32Array([value]) }]);

/** A model at `run/`, one in shards at `run/deep/`, and a config at the top that belongs to neither. */
const FILES: Record<string, Uint8Array> = {
  "config.json": encode({ at: "top" }),
  "run/config.json": encode({ at: "run" }),
  "run/model.safetensors": weights("a", 1),
  "run/deep/config.json": encode({ at: "deep" }),
  "run/deep/model.safetensors.index.json": encode({ weight_map: { a: "1.safetensors", b: "2.safetensors" } }),
  "run/deep/1.safetensors": weights("a", 2),
  "run/deep/2.safetensors": weights("b", 3),
};

type Use = (source: CheckpointSource) => Promise<void>;

async function fromFolder(use: Use): Promise<void> {
  await inTempFolder(async (folder) => {
    await mkdir(join(folder, "run/deep"), { recursive: true });
    for (const [path, data] of Object.entries(FILES)) await writeFile(join(folder, path), data);
    await use(new FolderSource(folder));
  });
}

function picked(files: Record<string, Uint8Array>): FilesSource {
  return new FilesSource(
    Object.entries(files).map(([path, data]) => {
      const file = new File([data as BlobPart], path.split("/").at(-1) as string);
      return Object.defineProperty(file, "webkitRelativePath", { value: `models/${path}` });
    }),
  );
}

async function fromServer(prefix: string, open: (url: string) => CheckpointSource, use: Use): Promise<void> {
  const served = Object.fromEntries(Object.entries(FILES).map(([path, data]) => [`${prefix}/${path}`, data]));
  const server = await startServer(serveFiles(served));
  try {
    await use(open(server.url));
  } finally {
    await server.close();
  }
}

const SOURCES: [name: string, run: (use: Use) => Promise<void>][] = [
  ["a folder", fromFolder],
  ["picked files", (use) => use(picked(FILES))],
  ["a URL", (use) => fromServer("/at", (url) => new UrlSource(`${url}/at/`), use)],
  [
    "the Hub",
    (use) =>
      fromServer(
        "/owner/name/resolve/main",
        (hubUrl) => new HubSource({ repo: "owner/name" }, { hubUrl, retry: { delayMs: 1 } }),
        use,
      ),
  ],
];

const first = async (checkpoint: Checkpoint, name: string) => new Float32Array((await checkpoint.read(name)).buffer)[0];

describe.each(SOURCES)("%s", (_, run) => {
  it("a file in a folder is opened with what lies beside it", () =>
    run(async (source) => {
      const checkpoint = await openCheckpoint(source, { file: "run/model.safetensors" });
      expect(await checkpoint.readJson("config.json")).toEqual({ at: "run" });
      expect(await first(checkpoint, "a")).toBe(1);
      expect(checkpoint.label).toBe(`${source.label.replace(/\/$/, "")}/run`);
      await checkpoint.close();
    }));

  it("so are shards", () =>
    run(async (source) => {
      const checkpoint = await openCheckpoint(source, { file: "run/deep/model.safetensors.index.json" });
      expect(await checkpoint.readJson("config.json")).toEqual({ at: "deep" });
      expect(await checkpoint.readJson("tokenizer.json")).toBeUndefined();
      expect([await first(checkpoint, "a"), await first(checkpoint, "b")]).toEqual([2, 3]);
      await checkpoint.close();
    }));

  it("a name that leaves the source is refused", () =>
    run(async (source) => {
      for (const file of ["../model.safetensors", "/model.safetensors", "run/../../model.safetensors"]) {
        expect((await checkpointError(() => openCheckpoint(source, { file }))).code).toBe("checkpoint/unsafe-name");
      }
    }));
});

describe("a source with one model below its top", () => {
  const one = Object.fromEntries(Object.entries(FILES).filter(([path]) => !path.startsWith("run/deep")));

  it("opens it, and says so", async () => {
    const notices: string[] = [];
    const checkpoint = await openCheckpoint(picked(one), { onNotice: (message) => notices.push(message) });
    expect(await checkpoint.readJson("config.json")).toEqual({ at: "run" });
    expect(notices).toEqual([
      "the chosen files: no model lies at the top, so the one below is opened: run/model.safetensors.",
    ]);
  });

  it("of a folder on disk looks at all of its folders, as Python's Hub cache needs", () =>
    inTempFolder(async (folder) => {
      await mkdir(join(folder, "snapshots/c0ffee"), { recursive: true });
      await writeFile(join(folder, "snapshots/c0ffee/model.safetensors"), weights("a", 4));
      const checkpoint = await openCheckpoint(new FolderSource(folder));
      expect(await first(checkpoint, "a")).toBe(4);
      await checkpoint.close();
      const error = await fromFolder(async (source) => void (await openCheckpoint(source))).catch(String);
      expect(error).toContain("It has run/model.safetensors, run/deep/model.safetensors.index.json: name one");
    }));

  it("with two, asks", async () => {
    const error = await checkpointError(() => openCheckpoint(picked(FILES)));
    expect(error.message).toContain(
      "It has run/model.safetensors, run/deep/model.safetensors.index.json: name one as `file`",
    );
  });
});
