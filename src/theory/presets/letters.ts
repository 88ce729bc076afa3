/** Preset `letters`: a word's first or last letter, unchanged or in upper case. */
import type { TaskDefinition } from "../definition.ts";

/** Words whose first and last letters differ. */
const WORDS = [
  "apple",
  "bread",
  "cloud",
  "dream",
  "earth",
  "flame",
  "grape",
  "house",
  "island",
  "jungle",
  "knight",
  "lemon",
  "mountain",
  "night",
  "ocean",
  "piano",
  "queen",
  "river",
  "stone",
  "tiger",
  "umbrella",
  "valley",
  "winter",
  "yellow",
];

export function letters({ words = WORDS }: { words?: string[] } = {}): TaskDefinition {
  const ends = [...new Set(words.flatMap((word) => [[...word].at(0) ?? "", [...word].at(-1) ?? ""]))].sort();
  return {
    name: "letters",
    description: "first letter, last letter, each also in upper case",
    vocabulary: [...new Set([...words, ...ends, ...ends.map((letter) => letter.toUpperCase())])],
    slots: [{ name: "word", tokens: words }, { name: "y" }],
    template: "{word}->{y}",
    tasks: [
      { name: "first letter", source: { slot: "word" }, map: "first" },
      { name: "last letter", source: { slot: "word" }, map: "last" },
      { name: "FIRST LETTER", source: { slot: "word" }, map: "firstUpper" },
      { name: "LAST LETTER", source: { slot: "word" }, map: "lastUpper" },
    ],
  };
}
