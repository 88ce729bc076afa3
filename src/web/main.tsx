/** Starts the worker with the engine, and the page. */
import { render } from "preact";
import { App } from "./app.tsx";
import { Engine } from "./client.ts";

const worker = new Worker(new URL("engine.js", import.meta.url), { type: "module" });
const root = document.getElementById("app") as HTMLElement;
root.textContent = "";
render(<App engine={new Engine(worker)} />, root);
