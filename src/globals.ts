/**
 * What a user's compiler must know before it reads our declarations, whatever `lib` and `types` it has.
 *
 * The declarations name interfaces of WebGPU and of the web platform. Where the user's project has them (`lib: ["dom"]` since
 * TypeScript 6, `@webgpu/types`, `@types/node`) the empty ones below merge with those and add nothing. Where it has not, they are
 * opaque: handed on, but not looked into. A reference to `@webgpu/types` would not do: without the DOM it does not compile,
 * and with TypeScript 6 or later its names collide with the DOM's. Only interfaces merge, so our declarations name no alias
 * such as `GPUBufferUsageFlags` and no value such as `typeof fetch`.
 */
/// <reference lib="esnext.disposable" preserve="true" />

declare global {
  interface AbortSignal {}
  interface Blob {}
  interface File {}
  interface FileSystemDirectoryHandle {}
  interface RequestInit {}
  interface Response {}
  interface URL {}

  interface GPUAdapter {}
  interface GPUBindGroup {}
  interface GPUBindGroupEntry {}
  interface GPUBindGroupLayout {}
  interface GPUBuffer {}
  interface GPUBufferDescriptor {}
  interface GPUCommandEncoder {}
  interface GPUComputePassTimestampWrites {}
  interface GPUComputePipeline {}
  interface GPUDevice {}
  interface GPUSupportedLimits {}
}

export {};
