/** What the page imports: the suite runs while the module is evaluated. */
import { runAndPrint } from "./harness.ts";
import { suite } from "./suite.ts";

await runAndPrint(suite, "browser", location.origin, new URL(import.meta.url).searchParams.getAll("arg"));
