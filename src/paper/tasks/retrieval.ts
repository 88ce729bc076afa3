/** `cad>a`: one of the symbols that were given, by its place. */
import type { TaskFamily } from "./family.ts";

/** ret_i copies symbol i of `length`, which may repeat unless `isDistinct`. */
export function retrieval({ length = 3, symbols = [..."abcdefgh"], isDistinct = false } = {}): TaskFamily {
  const places = Array.from({ length }, (_, index) => index);
  return {
    name: `retrieval of ${length}`,
    isDistinct,
    inputs: places.map((place) => ({ values: symbols, after: place === length - 1 ? ">" : "" })),
    tasks: places.map((place) => ({
      name: `ret ${place + 1}`,
      answers: symbols,
      answer: (inputs) => inputs[place] as string,
    })),
  };
}
