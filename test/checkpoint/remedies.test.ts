/**
 * Every error about the files of a model names a way out. Here each way is taken literally, and leads out: the model is
 * accepted, as by `superlens inspect`. No GPU is needed.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  type Dtype,
  FilesSource,
  type NamedBlob,
  type TensorEntry,
  writeSafetensors,
} from "../../src/checkpoint/index.ts";
import { SuperlensError } from "../../src/errors.ts";
import { openModelSource, readSpec } from "../../src/model/load.ts";
import { assertFinite } from "../../src/model/weights/finite.ts";
import { fitCheckpoint } from "../../src/model/weights/fit.ts";
import { gpuMemory } from "../../src/model/weights/residency.ts";
import { fixtureFiles, valuesOf } from "../support/fixtures.ts";
import { fileWithHeader } from "./support.ts";

/** The files of a model by name, and what `loadModel` is given with them. */
type Files = Record<string, Uint8Array | string>;
interface Attempt {
  files: Files;
  file?: string;
  checkFinite?: boolean;
}

const { config, tensors } = await fixtureFiles("mistral");
const HEAD = "lm_head.weight";
const NORM = "model.norm.weight";
const K = "model.layers.0.self_attn.k_proj.weight";
const INDEX = "model.safetensors.index.json";

const json = (value: unknown) => JSON.stringify(value);
const CONFIG = json(config);
const GOOD = writeSafetensors(tensors);
const good: Files = { "config.json": CONFIG, "model.safetensors": GOOD };

/** The model with one tensor replaced or, for undefined, left out. */
function changed(name: string, change: (tensor: TensorEntry) => TensorEntry | undefined): Files {
  const all = tensors.flatMap((tensor) => (tensor.name === name ? (change(tensor) ?? []) : tensor));
  return { ...good, "model.safetensors": writeSafetensors(all) };
}

/** The model with its header changed as a text. */
function reheadered(change: (header: string) => string): Files {
  const length = Number(new DataView(GOOD.buffer, GOOD.byteOffset).getBigUint64(0, true));
  const header = new TextDecoder().decode(GOOD.subarray(8, 8 + length));
  const [start, data] = [fileWithHeader(change(header)), GOOD.subarray(8 + length)];
  const whole = new Uint8Array(start.length + data.length);
  whole.set(start);
  whole.set(data, start.length);
  return { ...good, "model.safetensors": whole };
}

/** The model in two shards, the second with `extra` besides. */
function sharded(extra: TensorEntry[] = [], leftOut = ""): Files {
  const [one, two] = [tensors.slice(0, 5), [...tensors.slice(5), ...extra]];
  const listed = [
    ...one.map(({ name }) => [name, "1.safetensors"]),
    ...tensors.slice(5).map(({ name }) => [name, "2.safetensors"]),
  ];
  return {
    "config.json": CONFIG,
    [INDEX]: json({ weight_map: Object.fromEntries(listed) }),
    "1.safetensors": writeSafetensors(one),
    "2.safetensors": writeSafetensors(two.filter(({ name }) => name !== leftOut)),
  };
}

const without = (files: Files, name: string): Files =>
  Object.fromEntries(Object.entries(files).filter(([file]) => file !== name));
const below = (folder: string, files: Files): Files =>
  Object.fromEntries(Object.entries(files).map(([name, data]) => [`${folder}/${name}`, data]));

/** Opens, reads and checks everything but the weights' values, which `checkFinite` adds. */
async function accept({ files, file, checkFinite = false }: Attempt): Promise<void> {
  const blobs: NamedBlob[] = Object.entries(files).map(([name, data]) => ({
    name,
    blob: new Blob([data as BlobPart]),
  }));
  const checkpoint = await openModelSource(new FilesSource(blobs, "the model"), file === undefined ? {} : { file });
  const { spec } = await fitCheckpoint((await readSpec(checkpoint)).spec, checkpoint);
  gpuMemory(spec, checkpoint);
  if (!checkFinite) return;
  for (const { name, file, dtype } of checkpoint.tensors.values())
    assertFinite(await checkpoint.read(name), { name, file, dtype: dtype as Dtype });
}

