/** A file of prompts: a text a line, or in a .json file a list of texts or of lists of token ids. */
import { readFile } from "node:fs/promises";
import { type Command, Option } from "commander";
import { SuperlensError } from "../errors.ts";
import { readJsonFile } from "./json-file.ts";
import { type BatchOptions, refuseIdleBos, usageError } from "./options.ts";

/** Prompts, all as texts or all as ids. */
export type Prompts = string[] | number[][];

export function promptsOption(): Option {
  return new Option(
    "--prompts <file>",
    "a file of prompts: a text a line, or .json with a list of texts or of lists of ids",
  );
}

/** The batch of a command: ids, texts, or those of a file. */
export async function readBatch(
  command: Command,
  options: BatchOptions & { prompts?: string | undefined },
): Promise<Prompts> {
  const { ids, text, prompts } = options;
  const given = [ids, text, prompts].filter((each) => each !== undefined);
  if (given.length > 1) usageError(command, "give one of --ids, --text and --prompts");
  const batch = ids ?? text ?? (prompts === undefined ? undefined : await readPrompts(prompts));
  if (!batch)
    return usageError(command, "give token ids with --ids, or text with --text, or a file of either with --prompts");
  refuseIdleBos(command, options, areIds(batch) ? batch : undefined);
  return batch;
}

export function areIds(prompts: Prompts): prompts is number[][] {
  return Array.isArray(prompts[0]);
}

/** @throws SuperlensError `cli/no-text`, `cli/not-json`, `cli/prompts` for a file without prompts, or with something else */
export async function readPrompts(path: string): Promise<Prompts> {
  const prompts = path.endsWith(".json") ? await readJsonFile(path, "Give a text file.") : await readLines(path);
  const isText = (each: unknown) => typeof each === "string" && each !== "";
  const isId = (each: unknown) => Number.isInteger(each) && (each as number) >= 0;
  const isIds = (each: unknown) => Array.isArray(each) && each.length > 0 && each.every(isId);
  if (!Array.isArray(prompts) || prompts.length === 0)
    throw new SuperlensError(
      "cli/prompts",
      `${path} holds no prompts. Give a text a line, or a .json file with a list.`,
    );
  const fits = prompts.every(isText) || prompts.every(isIds);
  if (fits) return prompts as Prompts;
  const wrong = prompts.findIndex((each) => !(isText(prompts[0]) ? isText(each) : isIds(each)));
  throw new SuperlensError(
    "cli/prompts",
    `${path}: entry ${wrong} is ${JSON.stringify(prompts[wrong])}. All must be texts, or all lists of token ids.`,
  );
}

/** The lines of a text file; empty ones are left out. */
async function readLines(path: string): Promise<string[]> {
  const text = await readFile(path, "utf8").catch((cause: Error) => {
    throw new SuperlensError("cli/no-text", `${path} cannot be read: ${cause.message}. Give a text file.`, { cause });
  });
  return text.split(/\r?\n/).filter((line) => line !== "");
}
