// Loaded into a process before everything else: a driver that forgets the last element of every row of a fast product.
import { globals } from "webgpu";

const { prototype } = globals.GPUDevice;
const { createShaderModule } = prototype;

prototype.createShaderModule = function (descriptor) {
  const isFast = descriptor.label.startsWith("matmul lanes") || descriptor.label.startsWith("matmul shared");
  const code = isFast ? descriptor.code.replace("k < params.width", "k + 1u < params.width") : descriptor.code;
  return createShaderModule.call(this, { ...descriptor, code });
};
