/** A JSON file beside the weights: written by Python, most often, and read as Python reads it. */
import { CheckpointError } from "../errors.ts";
import { parseJsonBytes, parsePythonJson } from "./json.ts";
import { renewing } from "./renewing.ts";
import type { CheckpointSource } from "./source.ts";

/** The value of a JSON file. @throws CheckpointError `checkpoint/json`, and what reading it throws */
export function readJsonFile(source: CheckpointSource, file: string): Promise<unknown> {
  return renewing(source, file, () => parseJsonFile(source, file));
}

async function parseJsonFile(source: CheckpointSource, file: string): Promise<unknown> {
  const parsed = parseJsonBytes(await source.readAll(file), parsePythonJson);
  if (parsed.kind === "value") return parsed.value;
  const [reason, remedy] =
    parsed.kind === "not-json"
      ? [parsed.reason, "Download it again."]
      : [`the key ${JSON.stringify(parsed.key)} occurs twice`, "Remove the one that is wrong, or download it again."];
  throw new CheckpointError("checkpoint/json", `${source.label}: ${file} is not valid JSON: ${reason}. ${remedy}`);
}
