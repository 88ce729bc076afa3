/** `cat->c`: a word's first or last letter, as it is or in upper case. */
import type { InputSlot, Task, TaskFamily } from "./family.ts";

const LETTERS = [..."abcdefghijklmnopqrstuvwxyz"];

/** "Words" of `length` letters, each a token. */
export function letterWords({ length = 3 } = {}): TaskFamily {
  const slot = (_: unknown, index: number): InputSlot => ({ values: LETTERS, after: index === length - 1 ? "->" : "" });
  return { name: "words", inputs: Array.from({ length }, slot), tasks: endTasks(LETTERS) };
}

/** Words whose first and last letters differ. */
const WORDS = [
  ..."apple bread cloud dream earth flame grape house island jungle knight lemon mountain night ocean piano".split(" "),
  ..."queen river stone tiger umbrella valley winter yellow forest garden hammer kitchen ladder mirror".split(" "),
  ..."needle orange pencil rabbit silver table velvet window basket candle dinner engine finger guitar".split(" "),
];

/** English words, for models with a tokenizer. */
export function englishWords(): TaskFamily {
  const letters = [...new Set(WORDS.flatMap((word) => [word.slice(0, 1), word.slice(-1)]))];
  return { name: "words", inputs: [{ values: WORDS, after: "->" }], tasks: endTasks(letters) };
}

function endTasks(letters: readonly string[]): Task[] {
  const first: Task["answer"] = (inputs) => inputs.join("").slice(0, 1);
  const last: Task["answer"] = (inputs) => inputs.join("").slice(-1);
  const upper = letters.map((letter) => letter.toUpperCase());
  return [
    { name: "first", answers: letters, answer: first },
    { name: "last", answers: letters, answer: last },
    { name: "First", answers: upper, answer: (inputs) => first(inputs).toUpperCase() },
    { name: "Last", answers: upper, answer: (inputs) => last(inputs).toUpperCase() },
  ];
}
