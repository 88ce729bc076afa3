/** What the page imports: the suite runs while the module is evaluated. */
import { createContext, runAndPrint } from "./harness.ts";
import { suite } from "./suite.ts";

await runAndPrint(suite, createContext("browser", location.origin));
