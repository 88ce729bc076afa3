/** Calls about adapters, sources and files, which take no model. */
import type { Call } from "./calls.ts";
import * as api from "./public.ts";

export function fileCalls(): Call[] {
  const tensors = [{ name: "w", dtype: "F32" as const, shape: [1], data: new Float32Array(1) }];
  return [
    { name: "parseAdapterChoice", args: ["auto", "--adapter"], run: api.parseAdapterChoice },
    { name: "parseSourceSpec", args: ["hf:owner/name"], run: api.parseSourceSpec },
    { name: "openStore", args: ["no/such/folder"], run: api.openStore },
    { name: "openSource", args: ["https://example.org/model", {}], run: api.openSource },
    {
      name: "openCheckpoint",
      args: [new api.FilesSource([{ name: "x.safetensors", blob: safetensors(tensors) }]), { file: "x.safetensors" }],
      run: api.openCheckpoint,
    },
    { name: "writeSafetensors", args: [tensors, {}], run: api.writeSafetensors },
    { name: "streamSafetensors", args: [[], {}], run: api.streamSafetensors },
    { name: "bytesPerElement", args: ["F32"], run: api.bytesPerElement },
    { name: "isDtype", args: ["F32"], run: api.isDtype },
    { name: "isFloat", args: ["F32"], run: api.isFloat },
    { name: "f32ToBf16", args: [new Float32Array(1)], run: api.f32ToBf16 },
    { name: "f32ToF16", args: [new Float32Array(1)], run: api.f32ToF16 },
    { name: "toFloat32", args: [new Uint8Array(4), "F32"], run: api.toFloat32 },
    { name: "widenF8ToF16", args: [new Uint8Array(1), "F8_E4M3"], run: api.widenF8ToF16 },
  ];
}

const safetensors = (tensors: Parameters<typeof api.writeSafetensors>[0]) =>
  new Blob([api.writeSafetensors(tensors) as BlobPart]);
