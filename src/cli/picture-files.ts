/**
 * What the commands that show pictures share: `--svg` and `--html`, and files written from one picture. Pictures are loaded only if a file is
 * asked for.
 */
import type { Command } from "commander";
import type { Picture } from "../pictures/index.ts";
import { bytes, note } from "./output.ts";
import { checkWritable, writeFileWhole } from "./write-file.ts";

export interface PictureOptions {
  svg?: string;
  html?: string;
  quiet?: boolean;
}

export function addPictureOptions(command: Command): Command {
  return command
    .option("--svg <file>", "also draw it into this file")
    .option("--html <file>", "also draw it as a page that stands alone, with the numbers");
}

/** Before anything is loaded. @throws SuperlensError `cli/not-writable` */
export async function checkPictureFiles({ svg, html }: PictureOptions): Promise<void> {
  for (const file of [svg, html]) if (file !== undefined) await checkWritable(file);
}

type Pictures = typeof import("../pictures/index.ts");

/** Draws the files that were asked for; stderr says their sizes. */
export async function writePictures(
  { svg, html, quiet }: PictureOptions,
  draw: (pictures: Pictures) => Picture | Promise<Picture>,
): Promise<void> {
  if (svg === undefined && html === undefined) return;
  const picture = await draw(await import("../pictures/index.ts"));
  for (const [file, form] of [
    [svg, "svg"],
    [html, "html"],
  ] as const) {
    if (file === undefined) continue;
    const size = await writeFileWhole(file, [new TextEncoder().encode(await picture[form]())]);
    if (!quiet) note(`${file}: ${bytes(size)}`);
  }
}
