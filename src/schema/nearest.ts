/**
 * "Did you mean ...?": the known names closest to a mistyped one, by edit distance.
 */

/** Levenshtein distance between two strings (insertions, deletions, substitutions), Wagner and Fischer's row form. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min((previous[j] as number) + 1, (row[j - 1] as number) + 1, substitution));
    }
    previous = row;
  }
  return previous[b.length] as number;
}

/** The `count` names of `known` closest to `name`, nearest first. */
export function nearestNames(name: string, known: Iterable<string>, count = 1): string[] {
  return [...known]
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, count)
    .map(({ candidate }) => candidate);
}

/**
 * The name of `known` that `name` is a slip of the pen for: at most two letters and a third of them off, upper and lower case
 * alike. Another number is another name. Undefined when there is none.
 */
export function likelyTypo(name: string, known: Iterable<string>): string | undefined {
  const digits = (text: string) => text.replace(/\D/g, "");
  const lower = name.toLowerCase();
  const alike = [...known].filter((candidate) => digits(candidate) === digits(lower));
  const [nearest] = nearestNames(lower, alike);
  if (nearest === undefined) return undefined;
  return editDistance(lower, nearest) <= Math.min(2, Math.floor(nearest.length / 3)) ? nearest : undefined;
}
