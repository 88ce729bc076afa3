/** Parts of the tests' device, for code that ends the device it asked for. A driver keeps what it compiled for the whole. */

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
