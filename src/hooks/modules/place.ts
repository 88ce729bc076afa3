/** Where a dictionary is: as a model's place, or a folder deeper in a repository of the Hub, or an archive's own path. */

import type { CheckpointSource } from "../../checkpoint/source.ts";
import { SubfolderSource } from "../../checkpoint/subfolder.ts";
import { type ModelSource, type OpenModelOptions, resolveSource } from "../../model/load.ts";

/** `hf:owner/name/folder[@revision]`, or the revision behind the name. */
const HUB_FOLDER = /^hf:([^/@]+\/[^/@]+)(@[^/]+)?\/([^@]+?)\/?(@[^/@]+)?$/;
const ARCHIVE = /^(.*?)\/?([^/\\]+\.npz)$/;
const LAYER_FILE = /^(.+)\/([^/]+\.safetensors)$/;

/** Opens the source, and says which file of it was named. */
export async function openPlace(
  place: ModelSource,
  options: Pick<OpenModelOptions, "signal" | "onProgress">,
): Promise<{ source: CheckpointSource; file?: string | undefined }> {
  if (typeof place !== "string") return resolveSource(place, options);
  const [, base, file] = ARCHIVE.exec(place) ?? [];
  const folder = file === undefined ? place : base || ".";
  const [, repository, revision, inside, last] = HUB_FOLDER.exec(folder) ?? [];
  if (repository === undefined || inside === undefined) {
    const opened = await resolveSource(folder, options);
    return { source: opened.source, file: file ?? opened.file };
  }
  const { source } = await resolveSource(`hf:${repository}${revision ?? last ?? ""}`, options);
  const [, outer, layer] = LAYER_FILE.exec(`/${inside}`) ?? [];
  const path = layer === undefined ? inside : (outer as string).replace(/^\//, "");
  return { source: path === "" ? source : new SubfolderSource(source, `${path}/`), file: file ?? layer };
}
