/**
 * Tiles: constants of a kernel that are known before it is compiled, and the unrolled loops over them.
 *
 * WGSL has no arrays whose length is an override, and whether a driver keeps an array in registers depends on whether it
 * unrolls the loops over it. Dawn on lavapipe does, SwiftShader does not: a matmul with a 16 x 8 block in registers runs
 * at 4.7 GFLOP/s there with its loops unrolled and at 0.8 without (30.2 against 28.8 on lavapipe). So a loop that
 * counts from 0u to one of the kernel's tile constants,
 *
 *     for (var r = 0u; r < ROWS; r++) { … }
 *
 * is replaced by ROWS copies of its body with `r` a literal. The file stays WGSL that means the same without this. Sizes
 * (of workgroups and what they share) are constants too, but loops over them stay.
 */

export type Tile = Readonly<Record<string, number>>;

const LOOP = /for \(var (\w+) = 0u; \1 < ([A-Z]\w*); \1\+\+\) \{/;

const ENABLE = /^enable .*;$/gm;

/** WGSL with constants declared and loops over the tile's unrolled. Directives go first, as WGSL wants them. */
export function withTile(code: string, tile: Tile, sizes: Tile = {}): string {
  const directives = code.match(ENABLE) ?? [];
  const constants = Object.entries({ ...tile, ...sizes }).map(([name, value]) => `const ${name} = ${value}u;`);
  return [...directives, ...constants, unroll(code.replace(ENABLE, ""), tile)].join("\n");
}

function unroll(code: string, tile: Tile): string {
  const loop = LOOP.exec(code);
  if (!loop) return code;
  const [head, counter, bound] = loop as unknown as [string, string, string];
  const start = loop.index + head.length;
  const count = tile[bound];
  if (count === undefined) return code.slice(0, start) + unroll(code.slice(start), tile);
  const end = closingBrace(code, start);
  const body = unroll(code.slice(start, end), tile);
  const name = new RegExp(`(?<!\\.)\\b${counter}\\b`, "g");
  const copies = Array.from({ length: count }, (_, index) => `{${body.replace(name, `${index}u`)}}`);
  return code.slice(0, loop.index) + copies.join("\n") + unroll(code.slice(end + 1), tile);
}

/** Where the block that is open at `start` ends. */
function closingBrace(code: string, start: number): number {
  let depth = 1;
  let at = start;
  while (depth > 0 && at < code.length) {
    if (code[at] === "{") depth += 1;
    if (code[at] === "}") depth -= 1;
    at += 1;
  }
  return at - 1;
}
