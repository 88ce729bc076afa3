// Loaded into a process before everything else: native code that writes to stderr as Dawn does for lavapipe, and what must
// not be lost. The process that filters stays silent, so that each line comes from where it would.
import { writeSync } from "node:fs";

if (process.env.SUPERLENS_FILTERED) {
  for (const kind of ["Uniform", "Storage"]) {
    const name = `maxDynamic${kind}BuffersPerPipelineLayout`;
    writeSync(2, `Warning: ${name} artificially reduced from 1000000 to 16 to fit dynamic offset allocation limit.\n`);
  }
  writeSync(2, "Warning: the device has caught fire\n");
}