const transposed = (tensor: TensorEntry): TensorEntry => {
  const [rows, columns] = tensor.shape as [number, number];
  const values = valuesOf(tensor);
  const data = Float32Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)] as number);
  return { ...tensor, shape: [columns, rows], data };
};
const toF8 = (tensor: TensorEntry): TensorEntry => ({
  ...tensor,
  dtype: "F8_E4M3",
  data: Uint8Array.from(valuesOf(tensor), (_, i) => i % 120),
});
/** What `toF8` makes of a tensor, multiplied by its scale. */
const rescaled = (tensor: TensorEntry): TensorEntry => ({
  ...tensor,
  data: valuesOf(toF8(tensor)).map((value) => 2 * value),
});
const withScale = (name = `${K}_scale`): Files => {
  const f8 = tensors.map((tensor) => (tensor.name === K ? toF8(tensor) : tensor));
  const scale: TensorEntry = { name, dtype: "F32", shape: [], data: new Float32Array([2]) };
  return { ...good, "model.safetensors": writeSafetensors([...f8, scale]) };
};
const first = tensors[0] as TensorEntry;
const otherwise = { ...first, data: new Uint8Array((first.data as Uint8Array).length) };
const nan = changed(NORM, (tensor) => ({
  ...tensor,
  data: new Float32Array(tensor.shape[0] as number).fill(Number.NaN),
}));
const noDtype = reheadered((header) => header.replace('"dtype":"F32",', '"dtype":null,'));

