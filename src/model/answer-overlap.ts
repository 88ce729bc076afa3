/**
 * Answers that begin each other. The probability of "six" includes that of "sixteen": both cannot be added. So what lists of
 * answers add up to leaves out those that another one begins.
 */

type Tokens = readonly number[];

export const begins = (start: Tokens, whole: Tokens): boolean =>
  start.length <= whole.length && start.every((id, index) => whole[index] === id);

/** Pairs of answers, by number, of which the first begins the second. Equal answers are a pair both ways. */
export function prefixesOf(answers: readonly Tokens[]): [shorter: number, longer: number][] {
  return answers.flatMap((shorter, i) =>
    answers.flatMap((longer, j): [number, number][] => (i !== j && begins(shorter, longer) ? [[i, j]] : [])),
  );
}

/** The probability that one of the answers follows. Of equal answers the first counts. */
export function togetherOf(answers: readonly { readonly tokens: Tokens; readonly probability: number }[]): number {
  const lists = answers.map(({ tokens }) => tokens);
  const prefixes = prefixesOf(lists);
  const isCounted = (index: number) =>
    !prefixes.some(
      ([shorter, longer]) =>
        longer === index && (shorter < index || (lists[shorter] as Tokens).length < (lists[index] as Tokens).length),
    );
  return answers.reduce((sum, { probability }, index) => sum + (isCounted(index) ? probability : 0), 0);
}
