/**
 * SentencePiece's BPE merges the neighbours whose joined piece has the best score. A list of merges in the order of those
 * scores says the same: each way to cut a piece in two is a merge of the piece's rank. Of the merges of one piece, those with
 * the shorter parts before come first, as transformers' `generate_merges` has them.
 */

/**
 * The merges, best first.
 * @param pieces by id; undefined for tokens that no merge makes
 * @param scores by id
 */
export function mergesByScore(pieces: readonly (string | undefined)[], scores: readonly number[]): [string, string][] {
  const ids = new Map(pieces.flatMap((piece, id): [string, number][] => (piece === undefined ? [] : [[piece, id]])));
  const order = [...ids.values()].sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
  return order.flatMap((id) => cutsOf(pieces[id] as string, ids));
}

function cutsOf(piece: string, ids: ReadonlyMap<string, number>): [string, string][] {
  const cuts: [string, string][] = [];
  for (let at = 1; at < piece.length; at++) {
    const [left, right] = [piece.slice(0, at), piece.slice(at)];
    if (ids.has(left) && ids.has(right)) cuts.push([left, right]);
  }
  const rank = ([left, right]: [string, string]) => [ids.get(left) as number, ids.get(right) as number] as const;
  return cuts.sort((a, b) => rank(a)[0] - rank(b)[0] || rank(a)[1] - rank(b)[1]);
}
