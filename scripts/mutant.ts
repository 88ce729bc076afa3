/** A bug that `mutate.ts` puts in, and the tests that must notice. */
export interface Mutant {
  name: string;
  file: string;
  /** Text that occurs once in the file, and what replaces it. */
  from: string;
  to: string;
  /** Test files of which one at least must fail: the cheapest that notice. */
  tests: string[];
  /** Among the few that every change is checked with: its tests take a few seconds and no GPU. */
  quick?: boolean;
}
