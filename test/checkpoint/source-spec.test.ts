/** What a text names: a folder, an address or a model of the Hub, and the file in it. */
import { describe, expect, it } from "vitest";
import { FolderSource } from "../../src/checkpoint/folder.node.ts";
import { openSource, parseSourceSpec, registerFolderSource } from "../../src/checkpoint/index.ts";
import { checkpointError } from "./support.ts";

describe("parseSourceSpec", () => {
  it.each([
    ["models/TinyStories", { kind: "folder", path: "models/TinyStories" }],
    ["models/a/x.safetensors", { kind: "folder", path: "models/a/", file: "x.safetensors" }],
    ["x.safetensors", { kind: "folder", path: ".", file: "x.safetensors" }],
    ["/x.safetensors", { kind: "folder", path: "/", file: "x.safetensors" }],
    ["C:\\models\\x.safetensors", { kind: "folder", path: "C:\\models\\", file: "x.safetensors" }],
    ["https://host/models", { kind: "url", prefix: "https://host/models" }],
    ["http://host/m/x%20y.safetensors?k=1", { kind: "url", prefix: "http://host/m/?k=1", file: "x y.safetensors" }],
    ["a/model.safetensors.index.json", { kind: "folder", path: "a/", file: "model.safetensors.index.json" }],
    ["models/x.gguf", { kind: "folder", path: "models/", file: "x.gguf" }],
    ["https://host/m/x-q4_k.gguf?k=1", { kind: "url", prefix: "https://host/m/?k=1", file: "x-q4_k.gguf" }],
    ["hf:owner/name/x-q4_k.gguf", { kind: "hub", repo: "owner/name", file: "x-q4_k.gguf" }],
    ["hf:a/b/c/x.gguf@v1", { kind: "hub", repo: "a/b", revision: "v1", file: "c/x.gguf" }],
    ["https://huggingface.co/a/b/blob/main/x.gguf", { kind: "hub", repo: "a/b", revision: "main", file: "x.gguf" }],
    ["hf:owner/name", { kind: "hub", repo: "owner/name" }],
    ["hf:owner/na.me-1@refs/pr/1", { kind: "hub", repo: "owner/na.me-1", revision: "refs/pr/1" }],
    ["https://huggingface.co/owner/name", { kind: "hub", repo: "owner/name" }],
    ["https://huggingface.co/owner/name/tree/dev", { kind: "hub", repo: "owner/name", revision: "dev" }],
    ["huggingface.co/a/b/tree/refs%2Fpr%2F1", { kind: "hub", repo: "a/b", revision: "refs/pr/1" }],
    ["https://hf.co/a/b/", { kind: "hub", repo: "a/b" }],
    ["https://huggingface.co/a/b?x=1#y", { kind: "hub", repo: "a/b" }],
    ["https://huggingface.co/a/b/resolve/main/", { kind: "hub", repo: "a/b", revision: "main" }],
    [
      "https://huggingface.co/a/b/blob/main/x.safetensors",
      { kind: "hub", repo: "a/b", revision: "main", file: "x.safetensors" },
    ],
    [
      "https://huggingface.co/a/b/resolve/v1/c/x%20y.safetensors?download=true",
      { kind: "hub", repo: "a/b", revision: "v1", file: "c/x y.safetensors" },
    ],
  ])("reads %j", (text, spec) => {
    expect(parseSourceSpec(text)).toEqual(spec);
  });

  it.each([
    ...[
      "",
      "  ",
      "hf:name",
      "hf:",
      "hf:a/b@",
      "hf:a/b/c",
      "hf:a/b/c.bin",
      "hf:../x",
      "hf:a/..",
      "ftp://host/x",
      "s3://bucket",
    ],
    ...["http://host/m/a%zz.safetensors", "https://huggingface.co/a/b/tree/%zz", "https://huggingface.co/datasets/a/b"],
    ...["https://huggingface.co/a/b/tree/main/sub", "https://huggingface.co/a/b/blob/main/pytorch_model.bin"],
  ])("refuses %j", async (text) => {
    expect((await checkpointError(() => parseSourceSpec(text))).code).toBe("checkpoint/bad-source");
  });
});

describe("openSource", () => {
  it("opens folders only where the host has registered how", async () => {
    const error = await checkpointError(() => openSource("models/x"));
    expect(error.code).toBe("checkpoint/bad-source");
    registerFolderSource((path) => new FolderSource(path));
    const { source, file } = await openSource("models/a/x.safetensors");
    expect([source.label, file]).toEqual(["models/a/", "x.safetensors"]);
    expect((await openSource("https://host/m/")).source.label).toBe("https://host/m/");
    expect((await openSource("hf:a/b@dev")).source.label).toBe("hf:a/b@dev");
    expect((await openSource("https://hf.co/a/b/blob/dev/x.safetensors")).file).toBe("x.safetensors");
  });
});
