// Loaded into a process before everything else: whoever asks for a device gets the same one, which nobody can end. So each
// kernel is compiled once, however many models are loaded.
import { globals } from "webgpu";

const { prototype } = globals.GPUAdapter;
const { requestDevice } = prototype;
let shared;

prototype.requestDevice = function (descriptor) {
  shared ??= requestDevice.call(this, descriptor).then((device) => Object.assign(device, { destroy: () => undefined }));
  return shared;
};