/** An error, the words that name the way out, and what is there when it is taken. */
type Case = [code: string, broken: Attempt, remedy: RegExp, mended: Attempt];
const again = { files: good };
const shardsAgain = { files: sharded() };
const CASES: Case[] = [
  [
    "checkpoint/truncated",
    { files: { ...good, "model.safetensors": GOOD.subarray(0, 999) } },
    /download it again/,
    again,
  ],
  [
    "checkpoint/header-too-long",
    { files: { ...good, "model.safetensors": "version https://git-lfs" } },
    /git lfs pull/,
    again,
  ],
  [
    "checkpoint/header-json",
    { files: { ...good, "model.safetensors": fileWithHeader("[]") } },
    /download or write it again/,
    again,
  ],
  [
    "checkpoint/duplicate-key",
    { files: reheadered((header) => header.replace("{", '{"__metadata__":{"a":"1","a":"2"},')) },
    /write it again/,
    again,
  ],
  [
    "checkpoint/metadata",
    { files: reheadered((header) => header.replace("{", '{"__metadata__":7,')) },
    /write it again/,
    again,
  ],
  ["checkpoint/dtype", { files: noDtype }, /write it again/, again],
  ["checkpoint/dtype", { files: changed(K, (tensor) => ({ ...tensor, dtype: "I32" })) }, /Convert it to F32/, again],
  [
    "checkpoint/dtype",
    { files: reheadered((header) => header.replace('"dtype":"F32",', '"dtype":"C32",')) },
    /C32; .*Convert it to F32/,
    again,
  ],
  [
    "checkpoint/offsets",
    { files: reheadered((header) => header.replace('"data_offsets":[0,', '"data_offsets":[-1,')) },
    /write it again/,
    again,
  ],
  [
    "checkpoint/wrong-size",
    { files: reheadered((header) => header.replace(/"shape":\[(\d+)/, '"shape":[1$1')) },
    /write it again/,
    again,
  ],
  [
    "checkpoint/hole",
    { files: { ...good, "model.safetensors": new Uint8Array([...GOOD, 0]) } },
    /write it again/,
    again,
  ],
  ["checkpoint/overlap", { files: { ...good, "model.safetensors": overlapping() } }, /write it again/, again],
  ["checkpoint/json", { files: { ...good, "config.json": "<html>" } }, /Download it again/, again],
  [
    "checkpoint/json",
    { files: { ...good, "config.json": `{"vocab_size": 7, ${CONFIG.slice(1)}` } },
    /Remove the one that is wrong/,
    again,
  ],
  ["checkpoint/index", { files: { ...sharded(), [INDEX]: "{}" } }, /take both again/, shardsAgain],
  [
    "checkpoint/index",
    { files: { ...sharded(), [INDEX]: '{"weight_map":{}}' } },
    /no tensors.*take both again/,
    shardsAgain,
  ],
  [
    "checkpoint/index",
    { files: sharded([], NORM) },
    /the index says tensor model\.norm\.weight .* take all from one download/,
    shardsAgain,
  ],
  [
    "checkpoint/missing-shard",
    { files: without(sharded(), "2.safetensors") },
    /shard 2\.safetensors.*Download it too/,
    shardsAgain,
  ],
  ["checkpoint/duplicate-tensor", { files: sharded([otherwise]) }, /shards from one download/, shardsAgain],
  [
    "checkpoint/unsafe-name",
    { files: { ...sharded(), [INDEX]: json({ weight_map: { [NORM]: "../2.safetensors" } }) } },
    /correct its index/,
    shardsAgain,
  ],
  [
    "checkpoint/no-weights",
    { files: { "config.json": CONFIG, "weights.safetensors": GOOD } },
    /It has weights\.safetensors: name one as `file`/,
    { files: { "config.json": CONFIG, "weights.safetensors": GOOD }, file: "weights.safetensors" },
  ],
  [
    "checkpoint/no-weights",
    { files: { ...below("a", good), ...below("b", good) } },
    /It has a\/model\.safetensors, b\/model\.safetensors: name one as `file`/,
    { files: { ...below("a", good), ...below("b", good) }, file: "b/model.safetensors" },
  ],
  [
    "checkpoint/no-weights",
    { files: below("run", { "config.json": CONFIG, "w.safetensors": GOOD }) },
    /It has run\/w\.safetensors: name one/,
    { files: below("run", { "config.json": CONFIG, "w.safetensors": GOOD }), file: "run/w.safetensors" },
  ],
  ["checkpoint/no-weights", { files: { "config.json": CONFIG, "pytorch_model.bin": "PK" } }, /convert others/, again],
  [
    "checkpoint/no-weights",
    { files: { "config.json": CONFIG, "model-00001-of-00002.safetensors": GOOD } },
    /model-00001-of-00002\.safetensors, and their index is missing: download model\.safetensors\.index\.json/,
    shardsAgain,
  ],
  [
    "checkpoint/no-weights",
    { files: { "config.json": CONFIG, "model-00001-of-00001.safetensors": GOOD } },
    /It has model-00001-of-00001\.safetensors: name one/,
    { files: { "config.json": CONFIG, "w.safetensors": GOOD }, file: "w.safetensors" },
  ],
  [
    "checkpoint/no-weights",
    { files: { "adapter_config.json": "{}", "adapter_model.safetensors": GOOD } },
    /an adapter, not a model: merge it into its base model/,
    again,
  ],
  [
    "checkpoint/unsafe-name",
    { files: good, file: "/the/model/model.safetensors" },
    /give the folder that holds it as the source, and the rest of the path as `file`/,
    { files: good, file: "model.safetensors" },
  ],
  [
    "checkpoint/not-found",
    { files: good, file: "other.safetensors" },
    /Check the name/,
    { files: good, file: "model.safetensors" },
  ],
  ["config/missing", { files: without(good, "config.json") }, /belongs beside the weights/, again],
  [
    "checkpoint/missing-tensor",
    { files: changed(NORM, () => undefined) },
    /Nearest: .*take all files from one download/,
    again,
  ],
  [
    "checkpoint/missing-tensor",
    { files: changed(HEAD, () => undefined) },
    /set tie_word_embeddings to true in config\.json/,
    { files: { ...changed(HEAD, () => undefined), "config.json": json({ ...config, tie_word_embeddings: true }) } },
  ],
  [
    "checkpoint/shape",
    { files: changed(K, transposed) },
    /config\.json gives it \[16, 32\]\. It looks transposed: store it the other way round/,
    { files: changed(K, (tensor) => transposed(transposed(tensor))) },
  ],
  [
    "checkpoint/shape",
    { files: { ...good, "config.json": json({ ...config, vocab_size: 95 }) } },
    /take both from one download/,
    again,
  ],
  [
    "checkpoint/quantized",
    { files: withScale() },
    /Multiply the weights by their scales and store them as BF16 or F32, without the scales/,
    { files: changed(K, rescaled) },
  ],
  ["checkpoint/not-finite", { files: nan, checkFinite: true }, /without checkFinite/, { files: nan }],
];

/** Two tensors of which the second begins inside the first. */
function overlapping(): Uint8Array {
  const tensor = (begin: number) => `{"dtype":"F32","shape":[2],"data_offsets":[${begin},${begin + 8}]}`;
  return fileWithHeader(`{"a":${tensor(0)},"b":${tensor(4)}}`, 12);
}

describe("the way out of", () => {
  it.each(CASES)("%s leads out", async (code, broken, remedy, mended) => {
    const error = await accept(broken).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(SuperlensError);
    expect((error as SuperlensError).code).toBe(code);
    expect((error as SuperlensError).message).toMatch(remedy);
    await accept(mended);
  });

  it.each([
    "model.layers.0.self_attn.k_proj.weight_scale_inv",
    "model.layers.0.self_attn.k_proj.scale_weight",
    "model.layers.0.self_attn.k_proj.weight.scale",
    "scaled_fp8",
  ])("f8 weights beside %s are refused", async (name) => {
    const error = accept({ files: withScale(name) });
    await expect(error).rejects.toMatchObject({ code: "checkpoint/quantized", message: expect.stringContaining(name) });
  });

  it("f8 weights whose scales an index lists, and no shard holds, are refused as well", async () => {
    const files = sharded();
    const shard = (names: TensorEntry[]) =>
      writeSafetensors(names.map((tensor) => (tensor.name === K ? toF8(tensor) : tensor)));
    const index = JSON.parse(files[INDEX] as string);
    index.weight_map[`${K}_scale_inv`] = "1.safetensors";
    const f8 = { ...files, "1.safetensors": shard(tensors.slice(0, 5)), "2.safetensors": shard(tensors.slice(5)) };
    await accept({ files: f8 });
    const promised = accept({ files: { ...f8, [INDEX]: json(index) } });
    await expect(promised).rejects.toMatchObject({ code: "checkpoint/quantized" });
  });

  it("an adapter beside full weights, and one shard by itself, are told", async () => {
    const blobs = Object.entries({ ...good, "adapter_config.json": "{}", "m-00001-of-00002.safetensors": GOOD }).map(
      ([name, data]) => ({ name, blob: new Blob([data as BlobPart]) }),
    );
    const notices: string[] = [];
    const onNotice = (notice: string) => notices.push(notice);
    const options = { file: "m-00001-of-00002.safetensors", onNotice };
    const checkpoint = await openModelSource(new FilesSource(blobs, "the model"), options);
    await fitCheckpoint((await readSpec(checkpoint)).spec, checkpoint, onNotice);
    expect(notices).toEqual([
      expect.stringMatching(/one shard of several/),
      expect.stringMatching(/adapter.*not applied/),
    ]);
  });

  it("f8 weights that have no scales are values, and fine", () => accept({ files: changed(K, toF8) }));

  it("each error of these files is tried", () => {
    const files = [
      "checkpoint/safetensors",
      "checkpoint/shards",
      "checkpoint/checkpoint",
      "checkpoint/json-file",
      "model/weights/find",
      "model/weights/fit",
      "model/weights/finite",
    ];
    const text = files.map((file) => readFileSync(new URL(`../../src/${file}.ts`, import.meta.url), "utf8")).join("\n");
    const literal = [...text.matchAll(/"(checkpoint\/[a-z-]+)"/g)].map(([, code]) => code as string);
    const composed = [...text.matchAll(/broken\(\s*"([a-z-]+)"|\["(overlap|hole)"/g)].map(
      (match) => `checkpoint/${match[1] ?? match[2]}`,
    );
    expect(composed.length).toBeGreaterThan(9);
    const tried = new Set(CASES.map(([code]) => code));
    expect([...new Set([...literal, ...composed])].filter((code) => !tried.has(code))).toEqual([]);
  });
});
