/// <reference types="@webgpu/types" preserve="true" />
/// <reference lib="esnext.disposable" preserve="true" />
/** The entry `superlens/theory`: the constructive transformer. */
export * from "./theory/index.ts";
