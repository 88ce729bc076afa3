/** The option `--shard i/n`. */
import { InvalidArgumentError, Option } from "commander";
import type { Shard } from "../../paper/runs.ts";

export const shardOption = () =>
  new Option("--shard <i/n>", "only the cells whose number is i modulo n").argParser(parseShard);

function parseShard(text: string): Shard {
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  if (index === undefined || Number(index) >= Number(count))
    throw new InvalidArgumentError("It must be i/n with i from 0 to n - 1, as 0/4.");
  return { index: Number(index), count: Number(count) };
}
