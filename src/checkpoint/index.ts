/**
 * Checkpoints: safetensors files and the places they come from. Everything exported here runs in a browser; folders
 * and the cache on disk come with the Node and Deno entry.
 */
export type { BlobCache, BlobVersion, CachedBlob } from "./cache.ts";
export { OpfsCache, openBrowserCache } from "./cache-opfs.ts";
export {
  type Checkpoint,
  type CheckpointOptions,
  type CheckpointProgress,
  openCheckpoint,
} from "./checkpoint.ts";
export {
  bytesPerElement,
  DTYPES,
  type Dtype,
  type F8Dtype,
  f32ToBf16,
  f32ToF16,
  isDtype,
  isFloat,
  toFloat32,
  widenF8ToF16,
} from "./dtype.ts";
export type { HttpOptions } from "./http.ts";
export type { RetryOptions } from "./retry.ts";
export { headerLength, parseHeader, type SafetensorsHeader, type SafetensorsTensor } from "./safetensors.ts";
export {
  type LazyTensorEntry,
  streamSafetensors,
  type TensorDescription,
  type TensorEntry,
  writeSafetensors,
} from "./safetensors-writer.ts";
export type { CheckpointSource } from "./source.ts";
export { FilesSource, type NamedBlob } from "./source-files.ts";
export { type HubModel, HubSource, type HubSourceOptions } from "./source-hub.ts";
export {
  type OpenedSource,
  type OpenSourceOptions,
  openSource,
  parseSourceSpec,
  registerFolderSource,
  registerHubDefaults,
  type SourceSpec,
} from "./source-spec.ts";
export { UrlSource, type UrlSourceOptions } from "./source-url.ts";
export { type Chunks, type FileStore, MemoryStore, openStore, registerFileStore } from "./store.ts";
export { type ReadTensor, sameTensor, type TensorInfo } from "./tensor-info.ts";
