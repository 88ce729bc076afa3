/** Reading pictures: the numbers in a specification and in the tooltips of an SVG. */
import type { Picture } from "../../src/pictures/index.ts";

/** What a mark says, in the order of the drawing. */
export function titlesOf(svg: string): string[] {
  const plain = (text: string) =>
    text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"').replaceAll("&amp;", "&");
  return [...svg.matchAll(/<title>([^<]*)<\/title>/g)].map(([, text]) => plain(text as string));
}

/** The number at the end of what a mark says, as d3 writes it: with a minus sign, and an exponent of that kind. */
export const numberOf = (title: string): number => Number((title.split(": ").at(-1) as string).replaceAll("−", "-"));

/** The data of a specification. */
export function dataOf<T>({ spec }: Picture): T[] {
  return (spec.data as { values: T[] }).values;
}
