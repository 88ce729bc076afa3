/** Entry by entry the mean of lists, one a prompt: a list of its own, also of one prompt. */
export function meanOverPrompts(lists: readonly ArrayLike<number>[]): Float32Array {
  const mean = (index: number) => lists.reduce((sum, list) => sum + (list[index] as number), 0) / lists.length;
  return Float32Array.from({ length: lists[0]?.length ?? 0 }, (_, index) => mean(index));
}
