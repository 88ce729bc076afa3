/**
 * Training in WGSL: any model that `loadModel` loads, from what it knows or from scratch. Start at train.ts; docs/training.md explains it.
 *
 * @module superlens/train
 */
export type {} from "../globals.ts";
export type { AdamWOptions } from "./adamw.ts";
export type { TrainStep } from "./checkpoint.ts";
export type { TrainBatch, TrainData } from "./data.ts";
export { type DictionaryStep, type TrainDictionaryOptions, trainDictionary } from "./dictionary.ts";
export { INIT_NAMES, type Init, type InitialWeightsOptions, initialWeights } from "./initialise.ts";
export { type SaveOptions, saveModel } from "./save.ts";
export type { Schedule } from "./schedule.ts";
export { type TrainCheckpoints, type TrainOptions, train } from "./train.ts";
