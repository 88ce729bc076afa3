/** Parts of the tests' device, for code that ends the device it asked for. A driver keeps what it compiled for the whole. */

import { vi } from "vitest";
import { globals } from "webgpu";
import { testGpu } from "./gpu.ts";

/** A device whose end frees its own buffers and leaves the rest of `device` alone. */
export function partOf(device: GPUDevice): GPUDevice {
  const buffers = new Set<WeakRef<GPUBuffer>>();
  let end: (info: GPUDeviceLostInfo) => void;
  const lost = new Promise<GPUDeviceLostInfo>((resolve) => {
    end = resolve;
  });
  void device.lost.then((info) => end(info));
  return standIn(device, {
    lost,
    createBuffer(descriptor: GPUBufferDescriptor) {
      const buffer = device.createBuffer(descriptor);
      buffers.add(new WeakRef(buffer));
      return buffer;
    },
    destroy() {
      for (const buffer of buffers) buffer.deref()?.destroy();
      end({ reason: "destroyed", message: "" } as GPUDeviceLostInfo);
    },
  });
}

/** `object` with some members replaced. */
export function standIn<Type extends object>(object: Type, members: object): Type {
  return new Proxy(object, {
    get(_, name) {
      const value = Reflect.get(name in members ? members : object, name);
      return typeof value === "function" ? value.bind(object) : value;
    },
  });
}

/**
 * Runs `use` while every device that is asked for is a part of the tests' own: what makes and ends devices compiles nothing anew.
 * Nothing else may ask for one meanwhile.
 */
export async function onPartsOfTestGpu<Result>(use: () => Promise<Result>): Promise<Result> {
  const { device } = (await testGpu()).host;
  const { prototype } = (globals as { GPUAdapter: typeof GPUAdapter }).GPUAdapter;
  const asked = vi.spyOn(prototype, "requestDevice").mockImplementation(async () => partOf(device));
  try {
    return await use();
  } finally {
    asked.mockRestore();
  }
}
