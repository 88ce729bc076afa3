/**
 * The model that ships with superlens, in `weights/superposition/`: a sum, said in digits, English, French and Spanish.
 * It uses every part of the construction (all four tasks read the derived sum). Anyone can read its words, and "six", which
 * is English and French, shows an overlap of tasks.
 */
import { buildSuperposition, type SuperpositionModel } from "./build.ts";
import { loadPreset } from "./presets/index.ts";

/** m: divisible by 2, 3, 4 and 6, so that usual shares come out even. */
const EXAMPLES = 12;

/** Builds it again; the same bytes as the files, on any machine. */
export async function buildDefaultModel(): Promise<SuperpositionModel> {
  return buildSuperposition(await loadPreset("languages"), { examples: EXAMPLES });
}
