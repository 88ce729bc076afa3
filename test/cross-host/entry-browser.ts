/** What the page imports: the suite runs while the module is evaluated. */
import { createContext, runAndPrint } from "./harness.ts";
import { NIGHT } from "./protocol.ts";
import { suite } from "./suite.ts";

const isNight = new URL(import.meta.url).searchParams.getAll("arg").includes(NIGHT);
await runAndPrint(suite, createContext("browser", location.origin, isNight));
