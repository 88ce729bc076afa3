/** Checks all arguments of a function that takes a model, before it does anything. */

import * as s from "../schema/schema.ts";
import { HookedModel } from "./hooked-model.ts";

export const MODEL = s.instance("a model that loadModel() gave", HookedModel);

/** Checks the model and reads the options of `call`. @throws InputError `input/argument`, `input/unknown-key` */
export function readCall<T>(call: string, model: unknown, schema: s.Schema<T>, options: unknown): T {
  s.readArgument(MODEL, model, call, "model");
  return s.readOptions(schema, options, call);
}
