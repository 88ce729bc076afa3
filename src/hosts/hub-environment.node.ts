/**
 * Settings of the Hub from the environment: the folder of the download cache, and the address and token that Hugging Face's
 * own tools would use
 * (https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables).
 */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { defaultCacheFolder, FolderCache } from "../checkpoint/cache-folder.node.ts";
import type { HubSourceOptions } from "../checkpoint/index.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** The Hub's options as the environment and `hf auth login` have set them. */
export async function hubOptionsFrom(environment: Environment = process.env): Promise<HubSourceOptions> {
  return {
    cache: new FolderCache(defaultCacheFolder(environment)),
    hubUrl: environment.HF_ENDPOINT || undefined,
    accessToken: isTrue(environment.HF_HUB_DISABLE_IMPLICIT_TOKEN) ? undefined : await tokenFrom(environment),
    offline: isTrue(environment.HF_HUB_OFFLINE || environment.TRANSFORMERS_OFFLINE),
    ...(Number(environment.HF_HUB_DOWNLOAD_TIMEOUT) > 0 && {
      retry: { timeoutMs: 1000 * Number(environment.HF_HUB_DOWNLOAD_TIMEOUT) },
    }),
  };
}

/** As `huggingface_hub` reads switches. */
function isTrue(value: string | undefined): boolean {
  return /^(1|on|yes|true)$/i.test(value ?? "");
}

/** A variable, or the file that `hf auth login` writes. */
async function tokenFrom(environment: Environment): Promise<string | undefined> {
  const { HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH, HF_HOME, XDG_CACHE_HOME } = environment;
  const variable = (HF_TOKEN || HUGGING_FACE_HUB_TOKEN)?.trim();
  if (variable) return variable;
  const home = HF_HOME || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface");
  const text = await readFile(atHome(HF_TOKEN_PATH || join(home, "token")), "utf8").catch(() => "");
  return text.trim() || undefined;
}

/** `~` at the beginning of a path, which a shell leaves alone in quotes. */
function atHome(path: string): string {
  return path.replace(/^~(?=$|[/\\])/, homedir());
}
