/// <reference types="@webgpu/types" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/** Training in WGSL: any model that `loadModel` loads, from what it knows or from scratch. */
export { INIT_NAMES, type Init, type InitialWeightsOptions, initialWeights } from "./initialise.ts";
