/** `3>5`: a digit and a constant, modulo 10; and two operands and a constant, modulo 100, with their digits reversed. */
import { numbers, type TaskFamily } from "./family.ts";

const modulo = (value: number, by: number) => ((value % by) + by) % by;

/** A task for every constant: `plus 0` is the digit itself. */
export function plus(): TaskFamily {
  const digits = numbers(0, 9);
  return {
    name: "plus",
    inputs: [{ values: digits, after: ">" }],
    tasks: numbers(0, 9).map((constant) => ({
      name: `plus ${constant}`,
      answers: digits,
      answer: ([x = ""]) => String(modulo(Number(x) + Number(constant), 10)),
    })),
  };
}

/** Two digits, the last one first, so that a carry goes from left to right: 7 is "70". */
const reversed = (value: number) => [...String(value).padStart(2, "0")].reverse().join("");

const numberOf = (digits: string) => Number([...digits].reverse().join(""));

/** `21+43>94`, which is 12 + 34 + 3 = 49, for a constant from -9 to 9 other than 0. */
export function biasAdd(): TaskFamily {
  const operands = numbers(0, 99).map((value) => reversed(Number(value)));
  const constants = numbers(-9, 9).filter((constant) => constant !== "0");
  return {
    name: "bias-add",
    inputs: [
      { values: operands, after: "+" },
      { values: operands, after: ">" },
    ],
    tasks: constants.map((constant) => ({
      name: `plus ${constant}`,
      answers: operands,
      answer: ([a = "", b = ""]) => reversed(modulo(numberOf(a) + numberOf(b) + Number(constant), 100)),
    })),
  };
}
