/// <reference types="@webgpu/types" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/** The entry `superlens/bench`: benchmarks. */
export * from "./bench/index.ts";
