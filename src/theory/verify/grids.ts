/**
 * The measured sizes, as data. `quick` takes seconds and covers every claim. `full` takes minutes and goes to the largest
 * sizes, one dimension at a time. `cut` is for slow hosts.
 */

/** One size of the exactness grid. */
export interface Cell {
  d: number;
  m: number;
  n: number;
  K: number;
  /** Prompts run on the GPU. */
  prompts: number;
  /** How many of them also run with seven layers on the GPU, and in float64 with four and with seven. */
  seven: number;
  float64: number;
}

export interface Grid {
  cells: readonly Cell[];
  /** Pairs of prompts for each intervention. */
  pairs: number;
  /** Layouts that the interventions run on. */
  layouts: readonly (4 | 7)[];
  /** Prompts for each number of heads, and for each setting of the robustness part. */
  prompts: number;
  /** Numbers of examples along which the error is followed. */
  lengths: readonly number[];
}

const cell = (d: number, m: number, n: number, K: number, prompts: number, seven: number, float64: number): Cell => ({
  ...{ d, m, n, K },
  ...{ prompts, seven, float64 },
});

const GRIDS = {
  cut: {
    cells: [cell(6, 4, 3, 2, 40, 10, 10), cell(12, 6, 3, 4, 20, 5, 5)],
    pairs: 4,
    layouts: [4],
    prompts: 8,
    lengths: [4, 16],
  },
  quick: {
    cells: [
      cell(6, 1, 2, 1, 200, 50, 50),
      cell(4, 8, 2, 3, 200, 50, 50),
      cell(12, 7, 3, 4, 200, 40, 40),
      cell(32, 10, 3, 3, 200, 20, 20),
      cell(16, 6, 8, 4, 200, 20, 20),
      cell(12, 5, 3, 12, 200, 20, 20),
    ],
    pairs: 10,
    layouts: [4, 7],
    prompts: 20,
    lengths: [4, 16, 64],
  },
  full: {
    cells: [
      cell(6, 1, 2, 1, 400, 200, 200),
      cell(4, 8, 2, 3, 400, 200, 200),
      cell(12, 7, 3, 4, 400, 200, 200),
      cell(32, 10, 3, 3, 400, 200, 200),
      cell(40, 20, 3, 8, 200, 200, 200),
      cell(64, 30, 4, 4, 200, 200, 200),
      cell(32, 60, 5, 6, 200, 200, 200),
      cell(32, 20, 8, 4, 200, 200, 200),
      cell(64, 4, 3, 64, 200, 200, 200),
      cell(512, 3, 2, 2, 200, 200, 200),
      cell(6, 1000, 2, 2, 200, 200, 20),
    ],
    pairs: 64,
    layouts: [4, 7],
    prompts: 100,
    lengths: [4, 16, 64, 256],
  },
} as const satisfies Record<string, Grid>;

/** How much a verification covers. */
export type GridName = keyof typeof GRIDS;

/** The grids that a verification can run on. */
export const GRID_NAMES = Object.keys(GRIDS) as GridName[];

export function gridOf(name: GridName): Grid {
  return GRIDS[name];
}
