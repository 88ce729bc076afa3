/** Node as tests see it: they keep nothing in the person's own cache of tuned kernels. Import it to run there. */
import { type Host, registerHost } from "../../src/hosts/host.ts";
import { NODE } from "../../src/hosts/node.node.ts";

export const TEST_HOST: Host = { ...NODE, tuningStore: undefined };

registerHost(TEST_HOST);
