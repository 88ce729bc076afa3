/** Reading a file that may be a damaged copy, which its source can fetch anew. */
import { CheckpointError } from "../errors.ts";
import type { CheckpointSource } from "./source.ts";

/** Runs `read`, and once more when the file is damaged and the source can fetch it anew. */
export async function renewing<Result>(
  source: CheckpointSource,
  file: string,
  read: () => Promise<Result>,
): Promise<Result> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof CheckpointError && (await source.renew?.(file))) return read();
    throw error;
  }
}
