// Loaded into a process before everything else: a driver that forgets the end of every row of a fast matmul. Loops step by
// up to 16 elements, depending on the adapter's kernel, so that fewer would make no difference to some.
import { globals } from "webgpu";

const { prototype } = globals.GPUDevice;
const { createShaderModule } = prototype;

prototype.createShaderModule = function (descriptor) {
  const isFast = descriptor.label.startsWith("matmul lanes") || descriptor.label.startsWith("matmul shared");
  const code = isFast ? descriptor.code.replace("k < params.width", "k + 16u < params.width") : descriptor.code;
  if (isFast && code === descriptor.code) throw new Error(`${descriptor.label} has no loop to break`);
  return createShaderModule.call(this, { ...descriptor, code });
};
