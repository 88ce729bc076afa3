/**
 * Streamed weights on every host: from an address by ranges, from files that a person chose, and in browsers from files of the origin's
 * own file system. All give what a resident model gives, to the bit.
 */
import { type HookedModel, loadModel, type ModelSource, metric } from "../../src/index.ts";
import { type Check, type CheckContext, expectEqual } from "./harness.ts";

const FAMILY = "families/llama";
const FILES = ["config.json", "model.safetensors"];
const IDS = [5, 9, 2, 17, 3, 3, 8, 11];

async function chosenFiles({ loadFixture }: CheckContext): Promise<File[]> {
  const read = async (name: string) =>
    new File([(await loadFixture(`${FAMILY}/${name}`)) as Uint8Array<ArrayBuffer>], name);
  return Promise.all(FILES.map(read));
}

/** The same files in the origin's file system, where the cache of the Hub keeps its own. */
async function storedFiles(files: readonly File[]): Promise<File[]> {
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("streamed", { create: true });
  return Promise.all(
    files.map(async (file) => {
      const handle = await folder.getFileHandle(file.name, { create: true });
      const writable = await handle.createWritable();
      await writable.write(file);
      await writable.close();
      return handle.getFile();
    }),
  );
}

async function sourcesOf(context: CheckContext): Promise<[string, ModelSource][]> {
  const chosen = await chosenFiles(context);
  const sources: [string, ModelSource][] = [
    ["an address", `${context.fixtureUrl}${FAMILY}/`],
    ["chosen files", chosen],
  ];
  if (context.host === "browser") sources.push(["the origin's file system", await storedFiles(chosen)]);
  return sources;
}

/** Logits of an edited pass, a residual, generated tokens and a sweep. */
async function numbersOf(model: HookedModel): Promise<string> {
  const edits = { at: "blocks.1.attn.hook_z", op: "scale", value: 2, heads: [1] } as const;
  const result = await model.forward(IDS, { edits, capture: "blocks.1.hook_resid_post" });
  const numbers = [...(await result.logits.read()), ...(await result.cache.read("blocks.1.hook_resid_post"))];
  result.destroy();
  for await (const { tokens } of model.generate(IDS, { maxNewTokens: 3, ignoreEos: true }))
    numbers.push(...(tokens as number[]));
  const cells = [0, 1].map((layer) => [{ at: `blocks.${layer}.attn.hook_z`, op: "zero" } as const]);
  const { values } = await model.sweep({ input: IDS, cells, metric: metric.logits([1, 2, 3]) });
  return [...numbers, ...values].join();
}

export const streamedChecks: Check[] = [
  {
    name: "streamed weights give a resident model's numbers, to the bit",
    atNightIn: ["node"], // test/engine/streamed.test.ts has it
    async run(context) {
      const gpu = await context.gpu();
      const resident = await loadModel(`${context.fixtureUrl}${FAMILY}/`, { gpu, quiet: true });
      const expected = await numbersOf(resident);
      resident.destroy();
      const names: string[] = [];
      for (const [name, source] of await sourcesOf(context)) {
        const model = await loadModel(source, { gpu, quiet: true, residency: "streamed" });
        try {
          expectEqual(await numbersOf(model), expected, name);
        } finally {
          model.destroy();
        }
        names.push(name);
      }
      return `from ${names.join(", ")}`;
    },
  },
];
